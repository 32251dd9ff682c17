// Where the words of windows come from: the stream, or what was kept of them.
#ifndef ESPALIER_NEXT_WORD_H
#define ESPALIER_NEXT_WORD_H

#include "hls_stream.h"
#include "widths.h"

namespace espalier {

// The word of a cycle of a group. The first group reads it and keeps it for the others; a depthwise convolution has a
// word of its own for each.
// C: taps, lanes, is_depthwise.
template <class C, int KEPT>
window_word<C::taps, C::lanes> next_word(
    hls::stream<window_word<C::taps, C::lanes>>& in,
    window_word<C::taps, C::lanes> (&kept)[KEPT],
    int group,
    int cycle
) {
#pragma HLS INLINE
    if (!C::is_depthwise && group > 0) return kept[cycle];
    const window_word<C::taps, C::lanes> word = in.read();
    if (!C::is_depthwise) kept[cycle] = word;
    return word;
}

}  // namespace espalier

#endif
