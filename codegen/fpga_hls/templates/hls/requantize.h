// From 32-bit sums to the numbers of the output; with a residual where there is one.
#ifndef ESPALIER_REQUANTIZE_H
#define ESPALIER_REQUANTIZE_H

#include "dataflow.h"
#include "widths.h"

namespace espalier {

// v / 2^SHIFT to the nearest integer, ties to even.
template <int SHIFT>
int64_t rounded(int64_t v) {
    constexpr int64_t BELOW_HALF = SHIFT ? (int64_t(1) << (SHIFT ? SHIFT - 1 : 0)) - 1 : 0;
    return SHIFT ? (v + BELOW_HALF + ((v >> SHIFT) & 1)) >> SHIFT : v;
}

template <class C>
uint8_t limited(int64_t t) {
    const int64_t y = t + C::zero;
    return uint8_t(y < C::low ? C::low : y > C::high ? C::high : y);
}

// C: pixels, groups, pe, out_lanes, shift, zero, low, high.
// multiplier: [group][output channel].
template <class C>
void requantize(
    hls::stream<beat<int32_t, C::pe>>& in,
    hls::stream<beat<uint8_t, C::out_lanes>>& out,
    const int32_t (&multiplier)[C::groups][C::pe]
) {
    beat<int32_t, C::pe> sums;
    for (int pixel = 0; pixel < C::pixels; ++pixel) {
        for (int group = 0; group < C::groups; ++group) {
            for (int part = 0; part < C::pe / C::out_lanes; ++part) {
#pragma HLS PIPELINE II = 1
                if (part == 0) sums = in.read();
                beat<uint8_t, C::out_lanes> result;
                for (int lane = 0; lane < C::out_lanes; ++lane) {
#pragma HLS UNROLL
                    const int o = part * C::out_lanes + lane;
                    result.lane[lane] =
                        limited<C>(rounded<C::shift>(int64_t(sums.lane[o]) * multiplier[group][o]));
                }
                out.write(result);
            }
        }
    }
}

// As above; and C: is_limited, residual_low, residual_high, residual_zero, own, other, residual_shift.
template <class C>
void requantize_with_residual(
    hls::stream<beat<int32_t, C::pe>>& in,
    hls::stream<beat<uint8_t, C::out_lanes>>& residual,
    hls::stream<beat<uint8_t, C::out_lanes>>& out,
    const int32_t (&multiplier)[C::groups][C::pe]
) {
    beat<int32_t, C::pe> sums;
    for (int pixel = 0; pixel < C::pixels; ++pixel) {
        for (int group = 0; group < C::groups; ++group) {
            for (int part = 0; part < C::pe / C::out_lanes; ++part) {
#pragma HLS PIPELINE II = 1
                if (part == 0) sums = in.read();
                const beat<uint8_t, C::out_lanes> other = residual.read();
                beat<uint8_t, C::out_lanes> result;
                for (int lane = 0; lane < C::out_lanes; ++lane) {
#pragma HLS UNROLL
                    const int o = part * C::out_lanes + lane;
                    int64_t own = rounded<C::shift>(int64_t(sums.lane[o]) * multiplier[group][o]);
                    if (C::is_limited) {
                        own = own < C::residual_low ? C::residual_low : own > C::residual_high ? C::residual_high : own;
                    }
                    const int64_t joined =
                        own * C::own + int64_t(int(other.lane[lane]) - C::residual_zero) * C::other;
                    result.lane[lane] = limited<C>(rounded<C::residual_shift>(joined));
                }
                out.write(result);
            }
        }
    }
}

// The sums themselves. C: pixels, groups, pe, out_lanes, is_rectified (whether those below 0 are 0).
template <class C>
void pass_sums(hls::stream<beat<int32_t, C::pe>>& in, hls::stream<beat<int32_t, C::out_lanes>>& out) {
    beat<int32_t, C::pe> sums;
    for (int group = 0; group < C::pixels * C::groups; ++group) {
        for (int part = 0; part < C::pe / C::out_lanes; ++part) {
#pragma HLS PIPELINE II = 1
            if (part == 0) sums = in.read();
            beat<int32_t, C::out_lanes> result;
            for (int lane = 0; lane < C::out_lanes; ++lane) {
#pragma HLS UNROLL
                const int32_t sum = sums.lane[part * C::out_lanes + lane];
                result.lane[lane] = C::is_rectified && sum < 0 ? 0 : sum;
            }
            out.write(result);
        }
    }
}

}  // namespace espalier

#endif
