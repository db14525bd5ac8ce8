// Riccati interior-point method with active-set polish: the algorithm of `costogo.lqr.interior_point`, for one problem.
//
// Inequalities stand in one list: lower bounds (N nu), upper bounds (N nu), general rows (N nh).
#pragma once

#include "sweep.hpp"

namespace costogo::COSTOGO_ISA {

template <class T>
class InteriorPoint {
    using M = Rows<T>;
    using Index = std::int64_t;

public:
    InteriorPoint(const InteriorPointCall& call, Arena& arena)
        : call_(call), s_(call.sizes), nx_(s_.nx), nu_(s_.nu), N_(s_.N), nh_(s_.nh),
          bounds_(Index(s_.N) * s_.nu), count_(2 * bounds_ + Index(s_.N) * s_.nh), w_(arena, s_.nx, s_.nu, 0), stage_(stage_of<M>(s_.nx, s_.nu)) {
        const Index N = N_, nxu = nx_ * nu_;
        R_ = arena.zeros<T>(N * nu_ * nu_), Ra_ = arena.zeros<T>(N * nu_ * nu_), ra_ = arena.zeros<T>(bounds_);
        if (nh_) {
            Qa_ = arena.zeros<T>(N * nx_ * nx_), Pa_ = arena.zeros<T>(N * nxu), qa_ = arena.zeros<T>((N + 1) * nx_);
        }
        K_ = arena.zeros<T>(N * nxu), k_ = arena.zeros<T>(bounds_), V_ = arena.zeros<T>((N + 1) * nx_ * nx_);
        v_ = arena.zeros<T>((N + 1) * nx_), Vd_ = arena.zeros<T>(N * nx_), U_ = arena.zeros<T>(N * nu_ * w_.lde);
        sums_ = arena.zeros<T>(3 * N);
        inverse_ = arena.zeros<T>(bounds_), x_ = arena.zeros<T>((N + 1) * nx_), u_ = arena.zeros<T>(bounds_);
        xt_ = arena.zeros<T>((N + 1) * nx_), ut_ = arena.zeros<T>(bounds_), gradient_ = arena.zeros<T>(bounds_);
        for (T** piece : {&gap_, &slack_, &dual_, &ds_, &dz_, &centre_, &offset_}) *piece = arena.zeros<T>(count_);
        present_ = arena.zeros<unsigned char>(count_);
        at_lower_ = arena.zeros<unsigned char>(bounds_), at_upper_ = arena.zeros<unsigned char>(bounds_);
        free_ = arena.zeros<T>(bounds_), fixed_ = arena.zeros<T>(bounds_), y_ = arena.zeros<T>(nu_), shift_ = arena.zeros<T>(nx_);
    }

