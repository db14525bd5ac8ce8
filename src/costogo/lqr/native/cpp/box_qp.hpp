// Box-constrained quadratic program by projected Newton: the same algorithm as `costogo.lqr.box_qp`.
#pragma once

#include "vector.hpp"

namespace costogo::COSTOGO_ISA {

constexpr int BOX_QP_ITERATIONS = 20, BOX_QP_TRIALS = 10;

template <class T>
constexpr T root_of_epsilon() {
    return sizeof(T) == 8 ? T(1.4901161193847656e-08) : T(3.4526698300124393e-04);
}

// Scratch of `box_qp`: x, gradient, direction, trial (n each), then the factor (n x n).
constexpr int box_qp_scratch(int n) { return 4 * n + n * n; }

// Lower factor of the free block of H, identity elsewhere; false if it is not positive definite.
template <class T>
bool factor_free(int n, const T* H, const unsigned char* free, T* L) {
    for (int j = 0; j < n; ++j) {
        for (int i = j; i < n; ++i) {
            T sum = free[i] && free[j] ? H[j * n + i] : T(i == j);
            for (int p = 0; p < j; ++p) sum -= L[i * n + p] * L[j * n + p];
            if (i == j) {
                if (!(sum > T(0))) return false;
                L[j * n + j] = root(sum);
            } else {
                L[i * n + j] = sum / L[j * n + j];
            }
        }
    }
    return true;
}

template <class T>
void solve_factored(int n, const T* L, T* x) {
    for (int i = 0; i < n; ++i) {
        for (int p = 0; p < i; ++p) x[i] -= L[i * n + p] * x[p];
        x[i] /= L[i * n + i];
    }
    for (int i = n - 1; i >= 0; --i) {
        for (int p = i + 1; p < n; ++p) x[i] -= L[p * n + i] * x[p];
        x[i] /= L[i * n + i];
    }
}

// Minimises 1/2 x'Hx + g'x between the bounds, from zero. The solution is left in `scratch[0..n)`.
template <class T>
bool box_qp(int n, const T* H, const T* g, const T* lower, const T* upper, unsigned char* free, T* scratch) {
    T *x = scratch, *gradient = x + n, *direction = gradient + n, *trial = direction + n, *L = trial + n;
    const T tolerance = root_of_epsilon<T>() * T(1e-2);
    for (int i = 0; i < n; ++i) x[i] = smaller(larger(T(0), lower[i]), upper[i]);
    for (int iteration = 0; iteration < BOX_QP_ITERATIONS; ++iteration) {
        T size = 0, largest = 0;
        for (int i = 0; i < n; ++i) {
            gradient[i] = g[i];
            for (int j = 0; j < n; ++j) gradient[i] += H[i * n + j] * x[j];
            free[i] = !((x[i] <= lower[i] && gradient[i] > 0) || (x[i] >= upper[i] && gradient[i] < 0));
            direction[i] = free[i] ? -gradient[i] : T(0);
            size = larger(size, magnitude(x[i]));
        }
        if (!factor_free(n, H, free, L)) return false;
        solve_factored(n, L, direction);
        for (int i = 0; i < n; ++i) largest = larger(largest, magnitude(direction[i]));
        T alpha = 1;
        bool accepted = false;
        for (int attempt = 0; attempt < BOX_QP_TRIALS && !accepted; ++attempt, alpha *= T(0.1)) {
            T slope = 0, curvature = 0;
            for (int i = 0; i < n; ++i) trial[i] = smaller(larger(x[i] + alpha * direction[i], lower[i]), upper[i]);
            for (int i = 0; i < n; ++i) {
                T row = 0;
                for (int j = 0; j < n; ++j) row += H[i * n + j] * (trial[j] - x[j]);
                slope += (trial[i] - x[i]) * gradient[i];
                curvature += (trial[i] - x[i]) * row;
            }
            const T decrease = -(slope + T(0.5) * curvature);
            accepted = decrease >= T(0.1) * -slope && decrease > 0;
        }
        const bool small = largest <= tolerance * (T(1) + size);
        if (accepted)
            for (int i = 0; i < n; ++i) x[i] = trial[i];
        if (small || !accepted) return true;
    }
    return false;
}

}  // namespace costogo::COSTOGO_ISA
