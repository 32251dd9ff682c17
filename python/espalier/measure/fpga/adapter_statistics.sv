// What adapters did in each cycle, as `stage_statistics` counts it of stages that have it inside. Bound to those of an
// emitted design for the simulation, and no part of the design.
bind stream_adapter stage_statistics statistics (
    .clk,
    .rst,
    .busy((x_valid && x_ready) || (y_valid && y_ready)),
    .starved(!x_valid && !y_valid),
    .blocked(y_valid && !y_ready && !(x_valid && x_ready))
);