    void run(Index problem) {
        problem_ = problem;
        fetch();
        const Status invalid = check();
        if (invalid != CONVERGED) return finish_failed(invalid);
        if (nh_ == 0 && try_guess()) return;
        start();
        while (!converged() && ok_ && iteration_ < call_.max_iterations) iterate();
        if (nh_) return finish_unpolished();
        for (Index i = 0; i < bounds_; ++i) {
            at_lower_[i] = (dual_[i] > slack_[i] && present_[i]) || equal(i);
            at_upper_[i] = dual_[bounds_ + i] > slack_[bounds_ + i] && present_[bounds_ + i] && !at_lower_[i];
        }
        finish_polished(polish(ok_ ? call_.polish_iterations : 1));
    }

private:
    void fetch() {
        const Batch& b = call_.batch;
        const Model& m = call_.model;
        A_ = m.A.at<T>(b, problem_), B_ = m.B.at<T>(b, problem_), d_ = m.d.at<T>(b, problem_);
        Q_ = m.Q.at<T>(b, problem_), q_ = m.q.at<T>(b, problem_), r_ = m.r.at<T>(b, problem_);
        P_ = m.P.at<T>(b, problem_), x0_ = call_.x0.at<T>(b, problem_);
        lower_ = call_.lower.at<T>(b, problem_), upper_ = call_.upper.at<T>(b, problem_);
        if (nh_) {
            E_ = call_.E.at<T>(b, problem_), F_ = call_.F.at<T>(b, problem_), e_ = call_.e.at<T>(b, problem_);
        }
        const T* R = m.R.at<T>(b, problem_);
        const T mu = call_.regularisation.present() ? *call_.regularisation.at<T>(b, problem_) : T(0);
        copy<M>(N_ * nu_ * nu_, R, R_);
        for (int k = 0; k < N_; ++k)
            for (int i = 0; i < nu_; ++i) R_[(k * nu_ + i) * nu_ + i] += mu;
        for (Index i = 0; i < bounds_; ++i) {
            present_[i] = finite(lower_[i]), present_[bounds_ + i] = finite(upper_[i]);
            offset_[i] = present_[i] ? -lower_[i] : T(0), offset_[bounds_ + i] = present_[bounds_ + i] ? upper_[i] : T(0);
        }
        for (Index i = 2 * bounds_; i < count_; ++i) present_[i] = 1, offset_[i] = e_[i - 2 * bounds_];
        iteration_ = 0, ok_ = true;
    }

    bool equal(Index i) const { return lower_[i] == upper_[i]; }

    // Data that no iteration can mend. The model itself is looked at only if a sweep fails.
    Status check() const {
        bool number = true, crossed = false;
        for (Index i = 0; i < bounds_; ++i) {
            number = number && lower_[i] == lower_[i] && upper_[i] == upper_[i];
            crossed = crossed || lower_[i] > upper_[i];
        }
        for (int i = 0; i < nx_; ++i) number = number && finite(x0_[i]);
        if (!number) return NOT_FINITE;
        return crossed && all_finite<T>(call_.model, call_.batch, problem_) ? INFEASIBLE : CONVERGED;
    }

    // Backward sweep with the given stage terms, into K, k, V, v; keeps the factors for `resweep`, or fills `out`.
    // From a knot before the last one, the results behind it must stand from the sweep before.
    bool sweep(const T* Q, const T* q, const T* R, const T* r, const T* P, Limit kind, const SweepResult* out, Index from) {
        const int nxx = nx_ * nx_, nxu = nx_ * nu_, nuu = nu_ * nu_;
        w_.start();
        if (from == N_ - 1) {
            copy<M>(nxx, Q_ + Index(N_) * nxx, V_ + Index(N_) * nxx);
            copy<M>(nx_, q_ + Index(N_) * nx_, v_ + Index(N_) * nx_);
        } else {
            w_.constant = sums_[3 * from + 3], w_.linear = sums_[3 * from + 4], w_.quadratic = sums_[3 * from + 5];
        }
        KnotLimits<M> limits;
        limits.kind = kind;
        for (Index k = from; k >= 0; --k) {
            const Knot<M> knot{A_ + k * nxx, B_ + k * nxu, d_ + k * nx_, Q + k * nxx, q + k * nx_, R + k * nuu, r + k * nu_, P + k * nxu};
            KnotResult<M> result{};
            result.K = K_ + k * nxu, result.k = k_ + k * nu_, result.V = V_ + k * nxx, result.v = v_ + k * nx_;
            if (out) {
                result.c = out->c.at<T>(problem_) + k, result.Quu = out->Quu.at<T>(problem_) + k * nuu;
                result.Qux = out->Qux.at<T>(problem_) + k * nxu, result.L = out->L.at<T>(problem_) + k * nuu;
                result.free = y_;
            }
            limits.free = free_ + k * nu_, limits.lower = fixed_ + k * nu_;
            stage_(knot, limits, T(0), false, result.V + nxx, result.v + nx_, w_, result);
            sums_[3 * k] = w_.constant, sums_[3 * k + 1] = w_.linear, sums_[3 * k + 2] = w_.quadratic;
            if (!out) {
                const int ld = w_.ld, last = nu_ + nx_;
                copy<M>(nu_ * ld, w_.U, U_ + k * nu_ * ld);
                copy<M>(nu_, w_.inverse, inverse_ + k * nu_);
                for (int i = 0; i < nx_; ++i) Vd_[k * nx_ + i] = w_.W[i * ld + last] - v_[(k + 1) * nx_ + i];
            }
        }
        return sound<M>(w_, V_, v_, 0);
    }

