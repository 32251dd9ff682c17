// Two numbers whose sum is a number of two's complement times a constant from -128 to 127, modulo 2^OUT_BITS; one
// register. The constant's digits are -1, 0 and 1, no two neighbours other than 0 (Reitwiesner, Binary arithmetic, 1960):
// each of the two halves of its digits has two of them at most, and takes one adder.
module constant_terms #(
    parameter int IN_BITS = 14,
    parameter int OUT_BITS = 24,
    parameter int FACTOR = -20
) (
    input logic clk,
    input logic signed [IN_BITS-1:0] value,
    output logic [2*OUT_BITS-1:0] terms
);
  localparam int Size = FACTOR < 0 ? -FACTOR : FACTOR;
  localparam int Changed = Size ^ (3 * Size);
  localparam int Added = (FACTOR < 0 ? Changed & Size : Changed & (3 * Size)) >> 1;
  localparam int Taken = (FACTOR < 0 ? Changed & (3 * Size) : Changed & Size) >> 1;

  logic unused;
  assign unused = &{1'b0, value};  // of which a constant of 0 reads nothing
  generate
    for (genvar h = 0; h < 2; h++) begin : g_half
      for (genvar k = 0; k < 4; k++) begin : g_digit
        localparam int Place = 4 * h + k;
        logic [OUT_BITS-1:0] below, here;
        if (k == 0) begin : g_first
          assign below = '0;
        end else begin : g_next
          assign below = g_digit[k-1].here;
        end
        if (((Added >> Place) & 1) == 1) begin : g_added
          assign here = below + (OUT_BITS'(value) << Place);
        end else if (((Taken >> Place) & 1) == 1) begin : g_taken
          assign here = below - (OUT_BITS'(value) << Place);
        end else begin : g_none
          assign here = below;
        end
      end
      always_ff @(posedge clk) terms[h*OUT_BITS+:OUT_BITS] <= g_digit[3].here;
    end
  endgenerate
endmodule
