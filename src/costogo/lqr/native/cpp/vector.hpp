// Vectors of the instruction set a translation unit is compiled for, and the two ways of filling them.
//
//   Rows:  one problem at a time; a vector holds neighbouring columns of a matrix row.
//   Lanes: as many problems at a time as a vector has entries; every matrix entry is a vector.
//
// All sweeps are written once, over matrices of `Mode::Elem`, and compiled for both.
#pragma once

#include <cstdint>
#include <utility>

#ifndef COSTOGO_ISA
#error "include from a kernels_*.cpp, which names the instruction set"
#endif
#define COSTOGO_INLINE inline __attribute__((always_inline))
#define COSTOGO_NOINLINE __attribute__((noinline))
#define COSTOGO_UNROLL _Pragma("GCC unroll 16")

namespace costogo::COSTOGO_ISA {

template <class T>
constexpr int WIDTH = COSTOGO_VECTOR_BYTES / static_cast<int>(sizeof(T));

template <class T>
struct vector_of {
    typedef T type __attribute__((vector_size(COSTOGO_VECTOR_BYTES)));
    typedef T unaligned __attribute__((vector_size(COSTOGO_VECTOR_BYTES), aligned(alignof(T)), may_alias));
};
template <class T>
using Pack = typename vector_of<T>::type;

template <class T>
struct Rows {
    using Scalar = T;
    using Elem = T;
    using Vec = Pack<T>;
    using Mask = bool;
    static constexpr int COLUMNS = WIDTH<T>;
    static constexpr int PROBLEMS = 1;
    // Minus zero is the identity for every number; plus zero is not, and would cost an addition.
    static COSTOGO_INLINE Vec broadcast(Elem x) { return x - Vec{}; }
};

template <class T>
struct Lanes {
    using Scalar = T;
    using Elem = Pack<T>;
    using Vec = Pack<T>;
    using Mask = decltype(Pack<T>{} < Pack<T>{});
    static constexpr int COLUMNS = 1;
    static constexpr int PROBLEMS = WIDTH<T>;
    static COSTOGO_INLINE Vec broadcast(Elem x) { return x; }
};

// Unaligned access to COLUMNS consecutive entries.
template <class M>
COSTOGO_INLINE typename M::Vec load(const typename M::Elem* p) {
    using U = typename vector_of<typename M::Scalar>::unaligned;
    return *reinterpret_cast<const U*>(p);
}
template <class M>
COSTOGO_INLINE void store(typename M::Elem* p, typename M::Vec v) {
    using U = typename vector_of<typename M::Scalar>::unaligned;
    *reinterpret_cast<U*>(p) = v;
}

// Entrywise functions with one name for numbers and for packs.
COSTOGO_INLINE float root(float x) { return __builtin_sqrtf(x); }
COSTOGO_INLINE double root(double x) { return __builtin_sqrt(x); }
template <class V>
COSTOGO_INLINE V root(V x) {
    constexpr int n = sizeof(V) / sizeof(x[0]);
    for (int i = 0; i < n; ++i) x[i] = root(x[i]);
    return x;
}
// Entries of (a, b) in a given order.
template <int... I, class V>
COSTOGO_INLINE V shuffle(V a, V b, std::integer_sequence<int, I...>) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, I...);
#else
    return __builtin_shuffle(a, b, decltype(a < b){I...});
#endif
}

// Sum of the entries of a vector, halves onto halves.
template <class T, int HALF, int... I>
COSTOGO_INLINE T total(Pack<T> v, std::integer_sequence<int, I...> all) {
    if constexpr (HALF == 0)
        return v[0];
    else
        return total<T, HALF / 2>(v + shuffle(v, v, std::integer_sequence<int, (I + HALF) % WIDTH<T>...>{}), all);
}
template <class T>
COSTOGO_INLINE T total(Pack<T> v) {
    return total<T, WIDTH<T> / 2>(v, std::make_integer_sequence<int, WIDTH<T>>{});
}

COSTOGO_INLINE bool all(bool m) { return m; }
template <class Mask>
COSTOGO_INLINE bool all(Mask m) {
    constexpr int n = sizeof(Mask) / sizeof(m[0]);
    bool yes = true;
    for (int i = 0; i < n; ++i) yes = yes && m[i];
    return yes;
}
template <class Mask, class E>
COSTOGO_INLINE E select(Mask m, E a, E b) {
    return m ? a : b;
}
template <class T>
COSTOGO_INLINE T larger(T a, T b) {
    return a > b ? a : b;
}
template <class T>
COSTOGO_INLINE T smaller(T a, T b) {
    return a < b ? a : b;
}
template <class T>
COSTOGO_INLINE T magnitude(T a) {
    return a < T(0) ? -a : a;
}
// NaN and infinity, also under flags that let the compiler assume otherwise elsewhere.
template <class T>
COSTOGO_INLINE bool finite(T x) {
    return x - x == T(0);
}

// Sizes known when compiled (NX, NU > 0) or only when called (0).
template <int NX, int NU>
struct Dims {
    static constexpr int nx = NX, nu = NU;
    static constexpr bool KNOWN = true;
    Dims(int, int) {}
};
template <>
struct Dims<0, 0> {
    int nx, nu;
    static constexpr bool KNOWN = false;
    Dims(int nx_, int nu_) : nx(nx_), nu(nu_) {}
};

// Up to this many columns (u, x, 1) in a matrix, problems are solved side by side: the arithmetic of small matrices
// fills no vector, and packs have no latency to wait for. Measured; see docs/benchmarks.md.
constexpr int LANES_COLUMNS = COSTOGO_VECTOR_BYTES >= 64 ? 16 : 12;

constexpr int padded(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace costogo::COSTOGO_ISA