    // Linear half of the last sweep without `out`, for new q and r.
    void resweep(const T* q, const T* r) {
        const int ld = w_.ld;
        copy<M>(nx_, q_ + Index(N_) * nx_, v_ + Index(N_) * nx_);
        for (Index k = N_ - 1; k >= 0; --k) {
            const T *U = U_ + k * nu_ * ld, *inverse = inverse_ + k * nu_;
            T *v = v_ + k * nx_, *feedforward = k_ + k * nu_;
            for (int i = 0; i < nx_; ++i) shift_[i] = v[nx_ + i] + Vd_[k * nx_ + i];
            copy<M>(nu_, r + k * nu_, y_);
            add_transposed<M>(nx_, nu_, B_ + k * nx_ * nu_, shift_, y_);
            copy<M>(nx_, q + k * nx_, v);
            add_transposed<M>(nx_, nx_, A_ + k * nx_ * nx_, shift_, v);
            for (int i = 0; i < nu_; ++i) {
                y_[i] *= inverse[i];
                for (int j = i + 1; j < nu_; ++j) y_[j] -= U[i * ld + j] * y_[i];
                for (int j = 0; j < nx_; ++j) v[j] -= U[i * ld + nu_ + j] * y_[i];
            }
            for (int i = nu_ - 1; i >= 0; --i) {
                for (int j = i + 1; j < nu_; ++j) y_[i] -= U[i * ld + j] * y_[j];
                y_[i] *= inverse[i];
            }
            for (int i = 0; i < nu_; ++i) feedforward[i] = -y_[i];
        }
    }

    void roll(T* x, T* u) const {
        copy<M>(nx_, x0_, x);
        for (Index k = 0; k < N_; ++k)
            advance<M>(nx_, nu_, A_ + k * nx_ * nx_, B_ + k * nx_ * nu_, d_ + k * nx_, K_ + k * nu_ * nx_, k_ + k * nu_,
                       x + k * nx_, u + k * nu_, x + (k + 1) * nx_);
    }

    // h(w) of every inequality; one where a bound does not exist.
    void gaps(const T* x, const T* u) {
        for (Index i = 0; i < bounds_; ++i) {
            gap_[i] = present_[i] ? u[i] - lower_[i] : T(1);
            gap_[bounds_ + i] = present_[bounds_ + i] ? upper_[i] - u[i] : T(1);
        }
        for (Index k = 0; k < N_ && nh_; ++k) {
            T* g = gap_ + 2 * bounds_ + k * nh_;
            copy<M>(nh_, e_ + k * nh_, g);
            add_product<M>(nh_, nx_, E_ + k * nh_ * nx_, x + k * nx_, g);
            add_product<M>(nh_, nu_, F_ + k * nh_ * nu_, u + k * nu_, g);
        }
    }

    T largest_control() const {
        T most = 0;
        for (Index i = 0; i < bounds_; ++i) most = larger(most, magnitude(u_[i]));
        return most;
    }

