// Windows of pixels in windows of beats, which the line buffer gives.
//
// A beat is a part of a pixel's channels, or several pixels with all channels of each; several output pixels are then made
// at a time, and their windows lie in the same places of each window of beats.
#ifndef ESPALIER_PIXELS_H
#define ESPALIER_PIXELS_H

#include "widths.h"

namespace espalier {

// Of a window of beats the window of an output pixel.
// C: taps, lanes (of a pixel), columns (of the kernel); beat_taps, beat_lanes, beat_columns (beats in a row of the window of
// beats), beat_pixels; first (pixels of such a row in front of the first window), step (from one window to the next).
template <class C>
window_word<C::taps, C::lanes> window_of(const window_word<C::beat_taps, C::beat_lanes>& beats, int pixel) {
#pragma HLS INLINE
    static_assert(C::beat_lanes == C::beat_pixels * C::lanes, "a beat has as many channels of each pixel");
    window_word<C::taps, C::lanes> window;
    for (int tap = 0; tap < C::taps; ++tap) {
#pragma HLS UNROLL
        const int column = C::first + pixel * C::step + tap % C::columns;
        const int beat_tap = tap / C::columns * C::beat_columns + column / C::beat_pixels;
        for (int lane = 0; lane < C::lanes; ++lane) {
#pragma HLS UNROLL
            window.lane[tap][lane] = beats.lane[beat_tap][column % C::beat_pixels * C::lanes + lane];
        }
    }
    return window;
}

// Windows of beats, for `next_word`.
template <class C>
struct windows_of_beats {
    static constexpr int taps = C::beat_taps;
    static constexpr int lanes = C::beat_lanes;
    static constexpr int is_depthwise = C::is_depthwise;
};

}  // namespace espalier

#endif
