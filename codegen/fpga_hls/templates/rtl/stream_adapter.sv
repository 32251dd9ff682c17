// Beats of IN_LANES numbers to beats of OUT_LANES; one of them divides the other.
module stream_adapter #(
    parameter int IN_LANES = 1,
    parameter int OUT_LANES = 4,
    parameter int BITS = 8
) (
    input logic clk,
    input logic rst,
    input logic x_valid,
    output logic x_ready,
    input logic [IN_LANES*BITS-1:0] x_data,
    output logic y_valid,
    input logic y_ready,
    output logic [OUT_LANES*BITS-1:0] y_data
);
  generate
    if (IN_LANES == OUT_LANES) begin : g_same
      logic unused;
      assign unused = &{1'b0, clk, rst};
      assign y_valid = x_valid;
      assign x_ready = y_ready;
      assign y_data = x_data;
    end else if (IN_LANES < OUT_LANES) begin : g_wider
      localparam int Ratio = OUT_LANES / IN_LANES;
      logic [$clog2(Ratio+1)-1:0] held;
      logic full;
      assign full = 32'(held) == Ratio;
      assign y_valid = full;
      assign x_ready = !full || y_ready;
      always_ff @(posedge clk) begin
        if (x_valid && x_ready) y_data <= {x_data, y_data[OUT_LANES*BITS-1:IN_LANES*BITS]};
        if (rst) held <= '0;
        else if (full && y_ready) held <= $clog2(Ratio + 1)'(x_valid);
        else if (x_valid && !full) held <= held + 1'b1;
      end
    end else begin : g_narrower
      localparam int Ratio = IN_LANES / OUT_LANES;
      logic [IN_LANES*BITS-1:0] word;
      logic [$clog2(Ratio+1)-1:0] held;
      assign y_valid = held != '0;
      assign x_ready = held == '0 || (held == 1 && y_ready);
      assign y_data  = word[OUT_LANES*BITS-1:0];
      always_ff @(posedge clk) begin
        if (x_valid && x_ready) word <= x_data;
        else if (y_ready) word <= word >> (OUT_LANES * BITS);
        if (rst) held <= '0;
        else if (x_valid && x_ready) held <= $clog2(Ratio + 1)'(Ratio);
        else if (y_valid && y_ready) held <= held - 1'b1;
      end
    end
  endgenerate
endmodule
