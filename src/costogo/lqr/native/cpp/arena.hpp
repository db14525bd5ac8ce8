// Scratch memory of one thread: blocks that grow with use, handed out in aligned pieces.
#pragma once

#include <cstddef>
#include <cstring>

namespace costogo {

class Arena {
public:
    Arena() = default;
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    ~Arena();

    // Take all pieces back. Their memory is kept, as one block.
    void reset();

    // Not initialised; throws std::bad_alloc.
    void* take(std::size_t bytes);

    template <class T>
    inline __attribute__((always_inline)) T* raw(std::size_t count) {
        return static_cast<T*>(take(count * sizeof(T)));
    }
    template <class T>
    inline __attribute__((always_inline)) T* zeros(std::size_t count) {
        void* piece = take(count * sizeof(T));
        std::memset(piece, 0, count * sizeof(T));
        return static_cast<T*>(piece);
    }

private:
    struct Block {
        Block* previous;
        std::size_t size, used;
    };
    void add(std::size_t bytes);
    Block* last_ = nullptr;
};

}  // namespace costogo