    // Unconstrained optimum, slacks moved into the interior; where it is feasible it is the answer.
    void start() {
        ok_ = sweep(Q_, q_, R_, r_, P_, Limit::none, nullptr, N_ - 1);
        roll(x_, u_);
        gaps(x_, u_);
        T curvature = 0, violation = 0;
        bool interior = true;
        for (Index i = 0; i < N_ * nu_; ++i) curvature += R_[i * nu_ + i % nu_];
        curvature /= T(N_ * nu_);
        for (Index i = 0; i < count_; ++i) {
            if (!present_[i]) continue;
            violation = larger(violation, -gap_[i]);
            interior = interior && gap_[i] > 0;
        }
        const T floor = larger(violation, T(1e-2) * (T(1) + (violation > 0 ? largest_control() : T(0))));
        mu_ = interior ? T(0) : larger(curvature, T(1e-8)) * floor * floor;
        for (Index i = 0; i < count_; ++i) {
            slack_[i] = interior ? gap_[i] : larger(gap_[i], floor);
            dual_[i] = present_[i] ? mu_ / slack_[i] : T(0);
        }
        tolerance_ = sizeof(T) == 8 ? T(1.6419968785345617e-10) : T(4.7e-05);
        limit_ = tolerance_ * (T(1e-30) + mu_);
    }

    T residual() {
        gaps(x_, u_);
        T most = 0;
        for (Index i = 0; i < count_; ++i)
            if (present_[i]) most = larger(most, magnitude(gap_[i] - slack_[i]));
        return most;
    }

    bool converged() { return mu_ <= limit_ && residual() <= tolerance_ * (T(1) + largest_control()); }

    T complementarity(T alpha) const {
        T total = 0, number = 0;
        for (Index i = 0; i < count_; ++i) total += (slack_[i] + alpha * ds_[i]) * (dual_[i] + alpha * dz_[i]), number += present_[i];
        return total / larger(number, T(1));
    }

    // Gradient of the barrier-modified cost, into ra (and qa).
    void linear_terms() {
        const auto g = [this](Index i) {
            return present_[i] ? (dual_[i] * offset_[i] - centre_[i]) / slack_[i] - dual_[i] : T(0);
        };
        for (Index i = 0; i < bounds_; ++i) ra_[i] = r_[i] + g(i) - g(bounds_ + i);
        if (nh_) copy<M>((N_ + 1) * nx_, q_, qa_);
        for (Index k = 0; k < N_ && nh_; ++k)
            for (int h = 0; h < nh_; ++h) {
                const Index row = k * nh_ + h;
                const T value = g(2 * bounds_ + row);
                for (int j = 0; j < nx_; ++j) qa_[k * nx_ + j] += E_[row * nx_ + j] * value;
                for (int j = 0; j < nu_; ++j) ra_[k * nu_ + j] += F_[row * nu_ + j] * value;
            }
    }

    void quadratic_terms() {
        copy<M>(N_ * nu_ * nu_, R_, Ra_);
        for (Index i = 0; i < bounds_; ++i)
            Ra_[i * nu_ + i % nu_] += dual_[i] / slack_[i] + dual_[bounds_ + i] / slack_[bounds_ + i];
        if (!nh_) return;
        copy<M>(N_ * nx_ * nx_, Q_, Qa_);
        copy<M>(N_ * nu_ * nx_, P_, Pa_);
        for (Index row = 0; row < N_ * nh_; ++row) {
            const T weight = dual_[2 * bounds_ + row] / slack_[2 * bounds_ + row];
            const T *E = E_ + row * nx_, *F = F_ + row * nu_;
            T *Q = Qa_ + row / nh_ * nx_ * nx_, *R = Ra_ + row / nh_ * nu_ * nu_, *P = Pa_ + row / nh_ * nu_ * nx_;
            for (int i = 0; i < nx_; ++i)
                for (int j = 0; j < nx_; ++j) Q[i * nx_ + j] += weight * E[i] * E[j];
            for (int i = 0; i < nu_; ++i) {
                for (int j = 0; j < nu_; ++j) R[i * nu_ + j] += weight * F[i] * F[j];
                for (int j = 0; j < nx_; ++j) P[i * nx_ + j] += weight * F[i] * E[j];
            }
        }
    }

