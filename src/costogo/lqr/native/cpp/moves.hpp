// Copies, transposes and mirrors, on whole vectors where these fit.
#pragma once

#include "vector.hpp"

namespace costogo::COSTOGO_ISA {

template <class M>
COSTOGO_INLINE void copy(std::int64_t n, const typename M::Elem* from, typename M::Elem* to) {
    std::int64_t i = 0;
    for (; i + M::COLUMNS <= n; i += M::COLUMNS) store<M>(to + i, load<M>(from + i));
    if constexpr (M::COLUMNS > 1)
        for (; i < n; ++i) to[i] = from[i];
}

template <class M>
COSTOGO_INLINE void negate(int n, const typename M::Elem* from, typename M::Elem* to) {
    int i = 0;
    for (; i + M::COLUMNS <= n; i += M::COLUMNS) store<M>(to + i, -load<M>(from + i));
    if constexpr (M::COLUMNS > 1)
        for (; i < n; ++i) to[i] = -from[i];
}

// Interleaves of two packs; W of them in log2 W rounds transpose a square block.
template <class T, bool HIGH, int... I>
COSTOGO_INLINE Pack<T> interleave(Pack<T> a, Pack<T> b, std::integer_sequence<int, I...>) {
    constexpr int W = WIDTH<T>, FIRST = HIGH ? W / 2 : 0;
    return shuffle(a, b, std::integer_sequence<int, (I / 2 + FIRST + I % 2 * W)...>{});
}
template <class T>
COSTOGO_INLINE void transpose(Pack<T>* block) {
    constexpr int W = WIDTH<T>;
    constexpr auto order = std::make_integer_sequence<int, W>{};
    Pack<T> other[W];
    COSTOGO_UNROLL
    for (int round = 1; round < W; round *= 2) {
        COSTOGO_UNROLL
        for (int i = 0; i < W / 2; ++i) {
            other[2 * i] = interleave<T, false>(block[i], block[i + W / 2], order);
            other[2 * i + 1] = interleave<T, true>(block[i], block[i + W / 2], order);
        }
        COSTOGO_UNROLL
        for (int i = 0; i < W; ++i) block[i] = other[i];
    }
}

// The full symmetric matrix (n x n, dense) of an upper triangle (rows of `ld`): blocks above the diagonal are stored
// twice, as they are and transposed.
template <class M>
COSTOGO_INLINE void mirror(int n, const typename M::Elem* upper, int ld, typename M::Elem* full) {
    constexpr int W = M::COLUMNS;
    const int whole = W > 1 ? n / W * W : 0;
    const auto one_by_one = [&](int first, int end, int from, int to) {
        for (int i = first; i < end; ++i)
            for (int j = from > i ? from : i; j < to; ++j) full[i * n + j] = full[j * n + i] = upper[i * ld + j];
    };
    if constexpr (W > 1) {
        for (int i = 0; i < whole; i += W) {
            one_by_one(i, i + W, i, i + W);
            for (int j = i + W; j < whole; j += W) {
                typename M::Vec block[W];
                COSTOGO_UNROLL
                for (int r = 0; r < W; ++r) {
                    block[r] = load<M>(upper + (i + r) * ld + j);
                    store<M>(full + (i + r) * n + j, block[r]);
                }
                transpose<typename M::Scalar>(block);
                COSTOGO_UNROLL
                for (int r = 0; r < W; ++r) store<M>(full + (j + r) * n + i, block[r]);
            }
        }
    }
    one_by_one(0, n, whole, n);
}

}  // namespace costogo::COSTOGO_ISA
