// A saturate against its formula, for numbers near the limits, far from them, and of either sign.
module saturate_bench;
  logic clk = 0;
  logic signed [31:0] value;
  logic [7:0] unsigned_8, expected_8;
  logic [4:0] signed_5, expected_5;
  int wrong = 0;

  saturate #(
      .WIDTH(32),
      .ZERO (17),
      .LOW  (3),
      .HIGH (250)
  ) to_8 (
      .clk,
      .value,
      .limited(unsigned_8)
  );
  saturate #(
      .WIDTH(32),
      .OUT_BITS(5),
      .LOW(-12),
      .HIGH(15)
  ) to_5 (
      .clk,
      .value,
      .limited(signed_5)
  );

  always #1 clk = !clk;
  initial begin
    for (int i = 0; i < 4000; i++) begin
      value = i < 1200 ? i - 600 : $random;
      if (i >= 1200) value = value >>> (i % 32);
      expected_8 = longint'(value) + 17 < 3 ? 8'd3 : longint'(value) + 17 > 250 ? 8'd250 : 8'(value + 17);
      expected_5 = value < -12 ? -5'sd12 : value > 15 ? 5'sd15 : 5'(value);
      repeat (2) @(posedge clk);
      @(negedge clk) if (unsigned_8 !== expected_8 || signed_5 !== expected_5) wrong++;
    end
    $display("wrong=%0d", wrong);
    $finish;
  end
endmodule