    // Newton directions of slacks and multipliers towards the trajectory (xt, ut), and the longest step.
    T directions() {
        gaps(xt_, ut_);
        T step = T(1e30);
        for (Index i = 0; i < count_; ++i) {
            ds_[i] = present_[i] ? gap_[i] - slack_[i] : T(0);
            dz_[i] = present_[i] ? (centre_[i] - dual_[i] * gap_[i]) / slack_[i] : T(0);
            if (ds_[i] < 0) step = smaller(step, -slack_[i] / ds_[i]);
            if (dz_[i] < 0) step = smaller(step, -dual_[i] / dz_[i]);
        }
        return step;
    }

    // Predictor (full sweep) and corrector (linear half).
    void iterate() {
        ++iteration_;
        for (Index i = 0; i < count_; ++i) centre_[i] = 0;
        quadratic_terms();
        linear_terms();
        const T *Q = nh_ ? Qa_ : Q_, *q = nh_ ? qa_ : q_, *P = nh_ ? Pa_ : P_;
        ok_ = sweep(Q, q, Ra_, ra_, P, Limit::none, nullptr, N_ - 1);
        if (!ok_) return;
        roll(xt_, ut_);
        T alpha = smaller(T(1), directions());
        const T affine = complementarity(alpha);
        alpha = 0;
        const T mu = complementarity(alpha);
        const T ratio = smaller(larger(affine / (mu > 0 ? mu : T(1)), T(0)), T(1)), target = ratio * ratio * ratio * mu;
        for (Index i = 0; i < count_; ++i) centre_[i] = present_[i] ? target - ds_[i] * dz_[i] : T(0);

        linear_terms();
        resweep(nh_ ? qa_ : q_, ra_);
        roll(xt_, ut_);
        T sum = 0;
        for (Index i = 0; i < bounds_; ++i) sum += ut_[i] * T(0);
        for (Index i = 0; i < (N_ + 1) * nx_; ++i) sum += xt_[i] * T(0);
        ok_ = sum == T(0);
        if (!ok_) return;
        alpha = smaller(T(1), T(0.995) * directions());
        for (Index i = 0; i < count_; ++i) slack_[i] += alpha * ds_[i], dual_[i] += alpha * dz_[i], ds_[i] = dz_[i] = 0;
        for (Index i = 0; i < (N_ + 1) * nx_; ++i) x_[i] += alpha * (xt_[i] - x_[i]);
        for (Index i = 0; i < bounds_; ++i) u_[i] += alpha * (ut_[i] - u_[i]);
        mu_ = complementarity(T(0));
    }

    bool try_guess() {
        const bool given = call_.guess.present();
        const signed char* guess = given ? call_.guess.at<signed char>(call_.batch, problem_) : nullptr;
        for (Index i = 0; i < bounds_; ++i) {
            at_lower_[i] = (given && guess[i] < 0 && present_[i]) || equal(i);
            at_upper_[i] = given && guess[i] > 0 && present_[bounds_ + i] && !at_lower_[i];
        }
        const bool settled = polish(call_.guess_iterations);
        if (settled) finish_polished(true);
        else iteration_ = 0;
        return settled;
    }

