// The arena for sanitizers: every piece is a heap block of its own, of exactly the size asked for, filled with NaN.
//
// The real arena hands out neighbouring pieces of one block, where a write past the end of one lands in the next and a
// sanitizer sees nothing. Bytes of 0xff are NaN as a number and "set" as a flag, so that reading a piece before writing
// to it spoils the results.
#include "arena.hpp"

#include <cstdint>
#include <cstdlib>
#include <new>

namespace costogo {
namespace {
constexpr std::size_t ALIGNMENT = 64;
}

// `used` holds the address of the piece: nothing else of a block is needed.
void Arena::add(std::size_t bytes) {
    void* piece = nullptr;
    if (posix_memalign(&piece, ALIGNMENT, bytes ? bytes : 1) != 0) throw std::bad_alloc();
    std::memset(piece, 0xff, bytes);
    last_ = new Block{last_, bytes, reinterpret_cast<std::uintptr_t>(piece)};
}

void* Arena::take(std::size_t bytes) {
    add(bytes);
    return reinterpret_cast<void*>(last_->used);
}

void Arena::reset() {
    while (last_ != nullptr) {
        Block* previous = last_->previous;
        std::free(reinterpret_cast<void*>(last_->used));
        delete last_;
        last_ = previous;
    }
}

Arena::~Arena() { reset(); }

}  // namespace costogo
