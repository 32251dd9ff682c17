// The gate of a layer: which of its output channels a frame has.
#ifndef ESPALIER_CHANNEL_GATE_H
#define ESPALIER_CHANNEL_GATE_H

#include "lists.h"
#include "requantize.h"

namespace espalier {

// v / 2^SHIFT, rounded, and limited to a byte.
template <int SHIFT>
uint8_t byte_of(int64_t v) {
    const int64_t result = rounded<SHIFT>(v);
    return uint8_t(result > 255 ? 255 : result);
}

// C: pixels, words (beats of a pixel), lanes, active_split (channels that a number of the list stands for), channels (of the
// whole input), outputs, granularity, kept (groups), x_zero, mean_multiplier, mean_shift, pi_multiplier, pi_shift, has_pi,
// boosts.
// winners: the numbers of the groups that win, ascending, ties to the lowest; pi: the factors of their channels, which are
// not written without has_pi. phi: [output][input].
// Source: Gao et al., Dynamic Channel Pruning: Feature Boosting and Suppression, ICLR 2019, section 3.
template <class C>
void channel_gate(
    hls::stream<beat<uint8_t, C::lanes>>& x,
    list_stream& active,
    list_stream& winners,
    hls::stream<beat<uint8_t, 1>>& pi,
    const int8_t (&phi)[C::outputs][C::channels],
    const int32_t (&rho)[C::outputs]
) {
    constexpr int READ = C::words * C::lanes, GROUPS = C::outputs / C::granularity;
    int32_t sums[C::words][C::lanes];
#pragma HLS ARRAY_PARTITION variable = sums complete dim = 2
    uint8_t means[READ];
    int numbers[READ];
    uint32_t saliencies[C::outputs], scores[GROUPS];
    for (int pixel = 0; pixel < C::pixels; ++pixel) {
        for (int word = 0; word < C::words; ++word) {
#pragma HLS PIPELINE II = 1
            const beat<uint8_t, C::lanes> seen = x.read();
            for (int lane = 0; lane < C::lanes; ++lane) {
#pragma HLS UNROLL
                const int32_t centred = int32_t(seen.lane[lane]) - C::x_zero;
                sums[word][lane] = (pixel ? sums[word][lane] : 0) + (centred < 0 ? -centred : centred);
            }
        }
    }
    read_list<READ / C::active_split, C::active_split>(active, numbers);
    for (int channel = 0; channel < READ; ++channel) {
#pragma HLS PIPELINE II = 1
        const int64_t total = sums[channel / C::lanes][channel % C::lanes];
        means[channel] = byte_of<C::mean_shift>(total * C::mean_multiplier);
    }
    for (int out = 0; out < C::outputs; ++out) {
        int32_t sum = rho[out];
        for (int channel = 0; channel < READ; ++channel) {
#pragma HLS PIPELINE II = 1
            sum += int32_t(phi[out][numbers[channel]]) * means[channel];
        }
        const uint32_t saliency = sum < 0 ? 0 : uint32_t(sum);
        saliencies[out] = saliency;
        scores[out / C::granularity] = (out % C::granularity ? scores[out / C::granularity] : 0) + saliency;
    }
    for (int group = 0; group < GROUPS; ++group) {
        int rank = 0;
        for (int other = 0; other < GROUPS; ++other) {
#pragma HLS PIPELINE II = 1
            rank += scores[other] > scores[group] || (scores[other] == scores[group] && other < group);
        }
        if (rank >= C::kept) continue;
        beat<uint16_t, 1> number;
        number.lane[0] = uint16_t(group);
        winners.write(number);
        for (int part = 0; part < (C::has_pi ? C::granularity : 0); ++part) {
#pragma HLS PIPELINE II = 1
            const int64_t saliency = saliencies[group * C::granularity + part];
            beat<uint8_t, 1> factor;
            factor.lane[0] = C::boosts ? byte_of<C::pi_shift>(saliency * C::pi_multiplier) : uint8_t(1);
            pi.write(factor);
        }
    }
}

}  // namespace espalier

#endif