    // Primal-dual active-set passes; true if the set repeats, so that the last sweep belongs to it. The cost-to-go behind
    // the last knot whose set changed is that of the pass before.
    bool polish(int limit) {
        const T epsilon = sizeof(T) == 8 ? T(2.220446049250313e-16) : T(1.1920929e-07);
        Index changed = N_ - 1;
        for (int pass = 0; pass < limit; ++pass) {
            for (Index i = 0; i < bounds_; ++i) {
                free_[i] = T(!(at_lower_[i] || at_upper_[i]));
                fixed_[i] = at_lower_[i] ? lower_[i] : at_upper_[i] ? upper_[i] : T(0);
            }
            polish_ok_ = sweep(Q_, q_, R_, r_, P_, Limit::masked, &call_.sweep, changed);
            if (pass) ++iteration_;
            if (!polish_ok_) return false;
            roll(xt_, ut_);
            const T scale = control_gradient();
            changed = -1;
            for (Index i = 0; i < bounds_; ++i) {
                const T slack = T(100) * epsilon * (T(1) + magnitude(ut_[i])), tiny = T(100) * epsilon * scale, g = gradient_[i];
                const bool low = (at_lower_[i] ? g >= -tiny : ut_[i] < lower_[i] - slack && !at_upper_[i]) || equal(i);
                const bool high = (at_upper_[i] ? g <= tiny : ut_[i] > upper_[i] + slack && !at_lower_[i]) && !equal(i);
                if (low != bool(at_lower_[i]) || high != bool(at_upper_[i])) changed = i / nu_;
                at_lower_[i] = low, at_upper_[i] = high;
            }
            if (changed < 0) return true;
        }
        return false;
    }

    // R u + P x + r + B' lambda at (xt, ut), with lambda = V x + v; returns 1 + max|r| + max|gradient|.
    T control_gradient() {
        T most = 0, linear = 0;
        for (Index k = 0; k < N_; ++k) {
            T* g = gradient_ + k * nu_;
            copy<M>(nx_, v_ + (k + 1) * nx_, shift_);
            add_product<M>(nx_, nx_, V_ + (k + 1) * nx_ * nx_, xt_ + (k + 1) * nx_, shift_);
            copy<M>(nu_, r_ + k * nu_, g);
            add_product<M>(nu_, nu_, R_ + k * nu_ * nu_, ut_ + k * nu_, g);
            add_product<M>(nu_, nx_, P_ + k * nu_ * nx_, xt_ + k * nx_, g);
            add_transposed<M>(nx_, nu_, B_ + k * nx_ * nu_, shift_, g);
            for (int i = 0; i < nu_; ++i) most = larger(most, magnitude(g[i])), linear = larger(linear, magnitude(r_[k * nu_ + i]));
        }
        return T(1) + linear + most;
    }

    Status failure() {
        const bool model = all_finite<T>(call_.model, call_.batch, problem_) && (!nh_ || rows_finite());
        if (!model) return NOT_FINITE;
        // A sweep that fails later than the first one is a symptom: the barrier grew without bound.
        if (!ok_ && iteration_ == 0) return INDEFINITE;
        return residual() > T(1e-3) ? INFEASIBLE : MAX_ITERATIONS;
    }

    bool rows_finite() const {
        return all_finite<T>(call_.E, call_.batch, problem_) && all_finite<T>(call_.F, call_.batch, problem_) &&
               all_finite<T>(call_.e, call_.batch, problem_);
    }

    void finish_failed(Status status) {
        for (const Result* r : {&call_.x, &call_.u, &call_.multipliers, &call_.free}) clear(*r, problem_);
        clear(call_.sweep, problem_);
        write_status(status, INDEFINITE);
    }

    void write_status(Status status, Status swept) {
        *call_.status.at<std::int32_t>(problem_) = status;
        *call_.iterations.at<std::int32_t>(problem_) = iteration_;
        *call_.sweep.status.at<std::int32_t>(problem_) = swept;
    }

    // The set and its sweep; the interior-point iterate instead of the trajectory if the set did not settle.
    void finish_polished(bool settled) {
        const bool done = settled && ok_;
        unsigned char *free = call_.free.at<unsigned char>(problem_), *mask = call_.sweep.free.at<unsigned char>(problem_);
        T *x = call_.x.at<T>(problem_), *u = call_.u.at<T>(problem_);
        copy<M>((N_ + 1) * nx_, done ? xt_ : x_, x);
        copy<M>(N_ * nu_, done ? ut_ : u_, u);
        const Status status = done ? CONVERGED : failure();
        if (polish_ok_) write_sweep(); else clear(call_.sweep, problem_);
        for (Index i = 0; i < bounds_; ++i) {
            free[i] = !(at_lower_[i] || at_upper_[i]);
            mask[i] = free_[i] != T(0);
            if (done) u[i] = smaller(larger(u[i], lower_[i]), upper_[i]);
        }
        write_status(status, polish_ok_ ? CONVERGED : blame<T>(call_.model, call_.batch, problem_));
    }

