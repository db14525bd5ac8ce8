// Entry points of one instruction set: choose sizes and mode, group the problems, run. Included once per kernels_*.cpp.
#pragma once

#include "interior_point.hpp"

namespace costogo::COSTOGO_ISA {

template <class T>
bool side_by_side(const Batch& batch, const Sizes& s) {
    return s.nx + s.nu + 1 <= LANES_COLUMNS && s.ng == 0 && batch.problems >= WIDTH<T> / 2;
}

// Calls `run(group, pieces)` for the problems of a range that are not skipped; `skipped(problem)` for the others.
template <class M, class Run, class Skipped>
void in_groups(const Operand& skip, const Batch& batch, std::int64_t begin, std::int64_t end, Arena& arena, Run run,
               Skipped skipped) {
    Group<M> group;
    int filled = 0;
    const auto flush = [&](int size) {
        if (size == 0) return;
        // An incomplete group repeats its last problem, which then writes the same results twice.
        for (int lane = size; lane < M::PROBLEMS; ++lane) group.problem[lane] = group.problem[size - 1];
        arena.reset();
        run(group);
        filled = 0;
    };
    for (std::int64_t problem = begin; problem < end; ++problem) {
        if (skip.present() && *skip.at<unsigned char>(batch, problem)) {
            skipped(problem);
            continue;
        }
        group.problem[filled++] = problem;
        if (filled == M::PROBLEMS) flush(filled);
    }
    flush(filled);
}

template <class T>
void backward_range(const BackwardCall& call, std::int64_t begin, std::int64_t end, Arena& arena) {
    const auto skipped = [&](std::int64_t problem) {
        clear(call.result, problem);
        clear(call.result.status, problem);
    };
    const auto run = [&](auto mode) {
        using M = decltype(mode);
        in_groups<M>(call.skip, call.batch, begin, end, arena,
                     [&](const Group<M>& g) { backward<M>(call, g, arena); },
                     skipped);
    };
    if (side_by_side<T>(call.batch, call.sizes)) run(Lanes<T>{}); else run(Rows<T>{});
}

template <class T>
void forward_range(const ForwardCall& call, std::int64_t begin, std::int64_t end, Arena& arena) {
    const auto run = [&](auto mode) {
        using M = decltype(mode);
        in_groups<M>({}, call.batch, begin, end, arena,
                     [&](const Group<M>& g) { forward<M>(call, g, arena); },
                     [](std::int64_t) {});
    };
    if (side_by_side<T>(call.batch, call.sizes)) run(Lanes<T>{}); else run(Rows<T>{});
}

template <class T>
void costates_range(const CostatesCall& call, std::int64_t begin, std::int64_t end, Arena& arena) {
    const auto run = [&](auto mode) {
        using M = decltype(mode);
        in_groups<M>({}, call.batch, begin, end, arena,
                     [&](const Group<M>& g) { costates<M>(call, g, arena); },
                     [](std::int64_t) {});
    };
    if (side_by_side<T>(call.batch, call.sizes)) run(Lanes<T>{}); else run(Rows<T>{});
}

template <class T>
void solve_range(const SolveCall& call, std::int64_t begin, std::int64_t end, Arena& arena) {
    const auto skipped = [&](std::int64_t problem) {
        for (const Result* r : {&call.x, &call.u, &call.costates, &call.status}) clear(*r, problem);
    };
    const auto run = [&](auto mode) {
        using M = decltype(mode);
        in_groups<M>(call.skip, call.batch, begin, end, arena,
                     [&](const Group<M>& g) { solve<M>(call, g, arena); },
                     skipped);
    };
    if (side_by_side<T>(call.batch, call.sizes)) run(Lanes<T>{}); else run(Rows<T>{});
}

template <class T>
void interior_point_range(const InteriorPointCall& call, std::int64_t begin, std::int64_t end, Arena& arena) {
    arena.reset();
    InteriorPoint<T> method(call, arena);
    for (std::int64_t problem = begin; problem < end; ++problem) {
        if (call.skip.present() && *call.skip.at<unsigned char>(call.batch, problem)) {
            clear(call.sweep, problem);
            for (const Result* r : {&call.x, &call.u, &call.free, &call.multipliers, &call.status, &call.iterations,
                                    &call.sweep.status})
                clear(*r, problem);
        } else {
            method.run(problem);
        }
    }
}

extern const Kernels kernels;
const Kernels kernels = {
    COSTOGO_ISA_NAME,
    WIDTH<float>,
    {backward_range<float>, backward_range<double>},
    {forward_range<float>, forward_range<double>},
    {costates_range<float>, costates_range<double>},
    {solve_range<float>, solve_range<double>},
    {interior_point_range<float>, interior_point_range<double>},
};

}  // namespace costogo::COSTOGO_ISA
