// One product of an unsigned 8-bit input and 1 or, where w is set, -1. Two registers.
module multiply_binary (
    input logic clk,
    input logic [7:0] x,
    input logic w,
    output logic signed [8:0] p
);
  logic signed [8:0] product;

  always_ff @(posedge clk) begin
    product <= w ? -(9'(x)) : 9'(x);
    p <= product;
  end
endmodule
