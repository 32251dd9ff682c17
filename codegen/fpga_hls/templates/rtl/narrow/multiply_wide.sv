// A number of two's complement times an unsigned factor by multipliers of 18 by 18 bits: of halves of both where they are
// wide; four registers. The port of a multiplier is 18 bits of two's complement, so that halves have at most 17.
//
// The wires to and from a multiplier take as long as it does, for logic lies between the rows of multipliers. So its
// operands and its product have registers of their own, which can be near: one in front of it, two behind.
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

  logic signed [WIDTH-1:0] number;
  logic [FACTOR_BITS-1:0] times;
  always_ff @(posedge clk) begin
    number <= value;
    times  <= factor;
  end
  generate
    for (genvar h = 0; h < Halves; h++) begin : g_half
      localparam int Width = h == 0 ? Low : FACTOR_BITS - Low;
      logic signed [Width:0] part;
      assign part = {1'b0, times[h*Low+:Width]};
      if (WIDTH > 18) begin : g_parts
        logic signed [WIDTH-Lower-1:0] high;
        logic [Lower+Width-1:0] low_made, low_product;
        logic signed [WIDTH-Lower+Width:0] high_made, high_product;
        assign high = number[WIDTH-1:Lower];
        always_ff @(posedge clk) begin
          low_made <= number[Lower-1:0] * part[Width-1:0];
          high_made <= high * part;
          low_product <= low_made;
          high_product <= high_made;
        end
      end else begin : g_whole
        logic signed [WIDTH+Width-1:0] whole_made, whole_product;
        always_ff @(posedge clk) begin
          whole_made <= number * part;
          whole_product <= whole_made;
        end
      end
    end

    if (WIDTH > 18 && Halves == 2) begin : g_four
      // The lowest of the four ends where the highest begins.
      always_ff @(posedge clk)
        product <= Bits'({g_half[1].g_parts.high_product, g_half[0].g_parts.low_product}) +
            (Bits'(g_half[0].g_parts.high_product) <<< Lower) + (Bits'(g_half[1].g_parts.low_product) <<< Low);
    end else if (WIDTH > 18) begin : g_two_parts
      always_ff @(posedge clk) product <= (Bits'(g_half[0].g_parts.high_product) <<< Lower) + Bits'(g_half[0].g_parts.low_product);
    end else if (Halves == 2) begin : g_two_halves
      always_ff @(posedge clk) product <= (Bits'(g_half[1].g_whole.whole_product) <<< Low) + Bits'(g_half[0].g_whole.whole_product);
    end else begin : g_one
      always_ff @(posedge clk) product <= Bits'(g_half[0].g_whole.whole_product);
    end
  endgenerate
endmodule
