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
  logic signed [Wide-1:0] moved;
  always_ff @(posedge clk) begin
    moved <= Wide'(value) + Wide'(ZERO);
    limited <= moved < Wide'(LOW) ? OUT_BITS'(LOW) : moved > Wide'(HIGH) ? OUT_BITS'(HIGH) : moved[OUT_BITS-1:0];
  end
endmodule
