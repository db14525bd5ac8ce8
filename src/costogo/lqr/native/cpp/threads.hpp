// A pool of threads over ranges of problems. Threads start at the first call that needs them, never on loading.
#pragma once

#include <cstdint>
#include <functional>

#include "arena.hpp"

namespace costogo {

using RangeWork = std::function<void(std::int64_t begin, std::int64_t end, Arena&)>;

// Cores this process may run on.
int available_cores();

// Threads that a call may use: the number last set, or else COSTOGO_THREADS, or else the available cores.
int thread_count();
void set_thread_count(int threads);  // 0: back to the default

// Runs `work` on all of [0, problems), in pieces of a multiple of `group`. `nanoseconds` is a guess of the time of one
// problem: a call too short to share stays on the calling thread. Rethrows an exception of `work`.
void in_parallel(std::int64_t problems, int group, double nanoseconds, const RangeWork& work);

}  // namespace costogo