    // What `sweep` kept to itself.
    void write_sweep() {
        const SweepResult& out = call_.sweep;
        copy<M>(N_ * nu_ * nx_, K_, out.K.template at<T>(problem_));
        copy<M>(N_ * nu_, k_, out.k.template at<T>(problem_));
        copy<M>((N_ + 1) * nx_ * nx_, V_, out.V.template at<T>(problem_));
        copy<M>((N_ + 1) * nx_, v_, out.v.template at<T>(problem_));
        out.c.template at<T>(problem_)[N_] = T(0);
        T* decrease = out.decrease.template at<T>(problem_);
        decrease[0] = w_.linear, decrease[1] = w_.quadratic;
    }

    // With general rows the last barrier-modified sweep stands in for the polished one.
    void finish_unpolished() {
        copy<M>((N_ + 1) * nx_, x_, call_.x.at<T>(problem_));
        copy<M>(N_ * nu_, u_, call_.u.at<T>(problem_));
        copy<M>(N_ * nh_, dual_ + 2 * bounds_, call_.multipliers.at<T>(problem_));
        unsigned char *free = call_.free.at<unsigned char>(problem_), *mask = call_.sweep.free.at<unsigned char>(problem_);
        for (Index i = 0; i < bounds_; ++i) {
            free[i] = slack_[i] >= dual_[i] && slack_[bounds_ + i] >= dual_[bounds_ + i];
            mask[i] = 1;
        }
        const bool done = ok_ && mu_ <= limit_ && residual() <= T(10) * tolerance_ * (T(1) + largest_control());
        const Status status = done ? CONVERGED : failure();
        for (Index i = 0; i < count_; ++i) centre_[i] = 0;
        quadratic_terms();
        linear_terms();
        const bool swept = sweep(Qa_, qa_, Ra_, ra_, Pa_, Limit::none, &call_.sweep, N_ - 1);
        if (swept) write_sweep(); else clear(call_.sweep, problem_);
        write_status(status, swept ? CONVERGED : blame<T>(call_.model, call_.batch, problem_));
    }

    const InteriorPointCall& call_;
    const Sizes s_;
    const int nx_, nu_, N_, nh_;
    const Index bounds_, count_;
    Workspace<M> w_;
    const Stage<M> stage_;
    Index problem_ = 0;
    int iteration_ = 0;
    bool ok_ = true, polish_ok_ = false;
    T mu_ = 0, tolerance_ = 0, limit_ = 0;
    const T *A_ = nullptr, *B_ = nullptr, *d_ = nullptr, *Q_ = nullptr, *q_ = nullptr, *r_ = nullptr, *P_ = nullptr;
    const T *x0_ = nullptr, *lower_ = nullptr, *upper_ = nullptr, *E_ = nullptr, *F_ = nullptr, *e_ = nullptr;
    T *R_, *Ra_, *ra_, *Qa_ = nullptr, *Pa_ = nullptr, *qa_ = nullptr, *K_, *k_, *V_, *v_, *Vd_, *U_, *inverse_, *sums_;
    T *x_, *u_, *xt_, *ut_, *gradient_, *gap_, *slack_, *dual_, *ds_, *dz_, *centre_, *offset_, *free_, *fixed_, *y_, *shift_;
    unsigned char *present_, *at_lower_, *at_upper_;
};

}  // namespace costogo::COSTOGO_ISA
