// The shape of a vendor's AXI-Stream words, written for tests.
#ifndef VENDOR_AP_AXI_SDATA_H
#define VENDOR_AP_AXI_SDATA_H

#include <cstddef>

#include "ap_int.h"

namespace hls {

template <class T, std::size_t USER, std::size_t ID, std::size_t DEST>
struct axis;

template <int BITS>
struct axis<ap_uint<BITS>, 0, 0, 0> {
    ap_uint<BITS> data;
    ap_uint<(BITS + 7) / 8> keep, strb;
    ap_uint<1> last;
};

}  // namespace hls

template <std::size_t BITS, std::size_t USER, std::size_t ID, std::size_t DEST>
using ap_axiu = hls::axis<ap_uint<BITS>, USER, ID, DEST>;

#endif
