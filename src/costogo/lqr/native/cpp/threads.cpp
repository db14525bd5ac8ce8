#include "threads.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace costogo {
namespace {

// Waking a thread costs some ten microseconds; a piece shorter than that is not worth it.
constexpr double SHORTEST_SHARE_NS = 2e4;

class Job {
public:
    Job(std::int64_t problems, std::int64_t piece, const RangeWork& work)
        : problems_(problems), piece_(piece), work_(work) {}

    void run(Arena& arena) {
        for (;;) {
            const std::int64_t begin = next_.fetch_add(piece_);
            if (begin >= problems_) return;
            try {
                work_(begin, begin + piece_ < problems_ ? begin + piece_ : problems_, arena);
            } catch (...) {
                const std::lock_guard<std::mutex> lock(mutex_);
                if (!error_) error_ = std::current_exception();
            }
        }
    }
    void rethrow() {
        if (error_) std::rethrow_exception(error_);
    }

private:
    const std::int64_t problems_, piece_;
    const RangeWork& work_;
    std::atomic<std::int64_t> next_{0};
    std::mutex mutex_;
    std::exception_ptr error_;
};

std::atomic<int> chosen_threads{0};

Arena& own_arena() {
    thread_local Arena arena;
    return arena;
}

class Pool {
public:
    // One job at a time: false if another call has the pool, which then has the cores as well.
    bool run(Job& job, int helpers) {
        const std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
        if (!turn.owns_lock()) return false;
        while (static_cast<int>(threads_.size()) < helpers) threads_.emplace_back([this] { serve(); });
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            job_ = &job, wanted_ = helpers;
        }
        wake_.notify_all();
        job.run(own_arena());
        std::unique_lock<std::mutex> lock(mutex_);
        // Nobody may join from here on: the pieces are all taken.
        job_ = nullptr, wanted_ = 0;
        idle_.wait(lock, [this] { return busy_ == 0; });
        return true;
    }

    ~Pool() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            stop_ = true;
        }
        wake_.notify_all();
        for (std::thread& thread : threads_) thread.join();
    }

private:
    void serve() {
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            wake_.wait(lock, [this] { return stop_ || (job_ != nullptr && wanted_ > 0); });
            if (stop_) return;
            Job& job = *job_;
            --wanted_, ++busy_;
            lock.unlock();
            job.run(own_arena());
            lock.lock();
            if (--busy_ == 0) idle_.notify_all();
        }
    }

    std::mutex turn_, mutex_;
    std::condition_variable wake_, idle_;
    std::vector<std::thread> threads_;
    Job* job_ = nullptr;
    int wanted_ = 0, busy_ = 0;
    bool stop_ = false;
};

// A forked child has the pool's memory but not its threads: it makes a new one and leaves the old one alone. At exit
// the pool is left to the operating system, since other threads may still be computing.
Pool& pool() {
    static std::mutex mutex;
    static Pool* current = nullptr;
    static long owner = -1;
#if defined(__unix__) || defined(__APPLE__)
    const long process = static_cast<long>(getpid());
#else
    const long process = 0;
#endif
    const std::lock_guard<std::mutex> lock(mutex);
    if (current == nullptr || owner != process) current = new Pool, owner = process;
    return *current;
}

}  // namespace

int available_cores() {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set) > 0 ? CPU_COUNT(&set) : 1;
#endif
    const int cores = static_cast<int>(std::thread::hardware_concurrency());
    return cores > 0 ? cores : 1;
}

int thread_count() {
    static const int standard = [] {
        const char* text = std::getenv("COSTOGO_THREADS");
        const int number = text == nullptr ? 0 : std::atoi(text);
        return number > 0 ? number : available_cores();
    }();
    const int number = chosen_threads.load();
    return number > 0 ? number : standard;
}

void set_thread_count(int threads) { chosen_threads = threads; }

void in_parallel(std::int64_t problems, int group, double nanoseconds, const RangeWork& work) {
    if (problems == 0) return;
    const double shares = static_cast<double>(problems) * nanoseconds / SHORTEST_SHARE_NS;
    const std::int64_t groups = (problems + group - 1) / group;
    int used = thread_count();
    if (used > groups) used = static_cast<int>(groups);
    if (used > shares) used = shares < 1 ? 1 : static_cast<int>(shares);
    if (used <= 1) return work(0, problems, own_arena());
    // A few pieces each, so that a slow problem does not leave the others waiting.
    std::int64_t piece = (groups + used * 4 - 1) / (used * 4) * group;
    Job job(problems, piece, work);
    if (!pool().run(job, used - 1)) return work(0, problems, own_arena());
    job.rethrow();
}

}  // namespace costogo
