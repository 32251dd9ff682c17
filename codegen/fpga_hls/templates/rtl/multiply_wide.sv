// A number of two's complement times an unsigned factor, in two halves of the factor so that each fits the narrow port
// of a DSP block; four registers, of which a DSP48 has two in front of its multiplier.
module multiply_wide #(
    parameter int WIDTH = 25,
    parameter int FACTOR_BITS = 24
) (
    input logic clk,
    input logic signed [WIDTH-1:0] value,
    input logic [FACTOR_BITS-1:0] factor,
    output logic signed [WIDTH+FACTOR_BITS-1:0] product
);
  localparam int Low = FACTOR_BITS > 12 ? FACTOR_BITS / 2 : FACTOR_BITS;
  localparam int High = FACTOR_BITS - Low;
  localparam int Bits = WIDTH + FACTOR_BITS;

  logic signed [WIDTH-1:0] number_1, number;
  logic signed [Low:0] low_1, low;
  logic signed [WIDTH+Low:0] low_product;
  always_ff @(posedge clk) begin
    number_1 <= value;
    number <= number_1;
    low_1 <= {1'b0, factor[Low-1:0]};
    low <= low_1;
    low_product <= number * low;
  end
  generate
    if (High > 0) begin : g_halves
      logic signed [High:0] high_1, high;
      logic signed [WIDTH+High:0] high_product;
      always_ff @(posedge clk) begin
        high_1 <= {1'b0, factor[FACTOR_BITS-1:Low]};
        high <= high_1;
        high_product <= number * high;
        product <= (Bits'(high_product) <<< Low) + Bits'(low_product);
      end
    end else begin : g_whole
      always_ff @(posedge clk) product <= low_product[Bits-1:0];
    end
  endgenerate
endmodule
