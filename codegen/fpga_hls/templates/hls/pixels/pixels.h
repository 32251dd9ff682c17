// Stages that read beats of several pixels, with all channels of each, and make several output pixels at a time.
//
// The line buffer gives windows of whole beats. Those of the output pixels lie in the same places of each.
#ifndef ESPALIER_PIXELS_H
#define ESPALIER_PIXELS_H

#include "multiply.h"

namespace espalier {

// Of a window of beats the window of an output pixel.
// C: taps, lanes (channels), columns (of the kernel); beat_taps, beat_lanes, beat_columns (beats in a row of the window of
// beats), beat_pixels; first (pixels of such a row in front of the first window), step (from one window to the next).
template <class C>
window_word<C::taps, C::lanes> window_of(const window_word<C::beat_taps, C::beat_lanes>& beats, int pixel) {
#pragma HLS INLINE
    static_assert(C::beat_lanes == C::beat_pixels * C::lanes, "a beat has all channels of its pixels");
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

// As `multiply`, with the same weights for all pixels that are computed at a time. C: as for `multiply`, pixels counts
// these together; and what `window_of` takes, out_pixels.
template <class C>
void multiply_pixels(
    hls::stream<window_word<C::beat_taps, C::beat_lanes>>& in,
    hls::stream<beat<int32_t, C::out_pixels * C::pe>>& out,
    const int8_t (&weights)[C::groups][C::cycles][C::pe][C::inputs],
    const int32_t (&bias)[C::groups][C::pe]
) {
    typedef typename width<C::sum_bits>::signed_type sum_type;
#pragma HLS ARRAY_RESHAPE variable = weights complete dim = 3
#pragma HLS ARRAY_RESHAPE variable = weights complete dim = 4
#pragma HLS ARRAY_RESHAPE variable = bias complete dim = 2
    window_word<C::beat_taps, C::beat_lanes> kept[C::is_depthwise ? 1 : C::cycles];
#pragma HLS AGGREGATE variable = kept
    sum_type sums[C::out_pixels][C::pe] = {};
#pragma HLS ARRAY_PARTITION variable = sums complete dim = 0
    for (int number = 0; number < C::pixels; ++number) {
        for (int group = 0; group < C::groups; ++group) {
            for (int cycle = 0; cycle < C::cycles; ++cycle) {
#pragma HLS PIPELINE II = 1
                const window_word<C::beat_taps, C::beat_lanes> beats =
                    next_word<windows_of_beats<C>>(in, kept, group, cycle);
                beat<int32_t, C::out_pixels * C::pe> result;
                for (int pixel = 0; pixel < C::out_pixels; ++pixel) {
#pragma HLS UNROLL
                    int32_t added[C::pe];
#pragma HLS ARRAY_PARTITION variable = added complete
                    add_products<C>(window_of<C>(beats, pixel), weights[group][cycle], added);
                    for (int o = 0; o < C::pe; ++o) {
#pragma HLS UNROLL
                        sums[pixel][o] =
                            (cycle == 0 ? sum_type(bias[group][o]) : sums[pixel][o]) + sum_type(added[o]);
                        result.lane[pixel * C::pe + o] = int32_t(sums[pixel][o]);
                    }
                }
                if (cycle == C::cycles - 1) out.write(result);
            }
        }
    }
}

// As `greatest`. C: as for it, pixels counts those of a beat together; and what `window_of` takes, out_pixels.
template <class C>
void greatest_pixels(
    hls::stream<window_word<C::beat_taps, C::beat_lanes>>& in,
    hls::stream<beat<uint8_t, C::out_pixels * C::lanes>>& out
) {
    for (int number = 0; number < C::pixels; ++number) {
#pragma HLS PIPELINE II = 1
        const window_word<C::beat_taps, C::beat_lanes> beats = in.read();
        beat<uint8_t, C::out_pixels * C::lanes> result;
        for (int pixel = 0; pixel < C::out_pixels; ++pixel) {
#pragma HLS UNROLL
            const window_word<C::taps, C::lanes> seen = window_of<C>(beats, pixel);
            for (int lane = 0; lane < C::lanes; ++lane) {
#pragma HLS UNROLL
                uint8_t most = 0;
                for (int tap = 0; tap < C::taps; ++tap) {
#pragma HLS UNROLL
                    if (seen.lane[tap][lane] > most) most = seen.lane[tap][lane];
                }
                result.lane[pixel * C::lanes + lane] = most;
            }
        }
        out.write(result);
    }
}

}  // namespace espalier

#endif
