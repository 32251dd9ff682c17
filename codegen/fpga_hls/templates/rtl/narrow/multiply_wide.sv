// A number of two's complement times an unsigned factor by multipliers of 18 by 18 bits: of halves of both where they are
// wide; four registers. The port of a multiplier is 18 bits of two's complement, so that halves have at most 17. The wires to
// and from a multiplier take as long as it does: a product's register has nothing but another one behind it, and so can be near.
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
  localparam int Halves = FACTOR_BITS > Low ? 2 : 1;
  localparam int Lower = WIDTH > 18 ? 17 : WIDTH - 1;  // bits of the value's lower half
  localparam int Bits = WIDTH + FACTOR_BITS;

  logic signed [Bits-1:0] half[Halves];
  generate
    for (genvar h = 0; h < Halves; h++) begin : g_half
      localparam int Width = h == 0 ? Low : FACTOR_BITS - Low;
      logic signed [Width:0] part;
      assign part = {1'b0, factor[h*Low+:Width]};
      if (WIDTH > 18) begin : g_parts
        logic signed [Lower:0] low;
        logic signed [WIDTH-Lower-1:0] high;
        logic signed [Lower+Width+1:0] low_made, low_product;
        logic signed [WIDTH-Lower+Width:0] high_made, high_product;
        assign low  = {1'b0, value[Lower-1:0]};
        assign high = value[WIDTH-1:Lower];
        always_ff @(posedge clk) begin
          low_made <= low * part;
          high_made <= high * part;
          low_product <= low_made;
          high_product <= high_made;
          half[h] <= (Bits'(high_product) <<< Lower) + Bits'(low_product);
        end
      end else begin : g_whole
        logic signed [WIDTH-1:0] number;
        logic signed [Width:0] operand;
        logic signed [WIDTH+Width-1:0] whole_product;
        always_ff @(posedge clk) begin
          number <= value;
          operand <= part;
          whole_product <= number * operand;
          half[h] <= Bits'(whole_product);
        end
      end
    end
    if (Halves == 2) begin : g_sum
      always_ff @(posedge clk) product <= (half[1] <<< Low) + half[0];
    end else begin : g_alone
      always_ff @(posedge clk) product <= half[0];
    end
  endgenerate
endmodule
