// Backward, forward and costate sweeps, and the masked solve that joins the three.
#pragma once

#include "stage.hpp"
#include "streams.hpp"

namespace costogo::COSTOGO_ISA {

template <class M>
struct ModelSource {
    Source<M> A, B, d, Q, q, R, r, P;
    ModelSource(const Model& m, const Batch& batch, const Group<M>& group, const Sizes& s, Arena& arena)
        : A(m.A, batch, group, s.N, s.nx * s.nx, arena), B(m.B, batch, group, s.N, s.nx * s.nu, arena),
          d(m.d, batch, group, s.N, s.nx, arena), Q(m.Q, batch, group, s.N + 1, s.nx * s.nx, arena),
          q(m.q, batch, group, s.N + 1, s.nx, arena), R(m.R, batch, group, s.N, s.nu * s.nu, arena),
          r(m.r, batch, group, s.N, s.nu, arena), P(m.P, batch, group, s.N, s.nu * s.nx, arena) {}
    static constexpr int AHEAD = 2;
    COSTOGO_INLINE Knot<M> at(int k) {
        if (k >= AHEAD)
            for (Source<M>* source : {&A, &B, &d, &Q, &q, &R, &r, &P}) source->prefetch(k - AHEAD);
        return {A.at(k), B.at(k), d.at(k), Q.at(k), q.at(k), R.at(k), r.at(k), P.at(k)};
    }
};

template <class T>
bool all_finite(const Operand& operand, const Batch& batch, std::int64_t problem) {
    const T* data = operand.at<T>(batch, problem);
    bool yes = true;
    for (std::int64_t i = 0; i < operand.bytes / static_cast<std::int64_t>(sizeof(T)); ++i) yes = yes && finite(data[i]);
    return yes;
}

template <class T>
bool all_finite(const Model& m, const Batch& batch, std::int64_t problem) {
    bool yes = true;
    for (const Operand* o : {&m.A, &m.B, &m.d, &m.Q, &m.q, &m.R, &m.r, &m.P}) yes = yes && all_finite<T>(*o, batch, problem);
    return yes;
}

template <class T>
bool no_nan(const Operand& operand, const Batch& batch, std::int64_t problem) {
    const T* data = operand.at<T>(batch, problem);
    bool yes = true;
    for (std::int64_t i = 0; i < operand.bytes / static_cast<std::int64_t>(sizeof(T)); ++i) yes = yes && data[i] == data[i];
    return yes;
}

// Status of a sweep that went wrong: bad data, or a Hessian that is not positive definite (or overflowed). The first
// operands must be finite besides the model, the second may be infinite.
template <class T>
Status blame(const Model& m, const Batch& batch, std::int64_t problem, std::initializer_list<const Operand*> finite = {},
             std::initializer_list<const Operand*> numbers = {}) {
    bool sound = all_finite<T>(m, batch, problem);
    for (const Operand* operand : finite) sound = sound && all_finite<T>(*operand, batch, problem);
    for (const Operand* operand : numbers) sound = sound && no_nan<T>(*operand, batch, problem);
    return sound ? INDEFINITE : NOT_FINITE;
}

inline void clear(const Result& result, std::int64_t problem) {
    std::memset(result.base + problem * result.bytes, 0, static_cast<std::size_t>(result.bytes));
}

// A problem whose results mean nothing gets zeros.
inline void clear(const SweepResult& s, std::int64_t problem) {
    for (const Result* r : {&s.K, &s.k, &s.V, &s.v, &s.c, &s.Quu, &s.Qux, &s.L, &s.free, &s.offset, &s.slope, &s.decrease})
        clear(*r, problem);
}

// Whether cost-to-go and constants came out finite, lane by lane.
template <class M>
COSTOGO_INLINE bool sound(const Workspace<M>& w, const typename M::Elem* V, const typename M::Elem* v, int lane) {
    using T = typename M::Scalar;
    T sum = entry<M>(w.constant, lane) * T(0);
    for (int i = 0; i < w.nx * w.nx; ++i) sum += entry<M>(V[i], lane) * T(0);
    for (int i = 0; i < w.nx; ++i) sum += entry<M>(v[i], lane) * T(0);
    return is_set<M>(w.ok, lane) && sum == T(0);
}

template <class M>
typename M::Elem per_problem(const Operand& operand, const Batch& batch, const Group<M>& group) {
    typename M::Elem e{};
    if (operand.present())
        for (int lane = 0; lane < M::PROBLEMS; ++lane)
            set_entry<M>(e, lane, *operand.at<typename M::Scalar>(batch, group.problem[lane]));
    return e;
}

template <class M>
void backward(const BackwardCall& call, const Group<M>& group, Arena& arena) {
    using Elem = typename M::Elem;
    using T = typename M::Scalar;
    const Sizes& s = call.sizes;
    const Batch& batch = call.batch;
    const int nx = s.nx, nu = s.nu, N = s.N;
    Workspace<M> w(arena, nx, nu, s.ng);
    const Stage<M> stage = stage_of<M>(nx, nu);
    ModelSource<M> model(call.model, batch, group, s, arena);
    Source<M> lower(call.lower, batch, group, N, nu, arena), upper(call.upper, batch, group, N, nu, arena);
    FlagSource<M> free(call.free, batch, group, nu, arena), mask(call.mask, batch, group, s.ng, arena);
    Source<M> C(call.C, batch, group, N, s.ng * nx, arena), Dg(call.D, batch, group, N, s.ng * nu, arena);
    Source<M> e(call.e, batch, group, N, s.ng, arena);
    const SweepResult& out = call.result;
    Sink<M> K(out.K, group, N, nu * nx, arena), k(out.k, group, N, nu, arena), V(out.V, group, N + 1, nx * nx, arena),
        v(out.v, group, N + 1, nx, arena), c(out.c, group, N + 1, 1, arena), Quu(out.Quu, group, N, nu * nu, arena),
        Qux(out.Qux, group, N, nu * nx, arena), L(out.L, group, N, nu * nu, arena),
        offset(out.offset, group, N, s.ng, arena), slope(out.slope, group, N, s.ng * nx, arena),
        decrease(out.decrease, group, 1, 2, arena);
    Elem *carried_V = arena.zeros<Elem>(nx * nx), *carried_v = arena.zeros<Elem>(nx), *set = arena.zeros<Elem>(nu);
    const Elem mu = per_problem<M>(call.regularisation, batch, group);
    const bool regularised = !all(mu == Elem{});
    KnotLimits<M> limits;
    limits.kind = call.box ? Limit::boxed : call.lower.present() ? Limit::masked : Limit::none;
    limits.ng = s.ng;

    w.start();
    copy<M>(nx * nx, model.Q.at(N), carried_V);
    copy<M>(nx, model.q.at(N), carried_v);
    copy<M>(nx * nx, carried_V, V.at(N));
    copy<M>(nx, carried_v, v.at(N));
    *c.at(N) = Elem{};
    for (int knot = N - 1; knot >= 0; --knot) {
        if (limits.kind != Limit::none) limits.lower = lower.at(knot);
        if (limits.kind == Limit::boxed) limits.upper = upper.at(knot);
        if (limits.kind == Limit::masked) limits.free = free.at(knot);
        if (s.ng) limits.C = C.at(knot), limits.D = Dg.at(knot), limits.e = e.at(knot), limits.mask = mask.at(knot);
        const KnotResult<M> result{K.at(knot), k.at(knot), carried_V, carried_v, c.at(knot), Quu.at(knot), Qux.at(knot),
                                   L.at(knot), set, s.ng ? offset.at(knot) : nullptr, s.ng ? slope.at(knot) : nullptr};
        stage(model.at(knot), limits, mu, regularised, carried_V, carried_v, w, result);
        copy<M>(nx * nx, carried_V, V.at(knot));
        copy<M>(nx, carried_v, v.at(knot));
        for (int lane = 0; lane < M::PROBLEMS; ++lane)
            for (int i = 0; i < nu; ++i)
                out.free.at<unsigned char>(group.problem[lane])[static_cast<std::int64_t>(knot) * nu + i] =
                    entry<M>(set[i], lane) != T(0);
    }
    decrease.at(0)[0] = w.linear, decrease.at(0)[1] = w.quadratic;
    for (Sink<M>* sink : {&K, &k, &V, &v, &c, &Quu, &Qux, &L, &offset, &slope, &decrease}) sink->finish();
    for (int lane = 0; lane < M::PROBLEMS; ++lane) {
        const std::int64_t problem = group.problem[lane];
        const bool good = sound<M>(w, carried_V, carried_v, lane);
        if (!good) clear(out, problem);
        *out.status.at<std::int32_t>(problem) =
            good ? CONVERGED
                 : blame<T>(call.model, batch, problem, {&call.C, &call.D, &call.e, &call.regularisation},
                            {&call.lower, &call.upper});
    }
}

// u = k + K x, x+ = A x + B u + d.
template <class M>
COSTOGO_INLINE void advance(int nx, int nu, const typename M::Elem* A, const typename M::Elem* B, const typename M::Elem* d,
                            const typename M::Elem* K, const typename M::Elem* k, const typename M::Elem* x,
                            typename M::Elem* u, typename M::Elem* next) {
    copy<M>(nu, k, u);
    add_product<M>(nu, nx, K, x, u);
    copy<M>(nx, d, next);
    add_product<M>(nx, nx, A, x, next);
    add_product<M>(nx, nu, B, u, next);
}

template <class M>
void forward(const ForwardCall& call, const Group<M>& group, Arena& arena) {
    using Elem = typename M::Elem;
    const Sizes& s = call.sizes;
    const Batch& batch = call.batch;
    const int nx = s.nx, nu = s.nu, N = s.N;
    Source<M> A(call.A, batch, group, N, nx * nx, arena), B(call.B, batch, group, N, nx * nu, arena),
        d(call.d, batch, group, N, nx, arena), K(call.K, batch, group, N, nu * nx, arena),
        k(call.k, batch, group, N, nu, arena), x0(call.x0, batch, group, 1, nx, arena);
    Sink<M> x(call.x, group, N + 1, nx, arena), u(call.u, group, N, nu, arena);
    Elem *now = arena.zeros<Elem>(nx), *next = arena.zeros<Elem>(nx);
    copy<M>(nx, x0.at(0), now);
    copy<M>(nx, now, x.at(0));
    for (int knot = 0; knot < N; ++knot) {
        advance<M>(nx, nu, A.at(knot), B.at(knot), d.at(knot), K.at(knot), k.at(knot), now, u.at(knot), next);
        copy<M>(nx, next, now);
        copy<M>(nx, now, x.at(knot + 1));
    }
    x.finish(), u.finish();
}

// lambda_N = Q x + q, lambda_k = A' lambda_{k+1} + Q x + P' u + q.
template <class M>
void costates(const CostatesCall& call, const Group<M>& group, Arena& arena) {
    using Elem = typename M::Elem;
    const Sizes& s = call.sizes;
    const Batch& batch = call.batch;
    const int nx = s.nx, nu = s.nu, N = s.N;
    Source<M> A(call.A, batch, group, N, nx * nx, arena), Q(call.Q, batch, group, N + 1, nx * nx, arena),
        q(call.q, batch, group, N + 1, nx, arena), P(call.P, batch, group, N, nu * nx, arena),
        x(call.x, batch, group, N + 1, nx, arena), u(call.u, batch, group, N, nu, arena);
    Sink<M> out(call.costates, group, N + 1, nx, arena);
    Elem *now = arena.zeros<Elem>(nx), *next = arena.zeros<Elem>(nx);
    for (int knot = N; knot >= 0; --knot) {
        copy<M>(nx, q.at(knot), next);
        add_product<M>(nx, nx, Q.at(knot), x.at(knot), next);
        if (knot < N) {
            add_transposed<M>(nu, nx, P.at(knot), u.at(knot), next);
            add_transposed<M>(nx, nx, A.at(knot), now, next);
        }
        copy<M>(nx, next, now);
        copy<M>(nx, now, out.at(knot));
    }
    out.finish();
}

// Masked LQR; the costates are lambda = V x + v.
template <class M>
void solve(const SolveCall& call, const Group<M>& group, Arena& arena) {
    using Elem = typename M::Elem;
    using T = typename M::Scalar;
    const Sizes& s = call.sizes;
    const Batch& batch = call.batch;
    const int nx = s.nx, nu = s.nu, N = s.N;
    Workspace<M> w(arena, nx, nu, 0);
    const Stage<M> stage = stage_of<M>(nx, nu);
    Elem *K = arena.raw<Elem>(std::size_t(N) * nu * nx), *k = arena.raw<Elem>(std::size_t(N) * nu);
    Elem *V = arena.raw<Elem>(std::size_t(N + 1) * nx * nx), *v = arena.raw<Elem>(std::size_t(N + 1) * nx);
    KnotLimits<M> limits;
    limits.kind = call.free.present() ? Limit::masked : Limit::none;
    {
        ModelSource<M> model(call.model, batch, group, s, arena);
        Source<M> fixed(call.fixed, batch, group, N, nu, arena);
        FlagSource<M> free(call.free, batch, group, nu, arena);
        w.start();
        copy<M>(nx * nx, model.Q.at(N), V + std::size_t(N) * nx * nx);
        copy<M>(nx, model.q.at(N), v + std::size_t(N) * nx);
        for (int knot = N - 1; knot >= 0; --knot) {
            if (limits.kind == Limit::masked) limits.lower = fixed.at(knot), limits.free = free.at(knot);
            KnotResult<M> result{};
            result.K = K + std::size_t(knot) * nu * nx, result.k = k + std::size_t(knot) * nu;
            result.V = V + std::size_t(knot) * nx * nx, result.v = v + std::size_t(knot) * nx;
            stage(model.at(knot), limits, Elem{}, false, result.V + nx * nx, result.v + nx, w, result);
        }
    }
    Source<M> A(call.model.A, batch, group, N, nx * nx, arena), B(call.model.B, batch, group, N, nx * nu, arena),
        d(call.model.d, batch, group, N, nx, arena), x0(call.x0, batch, group, 1, nx, arena);
    Sink<M> x(call.x, group, N + 1, nx, arena), u(call.u, group, N, nu, arena),
        costates(call.costates, group, N + 1, nx, arena);
    Elem *now = arena.zeros<Elem>(nx), *next = arena.zeros<Elem>(nx);
    copy<M>(nx, x0.at(0), now);
    for (int knot = 0; knot <= N; ++knot) {
        copy<M>(nx, now, x.at(knot));
        Elem* lambda = costates.at(knot);
        copy<M>(nx, v + std::size_t(knot) * nx, lambda);
        add_product<M>(nx, nx, V + std::size_t(knot) * nx * nx, now, lambda);
        if (knot == N) break;
        advance<M>(nx, nu, A.at(knot), B.at(knot), d.at(knot), K + std::size_t(knot) * nu * nx, k + std::size_t(knot) * nu,
                   now, u.at(knot), next);
        copy<M>(nx, next, now);
    }
    x.finish(), u.finish(), costates.finish();
    for (int lane = 0; lane < M::PROBLEMS; ++lane) {
        const std::int64_t problem = group.problem[lane];
        const bool start = all_finite<T>(call.x0, batch, problem), good = start && sound<M>(w, V, v, lane);
        if (!good)
            for (const Result* r : {&call.x, &call.u, &call.costates}) clear(*r, problem);
        *call.status.at<std::int32_t>(problem) =
            good ? CONVERGED : start ? blame<T>(call.model, batch, problem, {}, {&call.fixed}) : NOT_FINITE;
    }
}

}  // namespace costogo::COSTOGO_ISA
