// Products with the weights of the channels that a frame has.
#ifndef ESPALIER_MULTIPLY_LISTED_H
#define ESPALIER_MULTIPLY_LISTED_H

#include "lists.h"
#include "multiply.h"
#include "requantize.h"

namespace espalier {

// As `multiply`, where the input carries the words of the list `active` and the groups of the list `winners` are computed.
// C: as for `multiply`, groups and cycles those of a frame; and words (of a tap), all_groups, all_words, active_split,
// winners_split (groups that a number of the list stands for).
template <class C>
void multiply_listed(
    hls::stream<window_word<C::taps, C::lanes>>& in,
    list_stream& active,
    list_stream& winners,
    hls::stream<beat<int32_t, C::pe>>& out,
    const int8_t (&weights)[C::all_groups][C::cycles / C::words * C::all_words][C::pe][C::inputs],
    const int32_t (&bias)[C::all_groups][C::pe]
) {
    typedef typename width<C::sum_bits>::signed_type sum_type;
#pragma HLS ARRAY_RESHAPE variable = weights complete dim = 3
#pragma HLS ARRAY_RESHAPE variable = weights complete dim = 4
#pragma HLS ARRAY_RESHAPE variable = bias complete dim = 2
    window_word<C::taps, C::lanes> kept[C::cycles];
#pragma HLS AGGREGATE variable = kept
    int word_numbers[C::words], group_numbers[C::groups];
    sum_type sums[C::pe] = {};
#pragma HLS ARRAY_PARTITION variable = sums complete
    read_list<C::words / C::active_split, C::active_split>(active, word_numbers);
    read_list<C::groups / C::winners_split, C::winners_split>(winners, group_numbers);
    for (int pixel = 0; pixel < C::pixels; ++pixel) {
        for (int group = 0; group < C::groups; ++group) {
            for (int cycle = 0; cycle < C::cycles; ++cycle) {
#pragma HLS PIPELINE II = 1
                const window_word<C::taps, C::lanes> word = next_word<C>(in, kept, group, cycle);
                const int own = group_numbers[group];
                const int at = cycle / C::words * C::all_words + word_numbers[cycle % C::words];
                int32_t added[C::pe];
#pragma HLS ARRAY_PARTITION variable = added complete
                add_products<C>(word, weights[own][at], added);
                beat<int32_t, C::pe> result;
                for (int o = 0; o < C::pe; ++o) {
#pragma HLS UNROLL
                    sums[o] = (cycle == 0 ? sum_type(bias[own][o]) : sums[o]) + sum_type(added[o]);
                    result.lane[o] = int32_t(sums[o]);
                }
                if (cycle == C::cycles - 1) out.write(result);
            }
        }
    }
}

// The requantization of the winners. C: as for `requantize`; and all_groups, winners_split, has_pi.
// pi: the factors of a group's channels, one beat for each; not read without has_pi.
template <class C>
void requantize_listed(
    hls::stream<beat<int32_t, C::pe>>& in,
    list_stream& winners,
    hls::stream<beat<uint8_t, C::pe>>& pi,
    hls::stream<beat<uint8_t, C::out_lanes>>& out,
    const int32_t (&multiplier)[C::all_groups][C::pe]
) {
    int group_numbers[C::groups];
    beat<uint8_t, C::pe> factors[C::groups];
#pragma HLS AGGREGATE variable = factors
    beat<int32_t, C::pe> sums;
    read_list<C::groups / C::winners_split, C::winners_split>(winners, group_numbers);
    for (int group = 0; group < (C::has_pi ? C::groups : 0); ++group) {
#pragma HLS PIPELINE II = 1
        factors[group] = pi.read();
    }
    for (int pixel = 0; pixel < C::pixels; ++pixel) {
        for (int group = 0; group < C::groups; ++group) {
            for (int part = 0; part < C::pe / C::out_lanes; ++part) {
#pragma HLS PIPELINE II = 1
                if (part == 0) sums = in.read();
                beat<uint8_t, C::out_lanes> result;
                for (int lane = 0; lane < C::out_lanes; ++lane) {
#pragma HLS UNROLL
                    const int o = part * C::out_lanes + lane;
                    const int32_t boost = C::has_pi ? int32_t(factors[group].lane[o]) : 1;
                    const int32_t factor = multiplier[group_numbers[group]][o] * boost;
                    result.lane[lane] = limited<C>(rounded<C::shift>(int64_t(sums.lane[o]) * factor));
                }
                out.write(result);
            }
        }
    }
}

}  // namespace espalier

#endif
