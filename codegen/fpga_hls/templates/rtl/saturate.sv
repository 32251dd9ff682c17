// value + ZERO, limited to LOW .. HIGH; two registers.
module saturate #(
    parameter int WIDTH = 24,
    parameter int OUT_BITS = 8,
    parameter int ZERO = 0,
    parameter int LOW = 0,
    parameter int HIGH = 255
) (
    input logic clk,
    input logic signed [WIDTH-1:0] value,
    output logic [OUT_BITS-1:0] limited
);
  localparam int Wide = (WIDTH > OUT_BITS + 1 ? WIDTH : OUT_BITS + 1) + 1;
  // What is compared is short: where the bits above `near` are not all its sign, the number is beyond either limit. It is
  // compared without a sign, counted from the least number: that is one chain of carries.
  localparam logic [OUT_BITS+1:0] Least = {1'b1, {(OUT_BITS + 1) {1'b0}}};
  logic signed [Wide-1:0] moved;
  logic [OUT_BITS+1:0] near, counted;
  logic is_far, is_low, is_high;
  assign near = moved[OUT_BITS+1:0];
  assign counted = near ^ Least;
  assign is_far = moved[Wide-1:OUT_BITS+1] != {(Wide - OUT_BITS - 1) {moved[Wide-1]}};
  assign is_low = is_far ? moved[Wide-1] : counted < ((OUT_BITS + 2)'(LOW) ^ Least);
  assign is_high = is_far || counted > ((OUT_BITS + 2)'(HIGH) ^ Least);
  always_ff @(posedge clk) begin
    moved   <= Wide'(value) + Wide'(ZERO);
    limited <= is_low ? OUT_BITS'(LOW) : is_high ? OUT_BITS'(HIGH) : near[OUT_BITS-1:0];
  end
endmodule
