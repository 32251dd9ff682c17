// Line buffer: pixels come in raster order, the windows of a convolution go out, a few taps and channels in a cycle.
//
// The buffer is a ring of rows: while the windows of one row are read, the pixels of the next rows come in. A memory with
// many ports to read is a copy for each tap that is read in a cycle.
#ifndef ESPALIER_WINDOW_H
#define ESPALIER_WINDOW_H

#include "dataflow.h"
#include "widths.h"

namespace espalier {

// C: height, width, channels of the image; kernel_rows, kernel_columns, stride_rows, stride_columns, top, left;
// out_rows, out_columns; lanes (channels of a beat), taps (of a word); buffer_rows; zero (what padding holds);
// groups_outside: whether all taps of a group of channels go out before the next group (depthwise), or the groups of
// each tap.
template <class C>
void window(hls::stream<beat<uint8_t, C::lanes>>& in, hls::stream<window_word<C::taps, C::lanes>>& out) {
    constexpr int GROUPS = C::channels / C::lanes;
    constexpr int STEPS = C::kernel_rows * C::kernel_columns / C::taps;
    static beat<uint8_t, C::lanes> buffer[C::buffer_rows][C::width][GROUPS];
#pragma HLS AGGREGATE variable = buffer
#pragma HLS BIND_STORAGE variable = buffer type = ram_1wnr
    int in_row = 0, in_column = 0, in_group = 0, in_slot = 0;
    int row = 0, column = 0, group = 0, step = 0;
    while (row < C::out_rows) {
#pragma HLS PIPELINE II = 1
        const int first_row = row * C::stride_rows - C::top;
        const int last_row = first_row + C::kernel_rows - 1;
        const int last_column = column * C::stride_columns - C::left + C::kernel_columns - 1;
        const int need_row = last_row < C::height ? last_row : C::height - 1;
        const int need_column = last_column < C::width ? last_column : C::width - 1;
        const bool is_there = in_row > need_row || (in_row == need_row && in_column > need_column);
        const int oldest = first_row > 0 ? first_row : 0;
        bool is_busy = false;

        if (is_there && !out.full()) {
            window_word<C::taps, C::lanes> word;
            for (int tap = 0; tap < C::taps; ++tap) {
#pragma HLS UNROLL
                const int place = step * C::taps + tap;
                const int y = first_row + place / C::kernel_columns;
                const int x = column * C::stride_columns - C::left + place % C::kernel_columns;
                const bool is_inside = y >= 0 && y < C::height && x >= 0 && x < C::width;
                for (int lane = 0; lane < C::lanes; ++lane) {
#pragma HLS UNROLL
                    word.lane[tap][lane] =
                        is_inside ? buffer[y % C::buffer_rows][x][group].lane[lane] : uint8_t(C::zero);
                }
            }
            out.write(word);
            is_busy = true;
            const bool ends_inner = C::groups_outside ? step == STEPS - 1 : group == GROUPS - 1;
            const bool ends_pixel = step == STEPS - 1 && group == GROUPS - 1;
            if (C::groups_outside) {
                group = ends_pixel ? 0 : group + (ends_inner ? 1 : 0);
                step = ends_inner ? 0 : step + 1;
            } else {
                step = ends_pixel ? 0 : step + (ends_inner ? 1 : 0);
                group = ends_inner ? 0 : group + 1;
            }
            if (ends_pixel) {
                const bool ends_row = column == C::out_columns - 1;
                column = ends_row ? 0 : column + 1;
                row += ends_row ? 1 : 0;
            }
        }

        const bool has_room = in_row < C::height && in_row < oldest + C::buffer_rows;
        beat<uint8_t, C::lanes> pixel;
        if (has_room && in.read_nb(pixel)) {
            buffer[in_slot][in_column][in_group] = pixel;
            is_busy = true;
            const bool ends_pixel = in_group == GROUPS - 1;
            const bool ends_row = ends_pixel && in_column == C::width - 1;
            in_group = ends_pixel ? 0 : in_group + 1;
            in_column = ends_row ? 0 : in_column + (ends_pixel ? 1 : 0);
            in_row += ends_row ? 1 : 0;
            in_slot = ends_row ? (in_slot == C::buffer_rows - 1 ? 0 : in_slot + 1) : in_slot;
        }
        if (!is_busy) ESPALIER_WAIT(has_room ? &in : nullptr, is_there ? &out : nullptr);
    }
    // What no window reads is still taken: a strided convolution may leave rows at the end.
    const int read = (in_row * C::width + in_column) * GROUPS + in_group;
    for (int rest = read; rest < C::height * C::width * GROUPS; ++rest) {
#pragma HLS PIPELINE II = 1
        in.read();
    }
}

}  // namespace espalier

#endif
