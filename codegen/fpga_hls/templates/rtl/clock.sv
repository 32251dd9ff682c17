// The test bench with a clock of its own, for simulators that are given no main program.
module clock;
  logic clk = 1'b0;
  bench bench (.clk);
  initial forever #1 clk = !clk;
endmodule
