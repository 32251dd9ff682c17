// AXI-Stream at the edges: a word holds a beat, the lowest channel in the lowest bits; the last word of a frame says so.
#ifndef ESPALIER_EDGES_H
#define ESPALIER_EDGES_H

#include "dataflow.h"
#include "widths.h"

#ifndef ESPALIER_NATIVE_WIDTHS
#include "ap_axi_sdata.h"
#endif

namespace espalier {

#ifndef ESPALIER_NATIVE_WIDTHS
template <class T, int LANES>
struct axis {
    static constexpr int BITS = 8 * sizeof(T);
    typedef ap_axiu<BITS * LANES, 0, 0, 0> word;
    static beat<T, LANES> unpacked(const word& given) {
#pragma HLS INLINE
        beat<T, LANES> result;
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            result.lane[lane] = T(given.data.range(BITS * lane + BITS - 1, BITS * lane));
        }
        return result;
    }
    static word packed(const beat<T, LANES>& given, bool is_last) {
#pragma HLS INLINE
        word result;
        for (int lane = 0; lane < LANES; ++lane) {
#pragma HLS UNROLL
            result.data.range(BITS * lane + BITS - 1, BITS * lane) = given.lane[lane];
        }
        result.keep = -1;
        result.strb = -1;
        result.last = is_last;
        return result;
    }
};
#else
template <class T, int LANES>
struct axis {
    struct word {
        beat<T, LANES> data;
        bool last;
    };
    static beat<T, LANES> unpacked(const word& given) { return given.data; }
    static word packed(const beat<T, LANES>& given, bool is_last) { return {given, is_last}; }
};
#endif

template <int BEATS, class T, int LANES>
void from_host(hls::stream<typename axis<T, LANES>::word>& in, hls::stream<beat<T, LANES>>& out) {
    for (int number = 0; number < BEATS; ++number) {
#pragma HLS PIPELINE II = 1
        out.write(axis<T, LANES>::unpacked(in.read()));
    }
}

template <int BEATS, class T, int LANES>
void to_host(hls::stream<beat<T, LANES>>& in, hls::stream<typename axis<T, LANES>::word>& out) {
    for (int number = 0; number < BEATS; ++number) {
#pragma HLS PIPELINE II = 1
        out.write(axis<T, LANES>::packed(in.read(), number == BEATS - 1));
    }
}

}  // namespace espalier

#endif
