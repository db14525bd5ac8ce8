// Sweeps over one problem with stage terms that change from call to call, and what they keep for the next one.
#pragma once

#include "sweep.hpp"

namespace costogo::COSTOGO_ISA {

template <class T>
class RepeatedSweeps {
protected:
    using M = Rows<T>;
    using Index = std::int64_t;

    RepeatedSweeps(const InteriorPointCall& call, Arena& arena)
        : call_(call), nx_(call.sizes.nx), nu_(call.sizes.nu), N_(call.sizes.N), bounds_(Index(N_) * nu_),
          w_(arena, nx_, nu_, 0), stage_(stage_of<M>(nx_, nu_)) {
        const Index N = N_, nxu = nx_ * nu_;
        R_ = arena.zeros<T>(N * nu_ * nu_), K_ = arena.zeros<T>(N * nxu), k_ = arena.zeros<T>(bounds_);
        V_ = arena.zeros<T>((N + 1) * nx_ * nx_), v_ = arena.zeros<T>((N + 1) * nx_), Vd_ = arena.zeros<T>(N * nx_);
        U_ = arena.zeros<T>(N * nu_ * w_.lde), inverse_ = arena.zeros<T>(bounds_), sums_ = arena.zeros<T>(3 * N);
        xt_ = arena.zeros<T>((N + 1) * nx_), ut_ = arena.zeros<T>(bounds_), gradient_ = arena.zeros<T>(bounds_);
        free_ = arena.zeros<T>(bounds_), fixed_ = arena.zeros<T>(bounds_), y_ = arena.zeros<T>(nu_), shift_ = arena.zeros<T>(nx_);
    }

    // The model of one problem; R includes the regularisation.
    void fetch_model() {
        const Batch& b = call_.batch;
        const Model& m = call_.model;
        A_ = m.A.at<T>(b, problem_), B_ = m.B.at<T>(b, problem_), d_ = m.d.at<T>(b, problem_);
        Q_ = m.Q.at<T>(b, problem_), q_ = m.q.at<T>(b, problem_), r_ = m.r.at<T>(b, problem_);
        P_ = m.P.at<T>(b, problem_), x0_ = call_.x0.at<T>(b, problem_);
        const T mu = call_.regularisation.present() ? *call_.regularisation.at<T>(b, problem_) : T(0);
        copy<M>(Index(N_) * nu_ * nu_, m.R.at<T>(b, problem_), R_);
        for (int k = 0; k < N_; ++k)
            for (int i = 0; i < nu_; ++i) R_[(k * nu_ + i) * nu_ + i] += mu;
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

    // What `sweep` kept to itself.
    void write_sweep() {
        const SweepResult& out = call_.sweep;
        copy<M>(N_ * nu_ * nx_, K_, out.K.at<T>(problem_));
        copy<M>(N_ * nu_, k_, out.k.at<T>(problem_));
        copy<M>((N_ + 1) * nx_ * nx_, V_, out.V.at<T>(problem_));
        copy<M>((N_ + 1) * nx_, v_, out.v.at<T>(problem_));
        out.c.at<T>(problem_)[N_] = T(0);
        T* decrease = out.decrease.at<T>(problem_);
        decrease[0] = w_.linear, decrease[1] = w_.quadratic;
    }

    const InteriorPointCall& call_;
    const int nx_, nu_, N_;
    const Index bounds_;
    Workspace<M> w_;
    const Stage<M> stage_;
    Index problem_ = 0;
    const T *A_ = nullptr, *B_ = nullptr, *d_ = nullptr, *Q_ = nullptr, *q_ = nullptr, *r_ = nullptr, *P_ = nullptr;
    const T* x0_ = nullptr;
    T *R_, *K_, *k_, *V_, *v_, *Vd_, *U_, *inverse_, *sums_, *xt_, *ut_, *gradient_, *free_, *fixed_, *y_, *shift_;
};

}  // namespace costogo::COSTOGO_ISA
