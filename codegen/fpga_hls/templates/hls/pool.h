// Pooling.
#ifndef ESPALIER_POOL_H
#define ESPALIER_POOL_H

#include "dataflow.h"
#include "pixels.h"
#include "requantize.h"
#include "widths.h"

namespace espalier {

// The greatest number of each window. C: pixels (of the output, out_pixels of them at a time), groups (beats of a pixel),
// taps, lanes, out_pixels, and what `window_of` takes; the windows come whole, padding holds 0.
template <class C>
void greatest(
    hls::stream<window_word<C::beat_taps, C::beat_lanes>>& in,
    hls::stream<beat<uint8_t, C::out_pixels * C::lanes>>& out
) {
    for (int word = 0; word < C::pixels * C::groups; ++word) {
#pragma HLS PIPELINE II = 1
        const window_word<C::beat_taps, C::beat_lanes> beats = in.read();
        beat<uint8_t, C::out_pixels * C::lanes> result;
        for (int number = 0; number < C::out_pixels; ++number) {
#pragma HLS UNROLL
            const window_word<C::taps, C::lanes> seen = window_of<C>(beats, number);
            for (int lane = 0; lane < C::lanes; ++lane) {
#pragma HLS UNROLL
                uint8_t most = 0;
                for (int tap = 0; tap < C::taps; ++tap) {
#pragma HLS UNROLL
                    if (seen.lane[tap][lane] > most) most = seen.lane[tap][lane];
                }
                result.lane[number * C::lanes + lane] = most;
            }
        }
        out.write(result);
    }
}

// The mean over all pixels. C: pixels, groups, lanes, x_zero, multiplier, shift, zero, low, high.
template <class C>
void mean(hls::stream<beat<uint8_t, C::lanes>>& in, hls::stream<beat<uint8_t, C::lanes>>& out) {
    int32_t sums[C::groups][C::lanes];
#pragma HLS ARRAY_PARTITION variable = sums complete dim = 2
    for (int pixel = 0; pixel < C::pixels; ++pixel) {
        for (int group = 0; group < C::groups; ++group) {
#pragma HLS PIPELINE II = 1
            const beat<uint8_t, C::lanes> seen = in.read();
            for (int lane = 0; lane < C::lanes; ++lane) {
#pragma HLS UNROLL
                const int32_t before = pixel ? sums[group][lane] : 0;
                sums[group][lane] = before + int32_t(seen.lane[lane]) - C::x_zero;
            }
        }
    }
    for (int group = 0; group < C::groups; ++group) {
#pragma HLS PIPELINE II = 1
        beat<uint8_t, C::lanes> result;
        for (int lane = 0; lane < C::lanes; ++lane) {
#pragma HLS UNROLL
            result.lane[lane] = limited<C>(rounded<C::shift>(int64_t(sums[group][lane]) * C::multiplier));
        }
        out.write(result);
    }
}

}  // namespace espalier

#endif
