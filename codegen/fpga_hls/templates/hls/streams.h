// What joins, copies and reshapes streams.
#ifndef ESPALIER_STREAMS_H
#define ESPALIER_STREAMS_H

#include "dataflow.h"
#include "requantize.h"
#include "widths.h"

namespace espalier {

// The sum of two streams. C: beats, lanes, x_zero, y_zero, own, other, shift, zero, low, high.
template <class C>
void add(
    hls::stream<beat<uint8_t, C::lanes>>& x,
    hls::stream<beat<uint8_t, C::lanes>>& y,
    hls::stream<beat<uint8_t, C::lanes>>& out
) {
    for (int number = 0; number < C::beats; ++number) {
#pragma HLS PIPELINE II = 1
        const beat<uint8_t, C::lanes> left = x.read(), right = y.read();
        beat<uint8_t, C::lanes> result;
        for (int lane = 0; lane < C::lanes; ++lane) {
#pragma HLS UNROLL
            const int64_t total = int64_t(int(left.lane[lane]) - C::x_zero) * C::own +
                                  int64_t(int(right.lane[lane]) - C::y_zero) * C::other;
            result.lane[lane] = limited<C>(rounded<C::shift>(total));
        }
        out.write(result);
    }
}

template <class T>
void write_copy(const T&) {}

template <class T, class First, class... Rest>
void write_copy(const T& value, First& first, Rest&... rest) {
    first.write(value);
    write_copy(value, rest...);
}

// Copies of a stream of BEATS beats.
template <int BEATS, class T, class... Streams>
void copy_stream(hls::stream<T>& in, Streams&... out) {
    for (int number = 0; number < BEATS; ++number) {
#pragma HLS PIPELINE II = 1
        const T value = in.read();
        write_copy(value, out...);
    }
}

// Beats of FEW lanes to beats of MANY.
template <int BEATS, class T, int FEW, int MANY>
void widen(hls::stream<beat<T, FEW>>& in, hls::stream<beat<T, MANY>>& out) {
    beat<T, MANY> result;
    for (int number = 0; number < BEATS; ++number) {
        for (int part = 0; part < MANY / FEW; ++part) {
#pragma HLS PIPELINE II = 1
            const beat<T, FEW> value = in.read();
            for (int lane = 0; lane < FEW; ++lane) {
#pragma HLS UNROLL
                result.lane[part * FEW + lane] = value.lane[lane];
            }
            if (part == MANY / FEW - 1) out.write(result);
        }
    }
}

// Beats of MANY lanes to beats of FEW.
template <int BEATS, class T, int MANY, int FEW>
void narrow(hls::stream<beat<T, MANY>>& in, hls::stream<beat<T, FEW>>& out) {
    beat<T, MANY> value;
    for (int number = 0; number < BEATS; ++number) {
        for (int part = 0; part < MANY / FEW; ++part) {
#pragma HLS PIPELINE II = 1
            if (part == 0) value = in.read();
            beat<T, FEW> result;
            for (int lane = 0; lane < FEW; ++lane) {
#pragma HLS UNROLL
                result.lane[lane] = value.lane[part * FEW + lane];
            }
            out.write(result);
        }
    }
}

}  // namespace espalier

#endif
