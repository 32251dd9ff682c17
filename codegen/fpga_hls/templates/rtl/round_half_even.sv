// value / 2^SHIFT rounded to the nearest integer, ties to even; one register.
module round_half_even #(
    parameter int WIDTH = 32,
    parameter int SHIFT = 8,
    localparam int OutBits = SHIFT == 0 ? WIDTH : WIDTH > SHIFT ? WIDTH - SHIFT + 1 : 2
) (
    input logic clk,
    input logic signed [WIDTH-1:0] value,
    output logic signed [OutBits-1:0] rounded
);
  generate
    if (SHIFT == 0) begin : g_whole
      always_ff @(posedge clk) rounded <= value;
    end else begin : g_rounded
      localparam int Wide = SHIFT + OutBits;
      logic signed [Wide-1:0] wide, raised;
      logic unused;
      assign wide = Wide'(value);
      assign raised = wide + $signed({{(OutBits + 1) {1'b0}}, {(SHIFT - 1) {1'b1}}}) + $signed({{(Wide - 1) {1'b0}}, wide[SHIFT]});
      assign unused = &{1'b0, raised};
      always_ff @(posedge clk) rounded <= raised[Wide-1:SHIFT];
    end
  endgenerate
endmodule
