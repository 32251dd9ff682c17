// All products of an unsigned 8-bit number and a weight, by every multiplier of the templates against plain `*`.
module multiplier_bench;
  logic clk = 1'b0;
  initial forever #1 clk = !clk;

  logic [16:0] count = '0, count_1 = '0, count_2 = '0;
  logic [7:0] x, other, then_x, then_other;
  logic signed [7:0] w, then_w;
  logic signed [15:0] p_high, p_lut, p_single;
  logic [15:0] p_low;
  logic signed [11:0] p_narrow;
  logic signed [12:0] p_odd;
  logic signed [14:0] p_shift;
  logic signed [8:0] p_binary;
  int wrong = 0;

  assign {w, x} = count[15:0];
  assign other = w ^ {x[3:0], x[7:4]};
  assign {then_w, then_x} = count_2[15:0];
  assign then_other = then_w ^ {then_x[3:0], then_x[7:4]};

  multiply_packed packed_pair (.clk, .x, .w_high(w), .w_low(other ^ 8'h80), .p_high, .p_low);
  multiply_single single (.clk, .x, .w, .p(p_single));
  multiply_lut wide (.clk, .x, .w, .p(p_lut));
  multiply_lut #(.WEIGHT_BITS(4)) narrow (.clk, .x, .w(w[3:0]), .p(p_narrow));
  multiply_lut #(.WEIGHT_BITS(5)) odd (.clk, .x, .w(w[4:0]), .p(p_odd));
  multiply_shift shift (.clk, .x, .w(w[3:0]), .p(p_shift));
  multiply_binary binary (.clk, .x, .w(w[0]), .p(p_binary));

  function automatic int shifted(input int value, input int code);
    if (code % 8 == 7) return 0;
    return code / 8 == 1 ? -(value << (code % 8)) : value << (code % 8);
  endfunction

  // Checked as 32-bit signed numbers.
  task automatic check(input int got, input int expected);
    if (got != expected) wrong = wrong + 1;
  endtask

  int number, weight, other_weight, low_4, low_5;
  always @(posedge clk) begin
    {count_2, count_1} <= {count_1, count};
    count <= count + 1'b1;
    number = then_x;
    weight = then_w;
    other_weight = $signed(then_other);
    low_4 = $signed(then_w[3:0]);
    low_5 = $signed(then_w[4:0]);
    if (count >= 4) begin
      check(p_high, number * weight);
      check(p_low, number * (other_weight + 128));
      check(p_lut, number * weight);
      check(p_single, number * weight);
      check(p_narrow, number * low_4);
      check(p_odd, number * low_5);
      check(p_shift, shifted(number, then_w[3:0]));
      check(p_binary, then_w[0] ? -number : number);
    end
    if (count[16] && count[3]) begin
      $display("wrong=%0d", wrong);
      $finish;
    end
  end
endmodule
