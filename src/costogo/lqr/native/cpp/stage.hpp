// One knot of the backward sweep: join the stage with the cost-to-go behind it, and minimise over the control.
//
// With the columns ordered (u, x, 1), the joined Hessian is one matrix and the minimisation is its partial Cholesky
// factorisation: eliminating u leaves the cost-to-go,
//
//     [Quu Qux qu]      [B'V'B  B'V'A  B's]                                 K = -U^-1 Y,  k = -U^-1 y
//     [ .  Qxx qx] = H + [  .   A'V'A  A's],  s = v' + V'd,  Quu + mu I = U'U,  [Y y] = U^-T [Qux qu]
//
//     V = Qxx - Y'Y - mu K'K,   v = qx - Y'y - mu K'k.
//
// Held controls have unit rows in U and zero rows in Y. Equality rows C x + D u + e = 0 add [S rhs] -> T below.
#pragma once

#include "arena.hpp"
#include "box_qp.hpp"
#include "factor.hpp"
#include "moves.hpp"

namespace costogo::COSTOGO_ISA {

// Smallest pivot of an equality row, relative to its diagonal entry and in units of the precision.
constexpr double DEPENDENT = 1e3;

template <class T>
constexpr T precision() {
    return sizeof(T) == 8 ? T(2.220446049250313e-16) : T(1.1920928955078125e-07);
}

template <class M>
struct Knot {
    const typename M::Elem *A, *B, *d, *Q, *q, *R, *r, *P;
};

// Where a knot's results go; a null pointer is a result nobody wants.
template <class M>
struct KnotResult {
    typename M::Elem *K, *k, *V, *v, *c, *Quu, *Qux, *L, *free, *multiplier, *slope;
};

enum class Limit { none, masked, boxed };

// `free` holds ones and zeros. Equality rows: C (ng x nx), D (ng x nu), e, mask (ones and zeros).
template <class M>
struct KnotLimits {
    Limit kind = Limit::none;
    const typename M::Elem *lower = nullptr, *upper = nullptr, *free = nullptr;
    int ng = 0;
    const typename M::Elem *C = nullptr, *D = nullptr, *e = nullptr, *mask = nullptr;
};

template <class M>
struct Workspace {
    using Elem = typename M::Elem;
    int nx, nu, ng, ld, lde, lds;  // columns of a row, the same with D' appended, of a row of [S rhs]
    Elem *G, *W, *H, *U, *Z, *S, *T, *inverse, *qu, *fixed, *free, *residual, *diagonal;
    typename M::Scalar* small;
    unsigned char* flags;
    // Carried from knot to knot.
    Elem constant, linear, quadratic;
    typename M::Mask ok;

