// One product of an unsigned 8-bit input and 1 or, where w is set, -1. Three registers.
module multiply_binary (
    input logic clk,
    input logic [7:0] x,
    input logic w,
    output logic signed [8:0] p
);
  logic [7:0] input_x;
  logic signed [8:0] product;
  logic negative;

  always_ff @(posedge clk) begin
    input_x <= x;
    negative <= w;
    product <= negative ? -9'(input_x) : 9'(input_x);
    p <= product;
  end
endmodule
