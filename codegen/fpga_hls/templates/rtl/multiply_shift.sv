// One product of an unsigned 8-bit input and 0 or +-2^e: bits 2 .. 0 of the code are e, 7 stands for the weight 0, bit 3
// is the sign. Two registers.
module multiply_shift (
    input logic clk,
    input logic [7:0] x,
    input logic [3:0] w,
    output logic signed [14:0] p
);
  logic [13:0] shifted;
  logic negative;

  always_ff @(posedge clk) begin
    shifted <= w[2:0] == 3'd7 ? '0 : 14'(x) << w[2:0];
    negative <= w[3];
    p <= negative ? -(15'(shifted)) : 15'(shifted);
  end
endmodule
