// Runs recorded calls through the kernels without XLA, so that sanitizers see every access. Usage: driver FILE THREADS.
//
// FILE holds calls: a header of ten int32 (kind, double?, problems, nx, nu, N, ng, nh, box, arrays), then for each
// operand: int32 shared, int64 bytes, data. Each array gets a heap block of exactly its size. Prints one line per call:
// the sum of the statuses and of the magnitudes of all results.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <vector>

#include "instruction_sets.hpp"
#include "threads.hpp"

using namespace costogo;

namespace {

struct Header {
    std::int32_t kind, is_double, problems, nx, nu, N, ng, nh, box, arrays;
};

struct Recorded {
    Header header;
    std::vector<std::unique_ptr<char[]>> data;
    std::vector<std::unique_ptr<char[]>> out;
    std::vector<std::int64_t> sizes;
    std::vector<Operand> operands;
    int next = 0;
    Batch batch;

    Operand take() { return operands[next++]; }
    Result result(std::int64_t entries, int width) {
        const std::int64_t bytes = entries * width;
        out.emplace_back(new char[bytes * header.problems]());
        sizes.push_back(width == 1 ? 0 : bytes * header.problems);
        return {out.back().get(), bytes};
    }
    Model model() {
        Model m;
        for (Operand* o : {&m.A, &m.B, &m.d, &m.Q, &m.q, &m.R, &m.r, &m.P}) *o = take();
        return m;
    }
    SweepResult sweep(int width, int ng) {
        const std::int64_t N = header.N, nx = header.nx, nu = header.nu;
        SweepResult s;
        s.K = result(N * nu * nx, width), s.k = result(N * nu, width), s.V = result((N + 1) * nx * nx, width);
        s.v = result((N + 1) * nx, width), s.c = result(N + 1, width), s.Quu = result(N * nu * nu, width);
        s.Qux = result(N * nu * nx, width), s.L = result(N * nu * nu, width), s.free = result(N * nu, 1);
        s.offset = result(N * ng, width), s.slope = result(N * ng * nx, width), s.decrease = result(2, width);
        s.status = result(4, 1);
        return s;
    }
};

bool read(std::ifstream& file, Recorded& call) {
    if (!file.read(reinterpret_cast<char*>(&call.header), sizeof(Header))) return false;
    call.batch.axes = 1, call.batch.size[0] = call.batch.problems = call.header.problems;
    for (int i = 0; i < call.header.arrays; ++i) {
        std::int32_t shared;
        std::int64_t bytes;
        file.read(reinterpret_cast<char*>(&shared), sizeof shared);
        file.read(reinterpret_cast<char*>(&bytes), sizeof bytes);
        call.data.emplace_back(new char[bytes]);
        file.read(call.data.back().get(), bytes);
        Operand o;
        o.base = call.data.back().get(), o.dense = !shared;
        o.bytes = shared || call.header.problems == 0 ? bytes : bytes / call.header.problems;
        o.stride[0] = shared ? 0 : o.bytes;
        call.operands.push_back(o);
    }
    return true;
}

template <class Call>
void launch(void (*const kernel[2])(const Call&, std::int64_t, std::int64_t, Arena&), const Call& call, int precision) {
    // A made-up second per problem, so that every call is shared among the threads.
    in_parallel(call.batch.problems, best_kernels().group, 1e9,
                [&](std::int64_t begin, std::int64_t end, Arena& arena) { kernel[precision](call, begin, end, arena); });
}

void run(Recorded& r) {
    const Header& h = r.header;
    const int width = h.is_double ? 8 : 4;
    const std::int64_t N = h.N, nx = h.nx, nu = h.nu;
    const Sizes sizes{h.nx, h.nu, h.N, h.ng, h.nh};
    if (h.kind == 0) {
        BackwardCall call;
        call.batch = r.batch, call.sizes = sizes, call.model = r.model(), call.box = h.box;
        for (Operand* o : {&call.regularisation, &call.skip, &call.lower, &call.upper, &call.free, &call.C, &call.D, &call.e, &call.mask})
            *o = r.take();
        call.result = r.sweep(width, h.ng);
        launch(best_kernels().backward, call, h.is_double);
    } else if (h.kind == 1) {
        SolveCall call;
        call.batch = r.batch, call.sizes = sizes, call.model = r.model();
        for (Operand* o : {&call.x0, &call.free, &call.fixed}) *o = r.take();
        call.x = r.result((N + 1) * nx, width), call.u = r.result(N * nu, width);
        call.costates = r.result((N + 1) * nx, width), call.status = r.result(4, 1);
        launch(best_kernels().solve, call, h.is_double);
        // Its results feed the other two sweeps.
        CostatesCall again;
        again.batch = r.batch, again.sizes = sizes;
        again.A = call.model.A, again.Q = call.model.Q, again.q = call.model.q, again.P = call.model.P;
        again.x.base = call.x.base, again.x.bytes = call.x.bytes, again.u.base = call.u.base, again.u.bytes = call.u.bytes;
        again.costates = r.result((N + 1) * nx, width);
        launch(best_kernels().costates, again, h.is_double);
        ForwardCall forward;
        forward.batch = r.batch, forward.sizes = sizes;
        forward.A = call.model.A, forward.B = call.model.B, forward.d = call.model.d, forward.K = call.model.P;
        forward.k = call.model.r, forward.x0 = call.x0;
        forward.x = r.result((N + 1) * nx, width), forward.u = r.result(N * nu, width);
        launch(best_kernels().forward, forward, h.is_double);
    } else {
        InteriorPointCall call;
        call.batch = r.batch, call.sizes = sizes, call.model = r.model();
        for (Operand* o : {&call.x0, &call.lower, &call.upper, &call.E, &call.F, &call.e, &call.regularisation, &call.skip, &call.guess})
            *o = r.take();
        call.max_iterations = 50, call.polish_iterations = 20, call.guess_iterations = 12;
        call.x = r.result((N + 1) * nx, width), call.u = r.result(N * nu, width), call.free = r.result(N * nu, 1);
        call.multipliers = r.result(N * h.nh, width), call.status = r.result(4, 1), call.iterations = r.result(4, 1);
        call.sweep = r.sweep(width, 0);
        launch(best_kernels().interior_point, call, h.is_double);
    }
}

double total(const Recorded& r) {
    double sum = 0;
    for (std::size_t i = 0; i < r.out.size(); ++i)
        for (std::int64_t at = 0; at < r.sizes[i]; at += r.header.is_double ? 8 : 4)
            sum += r.header.is_double ? std::fabs(*reinterpret_cast<const double*>(r.out[i].get() + at))
                                      : std::fabs(*reinterpret_cast<const float*>(r.out[i].get() + at));
    return sum;
}

}  // namespace

int main(int, char** argv) {
    set_thread_count(std::atoi(argv[2]));
    std::ifstream file(argv[1], std::ios::binary);
    std::printf("%s\n", best_kernels().name);
    for (;;) {
        Recorded call;
        if (!read(file, call)) return 0;
        run(call);
        std::printf("%.10e\n", total(call));
    }
}
