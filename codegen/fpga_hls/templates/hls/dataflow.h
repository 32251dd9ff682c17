// Stages that run side by side.
//
// The vendor's tools, its C simulation too, read plain calls under a dataflow pragma, in the order in which data flows.
// Our own simulation runs each stage until it waits for a stream, so that streams are as short there as in hardware.
#ifndef ESPALIER_DATAFLOW_H
#define ESPALIER_DATAFLOW_H

#include "hls_stream.h"

#ifdef ESPALIER_SIMULATION  // set by simulation/hls_stream.h
#define ESPALIER_DATAFLOW_BEGIN hls::dataflow_region region;
#define ESPALIER_STAGE(name, ...) region.add(name, [&]() { __VA_ARGS__; });
#define ESPALIER_DATAFLOW_END region.run();
#define ESPALIER_WAIT(in, out) hls::dataflow_region::wait(in, out)
#define ESPALIER_INNER_DEPTH 64  // within a stage, where depth only costs time
#else
#define ESPALIER_DATAFLOW_BEGIN
#define ESPALIER_STAGE(name, ...) __VA_ARGS__;
#define ESPALIER_DATAFLOW_END
#define ESPALIER_WAIT(in, out) (void)0
#define ESPALIER_INNER_DEPTH 2
#endif

#endif
