// Riccati interior-point method with active-set polish: the algorithm of `costogo.lqr.interior_point`, for one problem.
//
// Inequalities stand in one list: lower bounds (N nu), upper bounds (N nu), general rows (N nh).
#pragma once

#include "repeated_sweeps.hpp"

namespace costogo::COSTOGO_ISA {

template <class T>
class InteriorPoint : RepeatedSweeps<T> {
    using Base = RepeatedSweeps<T>;
    using typename Base::Index, typename Base::M;
    using Base::problem_, Base::nx_, Base::nu_, Base::N_, Base::bounds_, Base::w_, Base::Q_, Base::q_, Base::R_, Base::r_, Base::P_;
    using Base::x0_, Base::xt_, Base::ut_, Base::gradient_, Base::free_, Base::fixed_;
    using Base::fetch_model, Base::sweep, Base::resweep, Base::roll, Base::control_gradient, Base::write_sweep;

public:
    InteriorPoint(const InteriorPointCall& call, Arena& arena)
        : Base(call, arena), call_(call), nh_(call.sizes.nh), count_(2 * bounds_ + Index(N_) * nh_) {
        const Index N = N_;
        Ra_ = arena.zeros<T>(N * nu_ * nu_), ra_ = arena.zeros<T>(bounds_);
        if (nh_) {
            Qa_ = arena.zeros<T>(N * nx_ * nx_), Pa_ = arena.zeros<T>(N * nx_ * nu_), qa_ = arena.zeros<T>((N + 1) * nx_);
        }
        x_ = arena.zeros<T>((N + 1) * nx_), u_ = arena.zeros<T>(bounds_);
        for (T** piece : {&gap_, &slack_, &dual_, &ds_, &dz_, &centre_, &offset_}) *piece = arena.zeros<T>(count_);
        present_ = arena.zeros<unsigned char>(count_);
        at_lower_ = arena.zeros<unsigned char>(bounds_), at_upper_ = arena.zeros<unsigned char>(bounds_);
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
        fetch_model();
        lower_ = call_.lower.at<T>(b, problem_), upper_ = call_.upper.at<T>(b, problem_);
        if (nh_) {
            E_ = call_.E.at<T>(b, problem_), F_ = call_.F.at<T>(b, problem_), e_ = call_.e.at<T>(b, problem_);
        }
        for (Index i = 0; i < bounds_; ++i) {
            present_[i] = finite(lower_[i]), present_[bounds_ + i] = finite(upper_[i]);
            offset_[i] = present_[i] ? -lower_[i] : T(0), offset_[bounds_ + i] = present_[bounds_ + i] ? upper_[i] : T(0);
        }
        for (Index i = 2 * bounds_; i < count_; ++i) {
            const T e = e_[i - 2 * bounds_];
            present_[i] = !(e > T(0) && !finite(e)), offset_[i] = present_[i] ? e : T(0);
        }
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
        if (!number || !all_finite<T>(call_.regularisation, call_.batch, problem_)) return NOT_FINITE;
        return crossed && data_finite() ? INFEASIBLE : CONVERGED;
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
            for (int i = 0; i < nh_; ++i) g[i] = present_[2 * bounds_ + k * nh_ + i] ? g[i] : T(1);
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

    Status failure() {
        if (!data_finite()) return NOT_FINITE;
        // A sweep that fails later than the first one is a symptom: the barrier grew without bound.
        if (!ok_ && iteration_ == 0) return INDEFINITE;
        return residual() > T(1e-3) ? INFEASIBLE : MAX_ITERATIONS;
    }

    bool data_finite() const {
        bool yes = all_finite<T>(call_.model, call_.batch, problem_) && all_finite<T>(call_.E, call_.batch, problem_) &&
                   all_finite<T>(call_.F, call_.batch, problem_);
        for (Index i = 2 * bounds_; i < count_; ++i) yes = yes && finite(offset_[i]);
        return yes;
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
    const int nh_;
    const Index count_;
    int iteration_ = 0;
    bool ok_ = true, polish_ok_ = false;
    T mu_ = 0, tolerance_ = 0, limit_ = 0;
    const T *lower_ = nullptr, *upper_ = nullptr, *E_ = nullptr, *F_ = nullptr, *e_ = nullptr;
    T *Ra_, *ra_, *Qa_ = nullptr, *Pa_ = nullptr, *qa_ = nullptr;
    T *x_, *u_, *gap_, *slack_, *dual_, *ds_, *dz_, *centre_, *offset_;
    unsigned char *present_, *at_lower_, *at_upper_;
};

}  // namespace costogo::COSTOGO_ISA
