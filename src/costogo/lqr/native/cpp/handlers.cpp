// XLA's side: buffers become operands of a call, and exceptions become errors.
#include <exception>
#include <string>

#include "instruction_sets.hpp"
#include "threads.hpp"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace costogo {
namespace {

using Args = ffi::RemainingArgs;
using Rets = ffi::RemainingRets;

// Reads arguments and results in order. The first result has the whole batch shape; an argument has either that
// extent or one along each batch axis.
class Reader {
public:
    Reader(const Args& args, const Rets& rets, int last_axes) : args_(args), rets_(rets) {
        auto first = rets_.get<ffi::AnyBuffer>(0).value();
        const auto dims = first->dimensions();
        batch.axes = static_cast<int>(dims.size()) - last_axes;
        if (batch.axes > MAX_BATCH_AXES) throw std::invalid_argument("more than 16 batch axes");
        for (int axis = 0; axis < batch.axes; ++axis) batch.size[axis] = dims[axis], batch.problems *= dims[axis];
        type_ = args_.get<ffi::AnyBuffer>(0)->element_type();
    }

    Operand operand() {
        const auto buffer = *args_.get<ffi::AnyBuffer>(next_arg_++);
        const auto dims = buffer.dimensions();
        Operand o;
        o.base = static_cast<const char*>(buffer.untyped_data());
        o.bytes = static_cast<std::int64_t>(buffer.size_bytes());
        if (o.bytes == 0) return o;
        for (int axis = 0; axis < batch.axes; ++axis) o.bytes /= dims[axis];
        std::int64_t stride = o.bytes;
        for (int axis = batch.axes - 1; axis >= 0; --axis) {
            o.stride[axis] = dims[axis] == 1 ? 0 : stride;
            o.dense = o.dense && dims[axis] == batch.size[axis];
            stride *= dims[axis];
        }
        return o;
    }

    Result result() {
        auto buffer = rets_.get<ffi::AnyBuffer>(next_ret_++).value();
        const auto bytes = static_cast<std::int64_t>(buffer->size_bytes());
        return {static_cast<char*>(buffer->untyped_data()), batch.problems ? bytes / batch.problems : 0};
    }

    // Sizes from B (N, nx, nu), wherever it stands.
    Sizes sizes_of(int B) const {
        const auto dims = args_.get<ffi::AnyBuffer>(B)->dimensions();
        Sizes s;
        s.N = static_cast<int>(dims[batch.axes]), s.nx = static_cast<int>(dims[batch.axes + 1]);
        s.nu = static_cast<int>(dims[batch.axes + 2]);
        return s;
    }
    int last_extent(int arg) const {
        const auto dims = args_.get<ffi::AnyBuffer>(arg)->dimensions();
        return static_cast<int>(dims[dims.size() - 1]);
    }
    Model model() {
        Model m;
        for (Operand* o : {&m.A, &m.B, &m.d, &m.Q, &m.q, &m.R, &m.r, &m.P}) *o = operand();
        return m;
    }
    SweepResult sweep() {
        SweepResult s;
        for (Result* r : {&s.K, &s.k, &s.V, &s.v, &s.c, &s.Quu, &s.Qux, &s.L, &s.free, &s.offset, &s.slope, &s.decrease, &s.status})
            *r = result();
        return s;
    }
    int precision() const {
        if (type_ == ffi::F64) return 1;
        if (type_ == ffi::F32) return 0;
        throw std::invalid_argument("only float32 and float64");
    }

