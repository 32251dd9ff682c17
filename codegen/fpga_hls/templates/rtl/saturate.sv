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
  // What is compared is short: where the bits above `near` are not all its sign, the number is beyond either limit.
  logic signed [Wide-1:0] moved;
  logic signed [OUT_BITS+1:0] near;
  logic is_far, is_low, is_high;
  assign near = moved[OUT_BITS+1:0];
  assign is_far = moved[Wide-1:OUT_BITS+1] != {(Wide - OUT_BITS - 1) {moved[Wide-1]}};
  assign is_low = is_far ? moved[Wide-1] : near < (OUT_BITS + 2)'(LOW);
  assign is_high = is_far || near > (OUT_BITS + 2)'(HIGH);
  always_ff @(posedge clk) begin
    moved   <= Wide'(value) + Wide'(ZERO);
    limited <= is_low ? OUT_BITS'(LOW) : is_high ? OUT_BITS'(HIGH) : near[OUT_BITS-1:0];
  end
endmodule
