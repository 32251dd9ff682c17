// How much shared memory a kernel has without asking.
#pragma once

namespace espalier {

// Of a block, static and dynamic together (CUDA C++ Programming Guide, "Shared Memory" of each compute capability).
constexpr int UNASKED_SHARED_BYTES = 48 << 10;
constexpr int MOST_STATIC_BYTES = 1 << 10;  // of any kernel here

// Whether a launch with so much dynamic shared memory has to ask for it, whatever the kernel has besides.
constexpr bool needs_more_shared_memory(int dynamic_bytes) { return dynamic_bytes > UNASKED_SHARED_BYTES - MOST_STATIC_BYTES; }

}  // namespace espalier
