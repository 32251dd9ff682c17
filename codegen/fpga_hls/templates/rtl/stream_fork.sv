// COPIES copies of a stream. Each copy of a beat goes when its reader takes it; the beat is done when all have.
module stream_fork #(
    parameter int COPIES = 2,
    parameter int WIDTH  = 8
) (
    input logic clk,
    input logic rst,
    input logic x_valid,
    output logic x_ready,
    input logic [WIDTH-1:0] x_data,
    output logic [COPIES-1:0] y_valid,
    input logic [COPIES-1:0] y_ready,
    output logic [COPIES*WIDTH-1:0] y_data
);
  logic [COPIES-1:0] taken, taking;
  assign y_valid = {COPIES{x_valid}} & ~taken;
  assign taking  = taken | (y_valid & y_ready);
  assign x_ready = &(taken | y_ready);
  assign y_data  = {COPIES{x_data}};
  always_ff @(posedge clk)
    if (rst || (x_valid && x_ready)) taken <= '0;
    else taken <= taking;

  stage_statistics statistics (
      .clk,
      .rst,
      .busy(x_valid && x_ready),
      .starved(!x_valid),
      .blocked(x_valid && !x_ready)
  );
endmodule