    Workspace(Arena& arena, int nx_, int nu_, int ng_) : nx(nx_), nu(nu_), ng(ng_) {
        const int n = nu + nx + 1;
        ld = padded(n, M::COLUMNS), lde = ng ? padded(n + ng, M::COLUMNS) : ld;
        lds = padded(ng + nx + 1, M::COLUMNS);
        G = arena.zeros<Elem>(nx * ld), W = arena.zeros<Elem>(nx * ld), H = arena.zeros<Elem>((nu + nx) * ld);
        U = arena.zeros<Elem>(nu * lde), Z = arena.zeros<Elem>(nu * lde);
        S = arena.zeros<Elem>(ng * lds), T = arena.zeros<Elem>(ng * lds);
        inverse = arena.zeros<Elem>(nu + ng), qu = arena.zeros<Elem>(nu), fixed = arena.zeros<Elem>(nu);
        free = arena.zeros<Elem>(nu), residual = arena.zeros<Elem>(ng), diagonal = arena.zeros<Elem>(ng);
        small = arena.zeros<typename M::Scalar>(box_qp_scratch(nu) + nu * nu + 3 * nu);
        flags = arena.zeros<unsigned char>(nu);
    }
    void start() { constant = linear = quadratic = Elem{}, ok = Elem{} == Elem{}; }
};


// H := stage Hessian and gradient + [B A d]' [V' [B A d] + (0 0 v')], upper triangle.
template <class M, class D>
COSTOGO_INLINE void join(D dims, const Knot<M>& knot, const typename M::Elem* V, const typename M::Elem* v,
                         Workspace<M>& w) {
    using Elem = typename M::Elem;
    const int nx = dims.nx, nu = dims.nu, ld = padded(nu + nx + 1, M::COLUMNS), last = nu + nx;
    for (int i = 0; i < nx; ++i) {
        copy<M>(nu, knot.B + i * nu, w.G + i * ld);
        copy<M>(nx, knot.A + i * nx, w.G + i * ld + nu);
        w.G[i * ld + last] = knot.d[i];
    }
    multiply<M, D, Into::set>(nx, nx, V, nx, 1, w.G, ld, w.W, ld, ld, -1);
    Elem offset{};
    for (int i = 0; i < nx; ++i) {
        const Elem shifted = w.W[i * ld + last] + v[i];
        offset += (shifted + v[i]) * knot.d[i];
        w.W[i * ld + last] = shifted;
    }
    w.constant += typename M::Scalar(0.5) * offset;
    // Only upper triangles are read below: a NaN in a lower one must not go unnoticed.
    w.constant += nothing<M>(nx * nx, knot.Q) + nothing<M>(nu * nu, knot.R);
    for (int i = 0; i < nu; ++i) {
        Elem* row = w.H + i * ld;
        copy<M>(nu, knot.R + i * nu, row);
        copy<M>(nx, knot.P + i * nx, row + nu);
        row[last] = knot.r[i];
        for (int j = last + 1; j < ld; ++j) row[j] = Elem{};
    }
    for (int i = 0; i < nx; ++i) {
        Elem* row = w.H + (nu + i) * ld;
        copy<M>(nx, knot.Q + i * nx, row + nu);
        row[last] = knot.q[i];
        for (int j = last + 1; j < ld; ++j) row[j] = Elem{};
    }
    multiply<M, D, Into::add>(nu + nx, nx, w.G, ld, 1, w.W, ld, w.H, ld, ld, 0);
    // The lower half of Quu, for everything that reads rows of it.
    for (int i = 0; i < nu; ++i)
        for (int j = 0; j < i; ++j) w.H[i * ld + j] = w.H[j * ld + i];
}

// Free set of the bounded stage problem, one problem of the pack after the other.
template <class M>
COSTOGO_NOINLINE void find_free(Workspace<M>& w, const KnotLimits<M>& limits, typename M::Scalar mu, int lane) {
    using T = typename M::Scalar;
    const int nu = w.nu, ld = w.ld;
    T *H = w.small, *g = H + nu * nu, *lower = g + nu, *upper = lower + nu, *scratch = upper + nu;
    const auto entry = [lane](const typename M::Elem& e) {
        if constexpr (M::PROBLEMS == 1) return e; else return e[lane];
    };
    for (int i = 0; i < nu; ++i) {
        for (int j = 0; j < nu; ++j) H[i * nu + j] = entry(w.H[i * ld + j]) + (i == j ? mu : T(0));
        g[i] = entry(w.qu[i]), lower[i] = entry(limits.lower[i]), upper[i] = entry(limits.upper[i]);
    }
    bool numbers = true;
    for (int i = 0; i < nu; ++i) numbers = numbers && lower[i] == lower[i] && upper[i] == upper[i];
    const bool found = box_qp(nu, H, g, lower, upper, w.flags, scratch) && numbers;
    for (int i = 0; i < nu; ++i) {
        const bool free = w.flags[i] || !found;
        const T value = free ? T(0) : (scratch[i] >= upper[i] ? upper[i] : lower[i]);
        if constexpr (M::PROBLEMS == 1)
            w.free[i] = T(free), w.fixed[i] = value;
        else
            w.free[i][lane] = T(free), w.fixed[i][lane] = value;
    }
    if constexpr (M::PROBLEMS == 1) w.ok = w.ok && found; else w.ok[lane] = found ? w.ok[lane] : 0;
}

template <class M>
COSTOGO_INLINE void clamp_scalar(Workspace<M>& w, const KnotLimits<M>& limits, typename M::Elem mu) {
    using Elem = typename M::Elem;
    const Elem one = Elem{} + typename M::Scalar(1), curvature = w.H[0] + mu;
    const auto positive = curvature > Elem{};
    const Elem newton = -w.qu[0] / select(positive, curvature, one);
    const auto low = positive & (newton <= limits.lower[0]), high = positive & (newton >= limits.upper[0]);
    w.free[0] = select(low | high, Elem{}, one);
    // Where the bounds cross, the upper one wins, as in a clip.
    w.fixed[0] = select(high | (low & (limits.lower[0] >= limits.upper[0])), limits.upper[0], select(low, limits.lower[0], Elem{}));
    w.ok = w.ok & positive & (limits.lower[0] == limits.lower[0]) & (limits.upper[0] == limits.upper[0]);
}

// U := rows of [Quu + mu I, Qux, qu] with the held controls taken out, and their effect moved to qu and qx.
template <class M, class D>
COSTOGO_INLINE void restrict_rows(D dims, Workspace<M>& w, const KnotLimits<M>& limits, typename M::Elem mu) {
    using Elem = typename M::Elem;
    const int nx = dims.nx, nu = dims.nu, ld = padded(nu + nx + 1, M::COLUMNS), last = nu + nx;
    const Elem one = Elem{} + typename M::Scalar(1);
    for (int i = 0; i < nu; ++i) {
        Elem* row = w.U + i * w.lde;
        copy<M>(ld, w.H + i * ld, row);
        row[i] += mu;
    }
    if (limits.kind == Limit::none) return;
    for (int i = 0; i < nu; ++i) {
        Elem* row = w.U + i * w.lde;
        const auto free = w.free[i] != Elem{};
        Elem right = w.qu[i];
        for (int j = 0; j < nu; ++j) right += w.H[i * ld + j] * w.fixed[j];
        for (int j = 0; j < nu; ++j)
            row[j] = select(free & (w.free[j] != Elem{}), row[j], i == j ? one : Elem{});
        for (int j = 0; j < nx; ++j) {
            w.H[(nu + j) * ld + last] += w.H[i * ld + nu + j] * w.fixed[i];
            row[nu + j] = select(free, row[nu + j], Elem{});
        }
        row[last] = select(free, right, -w.fixed[i]);
    }
}

// Equality rows, after the elimination of u: with Yd = U^-T D', the rows [S | C - Yd'Y, e + D fixed - Yd'y], where
// S = Yd'Yd, give multipliers N x + nu0; then Z := [Y y] + Yd [N nu0], and the cost-to-go gets what they add.
template <class M>
COSTOGO_NOINLINE void constrain(Workspace<M>& w, const KnotLimits<M>& limits, const KnotResult<M>& result) {
    using Elem = typename M::Elem;
    using Scalar = typename M::Scalar;
    const int nx = w.nx, nu = w.nu, ng = w.ng, last = nu + nx, lds = w.lds, lde = w.lde;
    const Elem* Yd = w.U + last + 1;  // U^-T D', (nu x ng) inside the rows of U
    for (int i = 0; i < ng; ++i) {
        Elem* row = w.S + i * lds;
        for (int j = 0; j < ng; ++j) {
            Elem sum = i == j ? Scalar(1) - limits.mask[i] : Elem{};
            for (int p = 0; p < nu; ++p) sum += Yd[p * lde + i] * Yd[p * lde + j];
            row[j] = sum;
            if (i == j) w.diagonal[i] = sum;
        }
        for (int j = 0; j <= nx; ++j) {
            Elem sum = j < nx ? select(limits.mask[i] != Elem{}, limits.C[i * nx + j], Elem{}) : w.residual[i];
            for (int p = 0; p < nu; ++p) sum -= Yd[p * lde + i] * w.U[p * lde + nu + j];
            row[ng + j] = sum;
        }
    }
    eliminate<M, Dims<0, 0>>(ng, w.S, lds, w.inverse + nu, w.ok);
    // The pivot of a row that depends on those above is rounding, of either sign.
    for (int i = 0; i < ng; ++i) {
        const Elem inverse = w.inverse[nu + i];
        w.ok = w.ok & (Scalar(DEPENDENT) * precision<Scalar>() * w.diagonal[i] * inverse * inverse < Elem{} + Scalar(1));
    }
    copy<M>(ng * lds, w.S, w.T);
    back_substitute<M, Dims<0, 0>>(ng, w.S, lds, w.inverse + nu, w.T, ng, lds);
    for (int i = 0; i < ng; ++i) {
        for (int p = 0; p < nu; ++p)
            for (int j = 0; j <= nx; ++j) w.Z[p * lde + nu + j] += Yd[p * lde + i] * w.T[i * lds + ng + j];
        if (result.slope) copy<M>(nx, w.T + i * lds + ng, result.slope + i * nx);
        if (result.multiplier) result.multiplier[i] = w.T[i * lds + ng + nx];
    }
    // The elimination has left the rows S^-1/2 rhs; their product with themselves is added to [V v].
    for (int i = 0; i < nx; ++i)
        for (int p = 0; p < ng; ++p)
            for (int j = i; j <= nx; ++j) w.H[(nu + i) * w.ld + nu + j] += w.S[p * lds + ng + i] * w.S[p * lds + ng + j];
}

// Rows D' restricted to free controls, appended to U, and the residual of the rows at the held values.
template <class M>
COSTOGO_NOINLINE void append_rows(Workspace<M>& w, const KnotLimits<M>& limits) {
    using Elem = typename M::Elem;
    const int nu = w.nu, first = nu + w.nx + 1;
    for (int i = 0; i < w.ng; ++i) {
        const auto set = limits.mask[i] != Elem{};
        w.residual[i] = select(set, limits.e[i], Elem{});
        for (int p = 0; p < nu; ++p) {
            const Elem entry = select(set, limits.D[i * nu + p], Elem{});
            const bool limited = limits.kind != Limit::none;
            w.residual[i] += limited ? entry * w.fixed[p] : Elem{};
            w.U[p * w.lde + first + i] = limited ? select(w.free[p] != Elem{}, entry, Elem{}) : entry;
        }
    }
}

template <class M>
using Stage = void (*)(const Knot<M>&, const KnotLimits<M>&, typename M::Elem mu, bool regularised,
                       const typename M::Elem* V, const typename M::Elem* v, Workspace<M>&, const KnotResult<M>&);

// The whole knot. `V`, `v` belong to the next knot; results go to `result`, whose V, v, K and k are always wanted.
template <class M, class D>
COSTOGO_NOINLINE void stage(const Knot<M>& knot, const KnotLimits<M>& limits, typename M::Elem mu, bool regularised,
                          const typename M::Elem* V, const typename M::Elem* v, Workspace<M>& w,
                          const KnotResult<M>& result) {
    using Elem = typename M::Elem;
    const D dims(w.nx, w.nu);
    const int nx = dims.nx, nu = dims.nu, ld = padded(nu + nx + 1, M::COLUMNS), last = nu + nx;
    join(dims, knot, V, v, w);
    for (int i = 0; i < nu; ++i) w.qu[i] = w.H[i * ld + last];
    if (limits.kind == Limit::masked) {
        for (int i = 0; i < nu; ++i) {
            w.free[i] = limits.free[i];
            w.fixed[i] = select(w.free[i] != Elem{}, Elem{}, limits.lower[i]);
        }
    } else if (limits.kind == Limit::boxed) {
        if (nu == 1) {
            clamp_scalar(w, limits, mu);
        } else {
            for (int lane = 0; lane < M::PROBLEMS; ++lane) {
                if constexpr (M::PROBLEMS == 1) find_free(w, limits, mu, lane); else find_free(w, limits, mu[lane], lane);
            }
        }
    }
    restrict_rows(dims, w, limits, mu);
    const int lde = w.ng ? w.lde : ld;
    if (w.ng) append_rows(w, limits);
    eliminate<M, D>(nu, w.U, lde, w.inverse, w.ok);
    copy<M>(nu * lde, w.U, w.Z);
    // [V v] := [Qxx qx] - Y'[Y y]
    multiply<M, D, Into::subtract>(nx, nu, w.U + nu, lde, 1, w.U, lde, w.H + nu * ld, ld, ld, nu);
    if (w.ng) constrain(w, limits, result);
    back_substitute<M, D>(nu, w.U, lde, w.inverse, w.Z, nu, ld);
    if (regularised) {
        for (int i = 0; i < nx; ++i)
            for (int p = 0; p < nu; ++p)
                subtract<M>(w.H + (nu + i) * ld, nu + i, ld, mu * w.Z[p * lde + nu + i], w.Z + p * lde);
    }

    for (int i = 0; i < nu; ++i) {
        negate<M>(nx, w.Z + i * lde + nu, result.K + i * nx);
        result.k[i] = -w.Z[i * lde + last];
    }
    mirror<M>(nx, w.H + nu * ld + nu, ld, result.V);
    for (int i = 0; i < nx; ++i) result.v[i] = w.H[(nu + i) * ld + last];
    Elem linear{}, quadratic{};
    for (int i = 0; i < nu; ++i) {
        linear += w.qu[i] * result.k[i];
        Elem row{};
        for (int j = 0; j < nu; ++j) row += w.H[i * ld + j] * result.k[j];
        quadratic += row * result.k[i];
    }
    w.linear += linear, w.quadratic += quadratic;
    w.constant += linear + typename M::Scalar(0.5) * quadratic;
    if (result.c) *result.c = w.constant;
    if (!result.Quu) return;
    for (int i = 0; i < nu; ++i) {
        copy<M>(nu, w.H + i * ld, result.Quu + i * nu);
        copy<M>(nx, w.H + i * ld + nu, result.Qux + i * nx);
        for (int j = 0; j < nu; ++j) result.L[i * nu + j] = j <= i ? w.U[j * lde + i] : Elem{};
        result.free[i] = limits.kind == Limit::none ? Elem{} + typename M::Scalar(1) : w.free[i];
    }
}

// Sizes worth their own code: vectors and loops are then laid out by the compiler.
template <class M>
Stage<M> stage_of([[maybe_unused]] int nx, [[maybe_unused]] int nu) {
#define COSTOGO_SIZE(NX, NU) \
    if constexpr (M::COLUMNS > 1 || NX + NU + 1 <= LANES_COLUMNS) \
        if (nx == NX && nu == NU) return stage<M, Dims<NX, NU>>;
    COSTOGO_SIZES
#undef COSTOGO_SIZE
    return stage<M, Dims<0, 0>>;
}

}  // namespace costogo::COSTOGO_ISA
