// All products of an unsigned 8-bit number and a recentralised shift, and numbers times every constant of 8 bits, against
// plain `*`.
module recentred_bench;
  localparam int Latency = 8;
  logic clk = 1'b0;
  initial forever #1 clk = !clk;

  logic [12:0] count = '0;
  logic [11:0] earlier[Latency];
  logic signed [13:0] sum;
  logic done;
  int wrong = 0;
  multiply_focused #(
      .PE(1), .TAPS(1), .LANES(1), .OUT_LANES(1), .SUM_BITS(14), .CENTRE_BITS(9), .SHIFTED_BITS(12), .TOP(2),
      .MEAN_0(-21), .STEP_0(5), .MEAN_1(17), .STEP_1(7)
  ) focused (
      .clk, .rst(1'b0), .x_valid(1'b1), .x_first(1'b1), .x_last(1'b1), .x_data(count[7:0]), .weights(count[11:8]),
      .done, .sums(sum)
  );

  // The weight of a code; those that are negative before the mean is added have a step less than they should for x = 0.
  function automatic int product(input logic [3:0] code, input int x);
    int mean = code[3] ? 17 : -21, step = code[3] ? 7 : 5;
    if (code[1:0] == 2'd3) return code[2] ? 0 : mean * x;
    return mean * x + step * (code[2] ? -(x << code[1:0]) - 1 : x << code[1:0]);
  endfunction

  logic signed [11:0] value, value_1;
  logic [255:0] constants_wrong;
  assign value = count < 13'd256 ? {count[7:0], ~count[3:0]} : '0;
  generate
    for (genvar k = 0; k < 256; k++) begin : g_constant
      logic [39:0] terms;
      logic signed [19:0] sum_of_terms;
      constant_terms #(.IN_BITS(12), .OUT_BITS(20), .FACTOR(k - 128)) multiply (.clk, .value, .terms);
      assign sum_of_terms = terms[39:20] + terms[19:0];
      assign constants_wrong[k] = sum_of_terms !== 20'(value_1 * (k - 128));
    end
  endgenerate

  always @(posedge clk) begin
    count <= count + 1'b1;
    value_1 <= value;
    earlier[0] <= count[11:0];
    for (int i = 1; i < Latency; i++) earlier[i] <= earlier[i-1];
    if (count > Latency && (!done || sum !== 14'(product(earlier[Latency-1][11:8], earlier[Latency-1][7:0]))))
      wrong = wrong + 1;
    if (count > Latency && constants_wrong != 0) wrong = wrong + 1;
    if (count == 13'd4200) begin
      $display("wrong=%0d", wrong);
      $finish;
    end
  end
endmodule
