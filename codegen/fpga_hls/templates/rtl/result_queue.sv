// The results of a pipeline that cannot wait: `result` is there DELAY cycles after its `start`, which is given only where
// there is room for it (has_room).
module result_queue #(
    parameter int WIDTH = 8,
    parameter int DELAY = 8
) (
    input logic clk,
    input logic rst,
    input logic start,
    output logic has_room,
    input logic [WIDTH-1:0] result,
    output logic y_valid,
    input logic y_ready,
    output logic [WIDTH-1:0] y_data
);
  localparam int FifoDepth = 16;
  localparam int CreditBits = $clog2(FifoDepth + 1);

  logic [CreditBits-1:0] credit, level;
  logic [DELAY-1:0] valid;
  logic always_ready, unused;

  assign has_room = credit != '0;

  always_ff @(posedge clk)
    if (rst) begin
      credit <= CreditBits'(FifoDepth);
      valid <= '0;
    end else begin
      credit <= credit - CreditBits'(start) + CreditBits'(y_valid && y_ready);
      valid <= {valid[DELAY-2:0], start};
    end

  stream_fifo #(
      .WIDTH(WIDTH),
      .DEPTH(FifoDepth)
  ) results (
      .clk,
      .rst,
      .in_valid(valid[DELAY-1]),
      .in_ready(always_ready),
      .in_data(result),
      .out_valid(y_valid),
      .out_ready(y_ready),
      .out_data(y_data),
      .level
  );
  assign unused = &{1'b0, always_ready, level};
endmodule
