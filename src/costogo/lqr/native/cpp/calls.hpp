// What a kernel is asked to do: sizes, operands and results of one call on a batch, free of any framework.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace costogo {

// Codes of costogo.core.status.Status.
enum Status : std::int32_t {
    CONVERGED = 0,
    MAX_ITERATIONS = 1,
    STALLED = 2,
    INDEFINITE = 3,
    NOT_FINITE = 4,
    INFEASIBLE = 5,
};

constexpr int MAX_BATCH_AXES = 16;

// The batch axes of a call; a problem is numbered in row-major order of them.
struct Batch {
    int axes = 0;
    std::int64_t size[MAX_BATCH_AXES] = {};
    std::int64_t problems = 1;
};

// One array per problem; along a batch axis it may be shared (its stride there is zero).
struct Operand {
    const char* base = nullptr;
    std::int64_t bytes = 0;  // of one problem; zero: absent
    bool dense = true;       // own data for every problem, in order
    std::int64_t stride[MAX_BATCH_AXES] = {};

    bool present() const { return bytes != 0; }

    template <class T>
    inline __attribute__((always_inline)) const T* at(const Batch& batch, std::int64_t problem) const {
        if (dense) return reinterpret_cast<const T*>(base + problem * bytes);
        std::int64_t offset = 0;
        for (int axis = batch.axes - 1; axis >= 0; --axis) {
            offset += problem % batch.size[axis] * stride[axis];
            problem /= batch.size[axis];
        }
        return reinterpret_cast<const T*>(base + offset);
    }
};

struct Result {
    char* base = nullptr;
    std::int64_t bytes = 0;

    template <class T>
    inline __attribute__((always_inline)) T* at(std::int64_t problem) const {
        return reinterpret_cast<T*>(base + problem * bytes);
    }
};

struct Sizes {
    int nx = 0, nu = 0, N = 0, ng = 0, nh = 0;
};

struct Model {
    Operand A, B, d, Q, q, R, r, P;
};

// Fields of costogo.lqr.Sweep.
struct SweepResult {
    Result K, k, V, v, c, Quu, Qux, L, free, offset, slope, decrease, status;
};

struct BackwardCall {
    Batch batch;
    Sizes sizes;
    Model model;
    Operand regularisation, skip, lower, upper, free, C, D, e, mask;
    bool box = false;
    SweepResult result;
};

struct ForwardCall {
    Batch batch;
    Sizes sizes;
    Operand A, B, d, K, k, x0;
    Result x, u;
};

struct CostatesCall {
    Batch batch;
    Sizes sizes;
    Operand A, Q, q, P, x, u;
    Result costates;
};

// Masked LQR: backward and forward sweep and the costates, nothing else kept.
struct SolveCall {
    Batch batch;
    Sizes sizes;
    Model model;
    Operand x0, free, fixed, skip;
    Result x, u, costates, status;
};

struct InteriorPointCall {
    Batch batch;
    Sizes sizes;
    Model model;
    Operand x0, lower, upper, E, F, e, regularisation, skip, guess;
    int max_iterations = 0, polish_iterations = 0, guess_iterations = 0;
    Result x, u, free, multipliers, status, iterations;
    SweepResult sweep;
};

// Problems [begin, end) of a call, on the calling thread. Exceptions: std::bad_alloc.
class Arena;
struct Kernels {
    const char* name;
    // Problems that must stay together so that results do not depend on how a batch is split.
    int group;
    void (*backward[2])(const BackwardCall&, std::int64_t begin, std::int64_t end, Arena&);
    void (*forward[2])(const ForwardCall&, std::int64_t begin, std::int64_t end, Arena&);
    void (*costates[2])(const CostatesCall&, std::int64_t begin, std::int64_t end, Arena&);
    void (*solve[2])(const SolveCall&, std::int64_t begin, std::int64_t end, Arena&);
    void (*interior_point[2])(const InteriorPointCall&, std::int64_t begin, std::int64_t end, Arena&);
};

}  // namespace costogo
