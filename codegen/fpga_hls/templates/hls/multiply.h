// Products of windows and constant weights, and their sums.
#ifndef ESPALIER_MULTIPLY_H
#define ESPALIER_MULTIPLY_H

#include "dataflow.h"
#include "next_word.h"
#include "widths.h"

namespace espalier {

enum product_kind { DSP, LUT, SHIFT, BINARY };

// The product of a number x, less its zero point, with the weight behind a code.
//
// DSP, LUT: the code is the weight. SHIFT: bits 2..0 an exponent e, bit 3 the sign of 2^e; an exponent of 7 is the
// weight 0. BINARY: the code 1 is the weight -1, 0 is 1.
template <product_kind KIND>
struct product;

template <>
struct product<DSP> {
    static int32_t of(int16_t x, int8_t code) {
        const int32_t result = int32_t(x) * code;
#pragma HLS BIND_OP variable = result op = mul impl = dsp
        return result;
    }
};

template <>
struct product<LUT> {
    static int32_t of(int16_t x, int8_t code) {
        const int32_t result = int32_t(x) * code;
#pragma HLS BIND_OP variable = result op = mul impl = fabric
        return result;
    }
};

template <>
struct product<SHIFT> {
    static int32_t of(int16_t x, int8_t code) {
        const int exponent = code & 7;
        const int32_t size = exponent == 7 ? 0 : int32_t(x) * (1 << exponent);
        return code & 8 ? -size : size;
    }
};

template <>
struct product<BINARY> {
    static int32_t of(int16_t x, int8_t code) { return code ? -x : x; }
};

// C: pixels, groups (of PE output channels), cycles (of a group), pe, taps, lanes, zero (of x), sum_bits, kind,
// is_depthwise (each output channel has an input of its own).
// weights: [group][cycle][output channel][tap * lanes + channel], a depthwise one [group][cycle][channel][tap].
// bias: [group][output channel].
template <class C>
void multiply(
    hls::stream<window_word<C::taps, C::lanes>>& in,
    hls::stream<beat<int32_t, C::pe>>& out,
    const int8_t (&weights)[C::groups][C::cycles][C::pe][C::is_depthwise ? C::taps : C::taps * C::lanes],
    const int32_t (&bias)[C::groups][C::pe]
) {
    typedef typename width<C::sum_bits>::signed_type sum_type;
#pragma HLS ARRAY_RESHAPE variable = weights complete dim = 3
#pragma HLS ARRAY_RESHAPE variable = weights complete dim = 4
#pragma HLS ARRAY_RESHAPE variable = bias complete dim = 2
    window_word<C::taps, C::lanes> kept[C::is_depthwise ? 1 : C::cycles];
    sum_type sums[C::pe] = {};
#pragma HLS ARRAY_PARTITION variable = sums complete
    for (int pixel = 0; pixel < C::pixels; ++pixel) {
        for (int group = 0; group < C::groups; ++group) {
            for (int cycle = 0; cycle < C::cycles; ++cycle) {
#pragma HLS PIPELINE II = 1
                const window_word<C::taps, C::lanes> word = next_word<C>(in, kept, group, cycle);
                for (int o = 0; o < C::pe; ++o) {
#pragma HLS UNROLL
                    int32_t added = 0;
                    for (int tap = 0; tap < C::taps; ++tap) {
#pragma HLS UNROLL
                        if (C::is_depthwise) {
                            const int16_t x = int16_t(word.lane[tap][o % C::lanes]) - C::zero;
                            added += product<C::kind>::of(x, weights[group][cycle][o][tap]);
                        } else {
                            for (int lane = 0; lane < C::lanes; ++lane) {
#pragma HLS UNROLL
                                const int16_t x = int16_t(word.lane[tap][lane]) - C::zero;
                                added += product<C::kind>::of(
                                    x, weights[group][cycle][o][C::is_depthwise ? 0 : tap * C::lanes + lane]
                                );
                            }
                        }
                    }
                    sums[o] = (cycle == 0 ? sum_type(bias[group][o]) : sums[o]) + sum_type(added);
                }
                if (cycle == C::cycles - 1) {
                    beat<int32_t, C::pe> result;
                    for (int o = 0; o < C::pe; ++o) {
#pragma HLS UNROLL
                        result.lane[o] = int32_t(sums[o]);
                    }
                    out.write(result);
                }
            }
        }
    }
}

}  // namespace espalier

#endif
