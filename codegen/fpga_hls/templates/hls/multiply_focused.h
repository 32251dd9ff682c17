// Products with recentralised shifts, mean + step * s * 2^e of one of two components: only shifts and sums in the loop.
#ifndef ESPALIER_MULTIPLY_FOCUSED_H
#define ESPALIER_MULTIPLY_FOCUSED_H

#include "multiply.h"

namespace espalier {

// C: as for `multiply`; and mean0, mean1, step0, step1.
//
// A code: bits 2..0 an exponent e, bit 3 the sign s, bit 4 the component. An exponent of 7 is the mean itself where the
// sign bit is 0, and the weight 0 where it is 1. For each component the inputs are added for its mean and, shifted, for
// its step; both are multiplied once for each sum:
//     sum = bias + mean0 * centre0 + step0 * shifted0 + mean1 * centre1 + step1 * shifted1
// Source: Zhao et al., Focused Quantization for Sparse CNNs, NeurIPS 2019, section 3.
template <class C>
void multiply_focused(
    hls::stream<window_word<C::taps, C::lanes>>& in,
    hls::stream<beat<int32_t, C::pe>>& out,
    const int8_t (&weights)[C::groups][C::cycles][C::pe][C::inputs],
    const int32_t (&bias)[C::groups][C::pe]
) {
    typedef typename width<C::part_bits>::signed_type part_type;
#pragma HLS ARRAY_RESHAPE variable = weights complete dim = 3
#pragma HLS ARRAY_RESHAPE variable = weights complete dim = 4
#pragma HLS ARRAY_RESHAPE variable = bias complete dim = 2
    window_word<C::taps, C::lanes> kept[C::is_depthwise ? 1 : C::cycles];
#pragma HLS AGGREGATE variable = kept
    part_type centre[C::pe][2] = {}, shifted[C::pe][2] = {};
#pragma HLS ARRAY_PARTITION variable = centre complete
#pragma HLS ARRAY_PARTITION variable = shifted complete
    for (int pixel = 0; pixel < C::pixels; ++pixel) {
        for (int group = 0; group < C::groups; ++group) {
            for (int cycle = 0; cycle < C::cycles; ++cycle) {
#pragma HLS PIPELINE II = 1
                const window_word<C::taps, C::lanes> word = next_word<C>(in, kept, group, cycle);
                for (int o = 0; o < C::pe; ++o) {
#pragma HLS UNROLL
                    int32_t means[2] = {0, 0}, shifts[2] = {0, 0};
                    for (int number = 0; number < C::inputs; ++number) {
#pragma HLS UNROLL
                        const int code = weights[group][cycle][o][number];
                        const int32_t x = input_of<C>(word, o, number);
                        const int exponent = code & 7, component = (code >> 4) & 1;
                        const bool is_negative = code & 8;
                        const bool is_zero = exponent == 7 && is_negative;
                        const int32_t size = exponent == 7 ? 0 : x * (1 << exponent);
                        for (int c = 0; c < 2; ++c) {
#pragma HLS UNROLL
                            means[c] += component == c && !is_zero ? x : 0;
                            shifts[c] += component != c ? 0 : is_negative ? -size : size;
                        }
                    }
                    for (int c = 0; c < 2; ++c) {
#pragma HLS UNROLL
                        centre[o][c] = (cycle == 0 ? part_type(0) : centre[o][c]) + part_type(means[c]);
                        shifted[o][c] = (cycle == 0 ? part_type(0) : shifted[o][c]) + part_type(shifts[c]);
                    }
                }
                if (cycle == C::cycles - 1) {
                    beat<int32_t, C::pe> result;
                    for (int o = 0; o < C::pe; ++o) {
#pragma HLS UNROLL
                        result.lane[o] = bias[group][o] + C::mean0 * int32_t(centre[o][0]) +
                                         C::step0 * int32_t(shifted[o][0]) + C::mean1 * int32_t(centre[o][1]) +
                                         C::step1 * int32_t(shifted[o][1]);
                    }
                    out.write(result);
                }
            }
        }
    }
}

}  // namespace espalier

#endif
