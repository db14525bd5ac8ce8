// Arrays of a problem, knot by knot, as matrices of a mode: read in place (Rows), or transposed several knots at a time
// between the problems' own arrays and packs (Lanes).
#pragma once

#include "arena.hpp"
#include "calls.hpp"
#include "moves.hpp"

namespace costogo::COSTOGO_ISA {

// Problem numbers that are solved together.
template <class M>
struct Group {
    std::int64_t problem[M::PROBLEMS];
};

// The first and the last piece of a range may overlap, so that every piece is whole; short ranges go entry by entry.
template <class T>
inline void gather(const T* const* from, std::int64_t offset, int count, Pack<T>* to) {
    constexpr int W = WIDTH<T>;
    if (count < W) {
        for (int i = 0; i < count; ++i)
            COSTOGO_UNROLL
            for (int lane = 0; lane < W; ++lane) to[i][lane] = from[lane][offset + i];
        return;
    }
    for (int i = 0; i < count; i += W) {
        const int first = i + W <= count ? i : count - W;
        Pack<T> block[W];
        COSTOGO_UNROLL
        for (int lane = 0; lane < W; ++lane) block[lane] = load<Rows<T>>(from[lane] + offset + first);
        transpose<T>(block);
        COSTOGO_UNROLL
        for (int j = 0; j < W; ++j) to[first + j] = block[j];
    }
}
template <class T>
inline void scatter(const Pack<T>* from, T* const* to, std::int64_t offset, int count) {
    constexpr int W = WIDTH<T>;
    if (count < W) {
        for (int i = 0; i < count; ++i)
            COSTOGO_UNROLL
            for (int lane = 0; lane < W; ++lane) to[lane][offset + i] = from[i][lane];
        return;
    }
    for (int i = 0; i < count; i += W) {
        const int first = i + W <= count ? i : count - W;
        Pack<T> block[W];
        COSTOGO_UNROLL
        for (int j = 0; j < W; ++j) block[j] = from[first + j];
        transpose<T>(block);
        COSTOGO_UNROLL
        for (int lane = 0; lane < W; ++lane) store<Rows<T>>(to[lane] + offset + first, block[lane]);
    }
}

// Knots that a Lanes stream holds at a time: enough to read every problem's memory in long runs (a vector's worth of
// problems are more streams than a processor foresees), few enough for the second cache. Measured.
template <class T>
COSTOGO_INLINE int knots_held(int size, int knots) {
    int held = 1;
    while (held < 16 && held * size < 128 * WIDTH<T>) held *= 2;
    return held < knots ? held : knots;
}

template <class M>
class Source;

template <class T>
class Source<Rows<T>> {
public:
    Source(const Operand& operand, const Batch& batch, const Group<Rows<T>>& group, int, int size, Arena&)
        : base_(operand.at<T>(batch, group.problem[0])), size_(size) {}
    COSTOGO_INLINE const T* at(int knot) { return base_ + static_cast<std::int64_t>(knot) * size_; }
    // Ask for a knot's data before it is needed: large batches do not fit any cache.
    COSTOGO_INLINE void prefetch(int knot) {
        constexpr int LINE = 64 / sizeof(T);
        const T* data = at(knot);
        for (int i = 0; i < size_; i += LINE) __builtin_prefetch(data + i, 0, 2);
    }

private:
    const T* base_;
    int size_;
};

template <class T>
class Source<Lanes<T>> {
public:
    Source(const Operand& operand, const Batch& batch, const Group<Lanes<T>>& group, int knots, int size, Arena& arena)
        : size_(size), knots_(knots), held_(knots_held<T>(size, knots)) {
        for (int lane = 0; lane < WIDTH<T>; ++lane) base_[lane] = operand.at<T>(batch, group.problem[lane]);
        buffer_ = arena.raw<Pack<T>>(static_cast<std::size_t>(held_) * size);
    }
    // Sweeps go in one direction, so the block ends or starts at the knot that is missing.
    COSTOGO_INLINE const Pack<T>* at(int knot) {
        if (knot < first_ || knot >= end_) refill(knot);
        return buffer_ + (knot - first_) * size_;
    }
    COSTOGO_INLINE void prefetch(int) {}

private:
    void refill(int knot) {
        if (knot >= end_ && end_ != 0) {
            first_ = knot, end_ = smaller(knot + held_, knots_);
        } else {
            const bool backward = knot != 0;
            first_ = backward ? larger(0, knot + 1 - held_) : 0;
            end_ = backward ? knot + 1 : smaller(held_, knots_);
        }
        gather<T>(base_, static_cast<std::int64_t>(first_) * size_, (end_ - first_) * size_, buffer_);
    }
    const T* base_[WIDTH<T>];
    Pack<T>* buffer_;
    int size_, knots_, held_, first_ = 0, end_ = 0;
};

template <class M>
class Sink;

template <class T>
class Sink<Rows<T>> {
public:
    Sink(const Result& result, const Group<Rows<T>>& group, int, int size, Arena&)
        : base_(result.at<T>(group.problem[0])), size_(size) {}
    COSTOGO_INLINE T* at(int knot) { return base_ + static_cast<std::int64_t>(knot) * size_; }
    COSTOGO_INLINE void finish() {}

private:
    T* base_;
    int size_;
};

template <class T>
class Sink<Lanes<T>> {
public:
    Sink(const Result& result, const Group<Lanes<T>>& group, int knots, int size, Arena& arena)
        : size_(size), knots_(knots), held_(knots_held<T>(size, knots)) {
        for (int lane = 0; lane < WIDTH<T>; ++lane) base_[lane] = result.at<T>(group.problem[lane]);
        buffer_ = arena.raw<Pack<T>>(static_cast<std::size_t>(held_) * size);
    }
    COSTOGO_INLINE Pack<T>* at(int knot) {
        if (knot < first_ || knot >= end_) move(knot);
        return buffer_ + (knot - first_) * size_;
    }
    void finish() {
        if (end_ > first_) scatter<T>(buffer_, base_, static_cast<std::int64_t>(first_) * size_, (end_ - first_) * size_);
        end_ = first_;
    }

private:
    void move(int knot) {
        const bool backward = knot < first_ || (end_ == 0 && knot != 0);
        finish();
        first_ = backward ? larger(0, knot + 1 - held_) : knot;
        end_ = backward ? knot + 1 : smaller(knot + held_, knots_);
    }
    T* base_[WIDTH<T>];
    Pack<T>* buffer_;
    int size_, knots_, held_, first_ = 0, end_ = 0;
};

// Flags (one byte each) as ones and zeros.
template <class M>
class FlagSource {
public:
    using T = typename M::Scalar;
    FlagSource(const Operand& operand, const Batch& batch, const Group<M>& group, int size, Arena& arena) : size_(size) {
        for (int lane = 0; lane < M::PROBLEMS; ++lane)
            base_[lane] = operand.at<unsigned char>(batch, group.problem[lane]);
        buffer_ = arena.zeros<typename M::Elem>(size);
    }
    COSTOGO_INLINE const typename M::Elem* at(int knot) {
        for (int i = 0; i < size_; ++i) {
            if constexpr (M::PROBLEMS == 1)
                buffer_[i] = T(base_[0][static_cast<std::int64_t>(knot) * size_ + i] != 0);
            else
                for (int lane = 0; lane < M::PROBLEMS; ++lane)
                    buffer_[i][lane] = T(base_[lane][static_cast<std::int64_t>(knot) * size_ + i] != 0);
        }
        return buffer_;
    }

private:
    const unsigned char* base_[M::PROBLEMS];
    typename M::Elem* buffer_;
    int size_;
};

template <class M>
COSTOGO_INLINE typename M::Scalar entry(const typename M::Elem& e, int lane) {
    if constexpr (M::PROBLEMS == 1) return e; else return e[lane];
}
template <class M>
COSTOGO_INLINE void set_entry(typename M::Elem& e, int lane, typename M::Scalar value) {
    if constexpr (M::PROBLEMS == 1) e = value; else e[lane] = value;
}
template <class M>
COSTOGO_INLINE bool is_set(typename M::Mask m, int lane) {
    if constexpr (M::PROBLEMS == 1) return m; else return m[lane] != 0;
}

}  // namespace costogo::COSTOGO_ISA
