// Two exact products of one unsigned 8-bit input in one DSP48: x * w_high (two's complement) and x * w_low, where
// w_low comes as an unsigned number, the weight + 128. So the low product cannot borrow from the high one, 16 bits
// apart; who reads it takes 128 * x off again, once for many products. Two registers, which a DSP48 has inside.
module multiply_packed (
    input logic clk,
    input logic [7:0] x,
    input logic signed [7:0] w_high,
    input logic [7:0] w_low,
    output logic signed [15:0] p_high,
    output logic [15:0] p_low
);
  logic signed [24:0] weights;
  logic signed [ 8:0] input_x;
  logic signed [33:0] product, result;
  logic unused;

  assign weights = {w_high[7], w_high, 8'd0, w_low};
  assign input_x = {1'b0, x};
  always_ff @(posedge clk) begin
    product <= weights * input_x;
    result <= product;
  end

  assign p_high = result[31:16];
  assign p_low  = result[15:0];
  assign unused = &{1'b0, result[33:32]};
endmodule
