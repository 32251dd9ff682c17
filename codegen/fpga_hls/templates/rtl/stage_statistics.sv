// Counts for the simulation what a stage did in each cycle; nothing of it is synthesized.
module stage_statistics (
    input logic clk,
    input logic rst,
    input logic busy,     // it did its work
    input logic starved,  // it waited for its input
    input logic blocked   // it waited for room at its output
);
`ifdef SYNTHESIS
  logic unused;
  assign unused = &{1'b0, clk, rst, busy, starved, blocked};
`else
  int busy_cycles = 0, starved_cycles = 0, blocked_cycles = 0, fill_cycles = 0;
  logic begun = 1'b0;
  always_ff @(posedge clk)
    if (!rst) begin
      if (busy) busy_cycles <= busy_cycles + 1;
      if (busy) begun <= 1'b1;
      if (!busy && !begun) fill_cycles <= fill_cycles + 1;
      if (starved && begun) starved_cycles <= starved_cycles + 1;
      if (blocked && begun) blocked_cycles <= blocked_cycles + 1;
    end
  final
    $display(
        "espalier stage %m busy=%0d starved=%0d blocked=%0d fill=%0d",
        busy_cycles,
        starved_cycles,
        blocked_cycles,
        fill_cycles
    );
`endif
endmodule