    Batch batch;

private:
    const Args& args_;
    const Rets& rets_;
    std::size_t next_arg_ = 0, next_ret_ = 0;
    ffi::DataType type_;
};

// Rough time of one problem: multiplications of a sweep, four per nanosecond.
double sweep_ns(const Sizes& s) {
    const double n = s.nx + s.nu;
    return s.N * (10 + n * n * (s.nx + s.nu) / 4);
}

template <class Work>
ffi::Error guarded(Work work) {
    try {
        work();
        return ffi::Error::Success();
    } catch (const std::invalid_argument& error) {
        return ffi::Error(ffi::ErrorCode::kInvalidArgument, std::string("costogo: ") + error.what());
    } catch (const std::exception& error) {
        return ffi::Error(ffi::ErrorCode::kResourceExhausted, std::string("costogo: ") + error.what());
    }
}

template <class Call>
void launch(void (*const kernel[2])(const Call&, std::int64_t, std::int64_t, Arena&), const Call& call, int precision,
            double nanoseconds) {
    in_parallel(call.batch.problems, best_kernels().group, nanoseconds,
                [&](std::int64_t begin, std::int64_t end, Arena& arena) { kernel[precision](call, begin, end, arena); });
}

ffi::Error backward(Args args, Rets rets, bool box) {
    return guarded([&] {
        Reader read(args, rets, 3);  // gains (N, nu, nx)
        BackwardCall call;
        call.batch = read.batch, call.sizes = read.sizes_of(1), call.sizes.ng = read.last_extent(15);
        call.model = read.model(), call.box = box;
        for (Operand* o : {&call.regularisation, &call.skip, &call.lower, &call.upper, &call.free, &call.C, &call.D, &call.e, &call.mask})
            *o = read.operand();
        call.result = read.sweep();
        launch(best_kernels().backward, call, read.precision(), sweep_ns(call.sizes));
    });
}

ffi::Error forward(Args args, Rets rets) {
    return guarded([&] {
        Reader read(args, rets, 2);  // states (N+1, nx)
        ForwardCall call;
        call.batch = read.batch, call.sizes = read.sizes_of(1);
        for (Operand* o : {&call.A, &call.B, &call.d, &call.K, &call.k, &call.x0}) *o = read.operand();
        for (Result* r : {&call.x, &call.u}) *r = read.result();
        launch(best_kernels().forward, call, read.precision(), sweep_ns(call.sizes) / 8);
    });
}

ffi::Error costates(Args args, Rets rets) {
    return guarded([&] {
        Reader read(args, rets, 2);  // costates (N+1, nx)
        CostatesCall call;
        call.batch = read.batch, call.sizes = read.sizes_of(3);
        std::swap(call.sizes.nx, call.sizes.nu);  // P is (N, nu, nx)
        for (Operand* o : {&call.A, &call.Q, &call.q, &call.P, &call.x, &call.u}) *o = read.operand();
        call.costates = read.result();
        launch(best_kernels().costates, call, read.precision(), sweep_ns(call.sizes) / 8);
    });
}

ffi::Error solve(Args args, Rets rets) {
    return guarded([&] {
        Reader read(args, rets, 2);  // states (N+1, nx)
        SolveCall call;
        call.batch = read.batch, call.sizes = read.sizes_of(1);
        call.model = read.model();
        for (Operand* o : {&call.x0, &call.free, &call.fixed, &call.skip}) *o = read.operand();
        for (Result* r : {&call.x, &call.u, &call.costates, &call.status}) *r = read.result();
        launch(best_kernels().solve, call, read.precision(), 1.3 * sweep_ns(call.sizes));
    });
}

ffi::Error interior_point(Args args, Rets rets, std::int64_t max_iterations,
                          std::int64_t polish_iterations, std::int64_t guess_iterations) {
    return guarded([&] {
        Reader read(args, rets, 2);  // states (N+1, nx)
        InteriorPointCall call;
        call.batch = read.batch, call.sizes = read.sizes_of(1), call.sizes.nh = read.last_extent(13);
        call.model = read.model();
        for (Operand* o : {&call.x0, &call.lower, &call.upper, &call.E, &call.F, &call.e, &call.regularisation, &call.skip, &call.guess})
            *o = read.operand();
        call.max_iterations = static_cast<int>(max_iterations), call.polish_iterations = static_cast<int>(polish_iterations);
        call.guess_iterations = static_cast<int>(guess_iterations);
        for (Result* r : {&call.x, &call.u, &call.free, &call.multipliers, &call.status, &call.iterations}) *r = read.result();
        call.sweep = read.sweep();
        launch(best_kernels().interior_point, call, read.precision(), 8 * sweep_ns(call.sizes));
    });
}

}  // namespace
}  // namespace costogo

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(costogo_backward, costogo::backward,
                              ffi::Ffi::Bind().RemainingArgs().RemainingRets().Attr<bool>("box"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(costogo_forward, costogo::forward, ffi::Ffi::Bind().RemainingArgs().RemainingRets());
XLA_FFI_DEFINE_HANDLER_SYMBOL(costogo_costates, costogo::costates, ffi::Ffi::Bind().RemainingArgs().RemainingRets());
XLA_FFI_DEFINE_HANDLER_SYMBOL(costogo_solve, costogo::solve, ffi::Ffi::Bind().RemainingArgs().RemainingRets());
XLA_FFI_DEFINE_HANDLER_SYMBOL(costogo_interior_point, costogo::interior_point,
                              ffi::Ffi::Bind()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<std::int64_t>("max_iterations")
                                  .Attr<std::int64_t>("polish_iterations")
                                  .Attr<std::int64_t>("guess_iterations"));

extern "C" {
// What `costogo bench --info` prints.
const char* costogo_instruction_set() { return costogo::best_kernels().name; }
const char* costogo_compiler() {
#if defined(__clang__)
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}
int costogo_threads() { return costogo::thread_count(); }
void costogo_set_threads(int threads) { costogo::set_thread_count(threads); }
}
#pragma GCC visibility pop
