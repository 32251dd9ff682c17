// Types of exact width. ap_int is the vendor's, or the Apache-licensed one of open tools; with ESPALIER_NATIVE_WIDTHS
// sums are plain 32-bit integers, which hold the same values and simulate faster.
#ifndef ESPALIER_WIDTHS_H
#define ESPALIER_WIDTHS_H

#include <cstdint>

#ifndef ESPALIER_NATIVE_WIDTHS
#include "ap_int.h"
#endif

namespace espalier {

#ifdef ESPALIER_NATIVE_WIDTHS
template <int BITS>
struct width {
    static_assert(BITS <= 32, "sums have at most 32 bits");
    typedef int32_t signed_type;
};
#else
template <int BITS>
struct width {
    static_assert(BITS <= 32, "sums have at most 32 bits");
    typedef ap_int<BITS> signed_type;
};
#endif

// One beat of a stream: consecutive channels of a pixel, the lowest first.
template <class T, int LANES>
struct beat {
    T lane[LANES];
};

// What a product stage reads in a cycle: some taps of a kernel, some channels of each.
template <int TAPS, int LANES>
struct window_word {
    uint8_t lane[TAPS][LANES];
};

}  // namespace espalier

#endif
