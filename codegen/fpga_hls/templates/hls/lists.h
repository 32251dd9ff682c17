// Lists of channels: the numbers of the groups that a frame has, of a tensor of which a gate keeps a part.
#ifndef ESPALIER_LISTS_H
#define ESPALIER_LISTS_H

#include "dataflow.h"
#include "widths.h"

namespace espalier {

typedef hls::stream<beat<uint16_t, 1>> list_stream;

// The list of all, for what has none.
template <int COUNT>
void every_number(list_stream& out) {
    for (int number = 0; number < COUNT; ++number) {
#pragma HLS PIPELINE II = 1
        beat<uint16_t, 1> value;
        value.lane[0] = uint16_t(number);
        out.write(value);
    }
}

// COUNT numbers, each of which stands for SPLIT neighbours, number * SPLIT and on.
template <int COUNT, int SPLIT>
void read_list(list_stream& in, int (&numbers)[COUNT * SPLIT]) {
    int first = 0;
    for (int place = 0; place < COUNT * SPLIT; ++place) {
#pragma HLS PIPELINE II = 1
        if (place % SPLIT == 0) first = int(in.read().lane[0]) * SPLIT;
        numbers[place] = first + place % SPLIT;
    }
}

}  // namespace espalier

#endif
