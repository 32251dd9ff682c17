// The word of an AXI-Stream for simulation without a vendor's tool, under the name that synthesis knows.
#ifndef ESPALIER_SIMULATION_AP_AXI_SDATA_H
#define ESPALIER_SIMULATION_AP_AXI_SDATA_H

#include "ap_int.h"

// BITS: of the data. USER, ID and DEST are 0: these signals are not there.
template <int BITS, int USER, int ID, int DEST>
struct ap_axiu {
    static_assert(USER == 0 && ID == 0 && DEST == 0, "only data, keep, strb and last are simulated");
    ap_uint<BITS> data;
    ap_uint<(BITS + 7) / 8> keep, strb;
    ap_uint<1> last;
};

#endif
