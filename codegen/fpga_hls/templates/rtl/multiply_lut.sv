// One product of an unsigned 8-bit input and a weight of 2 to 8 bits of two's complement, in look-up tables: radix-4
// Booth recoding (MacSorley, High-speed arithmetic in binary computers, 1961) makes one row of two bits of the weight,
// each bit of a row a function of five signals. Two registers, as many as the multipliers in DSP blocks have.
module multiply_lut #(
    parameter int WEIGHT_BITS = 8
) (
    input logic clk,
    input logic [7:0] x,
    input logic signed [WEIGHT_BITS-1:0] w,
    output logic signed [WEIGHT_BITS+7:0] p
);
  localparam int Rows = (WEIGHT_BITS + 1) / 2;
  localparam int Bits = 18;

  logic [8:0] negated_x;
  logic signed [8:0] weight;  // with a 0 below the lowest bit and the sign above
  logic signed [Bits-1:0] row[4];
  logic signed [Bits-1:0] low, high, product;
  logic unused;

  assign negated_x = -{1'b0, x};
  assign weight = {8'(w), 1'b0};

  always_ff @(posedge clk) begin
    low <= row[0] + row[1];
    high <= row[2] + row[3];
    product <= low + high;
  end

  generate
    for (genvar r = 0; r < 4; r++) begin : g_row
      logic negative;
      logic signed [9:0] multiple;
      if (r >= Rows) begin : g_none
        logic unused_row;
        assign negative = 1'b0;
        assign multiple = '0;
        assign row[r] = '0;
        assign unused_row = &{1'b0, negative, multiple};
      end else begin : g_some
        // A row that is negative has its bits inverted; the 1 that it lacks stands in the free bits of the next row.
        // The last row, which has no next one, takes the negated input.
        localparam bit Last = r == Rows - 1;
        logic unused_row;
        assign unused_row = negative;
        assign negative = !Last && weight[2*r+2] && !(weight[2*r+1] && weight[2*r]);
        logic [2:0] digit;
        logic [9:0] minus_once, minus_twice;
        assign minus_once = Last ? {negated_x[8], negated_x} : ~{2'b0, x};
        assign minus_twice = Last ? {negated_x, 1'b0} : ~{1'b0, x, 1'b0};
        assign digit = weight[2*r+2-:3];
        always_comb
          case (digit)
            3'b001, 3'b010: multiple = {2'b0, x};
            3'b011: multiple = {1'b0, x, 1'b0};
            3'b100: multiple = minus_twice;
            3'b101, 3'b110: multiple = minus_once;
            default: multiple = '0;
          endcase
        if (r == 0) begin : g_first
          assign row[r] = Bits'(multiple);
        end else begin : g_next
          logic signed [11:0] with_one;
          assign with_one = {multiple, 1'b0, g_row[r-1].negative};
          assign row[r]   = Bits'(with_one) <<< (2 * r - 2);
        end
      end
    end
  endgenerate

  assign p = product[WEIGHT_BITS+7:0];
  assign unused = &{1'b0, product, weight};
endmodule
