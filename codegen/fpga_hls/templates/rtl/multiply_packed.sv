// Two exact products of one unsigned 8-bit input in one DSP48: x * w_high (two's complement) and x * w_low, where
// w_low comes as an unsigned number, the weight + 2^(WEIGHT_BITS-1). So the low product cannot borrow from the high one,
// 16 bits apart; who reads it takes 2^(WEIGHT_BITS-1) * x off again, once for many products. Two registers, which a
// DSP48 has inside.
module multiply_packed #(
    parameter int WEIGHT_BITS = 8
) (
    input logic clk,
    input logic [7:0] x,
    input logic signed [WEIGHT_BITS-1:0] w_high,
    input logic [WEIGHT_BITS-1:0] w_low,
    output logic signed [WEIGHT_BITS+7:0] p_high,
    output logic [WEIGHT_BITS+7:0] p_low
);
  logic signed [24:0] weights;
  logic signed [ 8:0] input_x;
  logic signed [33:0] product, result;
  logic unused;

  assign weights = {9'(w_high), 16'(w_low)};
  assign input_x = {1'b0, x};
  always_ff @(posedge clk) begin
    product <= weights * input_x;
    result <= product;
  end

  assign p_high = result[16+:WEIGHT_BITS+8];
  assign p_low  = result[0+:WEIGHT_BITS+8];
  assign unused = &{1'b0, result};
endmodule
