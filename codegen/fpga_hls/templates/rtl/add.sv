// The sum of two streams at one scale (core/integer.py, AddSpec), LANES channels at a time.
module add #(
    parameter int LANES = 1,
    parameter int X_ZERO = 0,
    parameter int OTHER_ZERO = 0,
    parameter int OWN = 1,
    parameter int OTHER = 1,
    parameter int FACTOR_BITS = 20,
    parameter int SHIFT = 0,
    parameter int ZERO = 0,
    parameter int LOW = 0,
    parameter int HIGH = 255
) (
    input logic clk,
    input logic rst,
    input logic x_valid,
    output logic x_ready,
    input logic [LANES*8-1:0] x_data,
    input logic other_valid,
    output logic other_ready,
    input logic [LANES*8-1:0] other_data,
    output logic y_valid,
    input logic y_ready,
    output logic [LANES*8-1:0] y_data
);
  localparam int ProductBits = 9 + FACTOR_BITS;
  localparam int SumBits = ProductBits + 1;
  localparam int RoundedBits = SHIFT == 0 ? SumBits : SumBits > SHIFT ? SumBits - SHIFT + 1 : 2;
  localparam int Delay = 9;

  logic accept, has_room;
  logic [LANES*8-1:0] result;

  assign accept = x_valid && other_valid && has_room;
  assign x_ready = other_valid && has_room;
  assign other_ready = x_valid && has_room;

  generate
    for (genvar l = 0; l < LANES; l++) begin : g_lane
      logic signed [8:0] x, y;
      logic signed [ProductBits-1:0] own, other;
      logic signed [SumBits-1:0] sum;
      logic signed [RoundedBits-1:0] rounded;
      always_ff @(posedge clk) begin
        x <= {1'b0, x_data[l*8+:8]} - 9'(X_ZERO);
        y <= {1'b0, other_data[l*8+:8]} - 9'(OTHER_ZERO);
        sum <= SumBits'(own) + SumBits'(other);
      end
      multiply_wide #(
          .WIDTH(9),
          .FACTOR_BITS(FACTOR_BITS)
      ) multiply_own (
          .clk,
          .value(x),
          .factor(FACTOR_BITS'(OWN)),
          .product(own)
      );
      multiply_wide #(
          .WIDTH(9),
          .FACTOR_BITS(FACTOR_BITS)
      ) multiply_other (
          .clk,
          .value(y),
          .factor(FACTOR_BITS'(OTHER)),
          .product(other)
      );
      round_half_even #(
          .WIDTH(SumBits),
          .SHIFT(SHIFT)
      ) round (
          .clk,
          .value(sum),
          .rounded
      );
      saturate #(
          .WIDTH(RoundedBits),
          .ZERO(ZERO),
          .LOW(LOW),
          .HIGH(HIGH)
      ) limit (
          .clk,
          .value(rounded),
          .limited(result[l*8+:8])
      );
    end
  endgenerate

  result_queue #(
      .WIDTH(LANES * 8),
      .DELAY(Delay)
  ) queue (
      .clk,
      .rst,
      .start(accept),
      .has_room,
      .result,
      .y_valid,
      .y_ready,
      .y_data
  );

  stage_statistics statistics (
      .clk,
      .rst,
      .busy(accept),
      .starved(!(x_valid && other_valid)),
      .blocked(x_valid && other_valid && !has_room)
  );
endmodule
