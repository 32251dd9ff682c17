// One product of an unsigned 8-bit input and a weight in a DSP block; two registers.
module multiply_single #(
    parameter int WEIGHT_BITS = 8
) (
    input logic clk,
    input logic [7:0] x,
    input logic signed [WEIGHT_BITS-1:0] w,
    output logic signed [WEIGHT_BITS+7:0] p
);
  logic signed [8:0] input_x;
  logic signed [WEIGHT_BITS+8:0] product, result;
  logic unused;

  assign input_x = {1'b0, x};
  always_ff @(posedge clk) begin
    product <= w * input_x;
    result <= product;
  end

  assign p = result[WEIGHT_BITS+7:0];
  assign unused = result[WEIGHT_BITS+8];
endmodule
