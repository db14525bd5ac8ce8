#include "arena.hpp"

#include <new>

namespace costogo {
namespace {
constexpr std::size_t ALIGNMENT = 64, HEADER = 64, SMALLEST = 1 << 16;

std::size_t aligned(std::size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }
}  // namespace

void Arena::add(std::size_t bytes) {
    const std::size_t size = bytes > SMALLEST ? aligned(bytes) : SMALLEST;
    void* memory = ::operator new(HEADER + size, std::align_val_t(ALIGNMENT));
    last_ = new (memory) Block{last_, size, 0};
}

void* Arena::take(std::size_t bytes) {
    bytes = aligned(bytes);
    if (last_ == nullptr || last_->used + bytes > last_->size) add(bytes);
    char* piece = reinterpret_cast<char*>(last_) + HEADER + last_->used;
    last_->used += bytes;
    return piece;
}

void Arena::reset() {
    if (last_ == nullptr) return;
    if (last_->previous != nullptr) {
        std::size_t total = 0;
        while (last_ != nullptr) {
            Block* previous = last_->previous;
            total += last_->size;
            ::operator delete(last_, std::align_val_t(ALIGNMENT));
            last_ = previous;
        }
        add(total);
    }
    last_->used = 0;
}

Arena::~Arena() {
    while (last_ != nullptr) {
        Block* previous = last_->previous;
        ::operator delete(last_, std::align_val_t(ALIGNMENT));
        last_ = previous;
    }
}

}  // namespace costogo
