// Products of windows and constant weights, and their sums.
#ifndef ESPALIER_MULTIPLY_H
#define ESPALIER_MULTIPLY_H

#include "dataflow.h"
#include "next_word.h"
#include "pixels.h"
#include "widths.h"

namespace espalier {

enum product_kind { DSP, LUT, SHIFT, BINARY };

// The product of a number x with the weight behind a code.
//
// DSP, LUT: the code is the weight. SHIFT: bits 2..0 an exponent e, bit 3 the sign of 2^e; an exponent of 7 is the
// weight 0. BINARY: the code 1 is the weight -1, 0 is 1.
template <product_kind KIND>
struct product;

template <>
struct product<DSP> {
    static int32_t of(uint8_t x, int8_t code) {
#pragma HLS INLINE
        const int32_t result = int32_t(x) * code;
#pragma HLS BIND_OP variable = result op = mul impl = dsp
        return result;
    }
};

template <>
struct product<LUT> {
    static int32_t of(uint8_t x, int8_t code) {
#pragma HLS INLINE
        const int32_t result = int32_t(x) * code;
#pragma HLS BIND_OP variable = result op = mul impl = fabric
        return result;
    }
};

template <>
struct product<SHIFT> {
    static int32_t of(uint8_t x, int8_t code) {
#pragma HLS INLINE
        const int exponent = code & 7;
        const int32_t size = exponent == 7 ? 0 : int32_t(x) * (1 << exponent);
        return code & 8 ? -size : size;
    }
};

template <>
struct product<BINARY> {
    static int32_t of(uint8_t x, int8_t code) { return code ? -int32_t(x) : int32_t(x); }
};

// Two products of one number in one DSP48, their weights 16 bits apart. The lower code is its weight with the top bit
// inverted, which read without a sign is the weight + 128: so the product below takes nothing from the one above, and
// is 128 * x too large.
struct product_pair {
    int32_t low, high;
    static product_pair of(uint8_t x, int8_t low_code, int8_t high_code) {
#pragma HLS INLINE
        const int32_t weights = int32_t(high_code) * (1 << 16) + uint8_t(low_code);
        const int32_t result = int32_t(x) * weights;
#pragma HLS BIND_OP variable = result op = mul impl = dsp
        return {result & 0xffff, result >> 16};
    }
};

// What an output channel multiplies with its weight of this number.
template <class C>
uint8_t input_of(const window_word<C::taps, C::lanes>& word, int channel, int number) {
#pragma HLS INLINE
    return C::is_depthwise ? word.lane[number % C::taps][channel % C::lanes]
                           : word.lane[number / C::lanes][number % C::lanes];
}

// The sums of a word's products, for each output channel; two channels share DSP blocks where the design `packs`.
template <class C>
void add_products(
    const window_word<C::taps, C::lanes>& word, const int8_t (&codes)[C::pe][C::inputs], int32_t (&sums)[C::pe]
) {
#pragma HLS INLINE
    constexpr int PAIRED = C::packs ? C::pe / 2 * 2 : 0;
    int32_t inputs = 0;
    for (int number = 0; number < (PAIRED ? C::inputs : 0); ++number) {
#pragma HLS UNROLL
        inputs += input_of<C>(word, 0, number);
    }
    for (int o = 0; o < PAIRED; o += 2) {
#pragma HLS UNROLL
        int32_t low = 0, high = 0;
        for (int number = 0; number < C::inputs; ++number) {
#pragma HLS UNROLL
            const uint8_t x = input_of<C>(word, o, number);
            const product_pair both = product_pair::of(x, codes[o][number], codes[o + 1][number]);
            low += both.low;
            high += both.high;
        }
        sums[o] = low - 128 * inputs;
        sums[o + 1] = high;
    }
    for (int o = PAIRED; o < C::pe; ++o) {
#pragma HLS UNROLL
        sums[o] = 0;
        for (int number = 0; number < C::inputs; ++number) {
#pragma HLS UNROLL
            sums[o] += product<C::kind>::of(input_of<C>(word, o, number), codes[o][number]);
        }
    }
}

// C: pixels (out_pixels of them, which are computed at a time, count as one), groups (of PE output channels), cycles (of a
// group), pe, taps, lanes, inputs (of an output channel in a cycle), sum_bits, kind, packs, is_depthwise (each output
// channel has an input of its own), out_pixels, and what `window_of` takes. All pixels have the same weights.
// weights: [group][cycle][output channel][tap * lanes + channel], a depthwise one [group][cycle][channel][tap].
// bias: [group][output channel], what the zero of the inputs adds taken off.
template <class C>
void multiply(
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
    for (int pixel = 0; pixel < C::pixels; ++pixel) {
        for (int group = 0; group < C::groups; ++group) {
            for (int cycle = 0; cycle < C::cycles; ++cycle) {
#pragma HLS PIPELINE II = 1
                const window_word<C::beat_taps, C::beat_lanes> beats =
                    next_word<windows_of_beats<C>>(in, kept, group, cycle);
                beat<int32_t, C::out_pixels * C::pe> result;
                for (int number = 0; number < C::out_pixels; ++number) {
#pragma HLS UNROLL
                    int32_t added[C::pe];
#pragma HLS ARRAY_PARTITION variable = added complete
                    add_products<C>(window_of<C>(beats, number), weights[group][cycle], added);
                    for (int o = 0; o < C::pe; ++o) {
#pragma HLS UNROLL
                        sums[number][o] =
                            (cycle == 0 ? sum_type(bias[group][o]) : sums[number][o]) + sum_type(added[o]);
                        result.lane[number * C::pe + o] = int32_t(sums[number][o]);
                    }
                }
                if (cycle == C::cycles - 1) out.write(result);
            }
        }
    }
}

}  // namespace espalier

#endif
