// Products of random numbers by `multiply_wide`, in widths of one and of several parts, against plain `*`.
module multiply_wide_bench;
  logic clk = 1'b0;
  initial forever #1 clk = !clk;

  logic [63:0] drawn = 64'd1, then_1, then_2, then_3, then_4;
  logic signed [48:0] p_main;
  logic signed [29:0] p_edge;
  logic signed [32:0] p_short;
  logic signed [61:0] p_boosted;
  int wrong = 0, count = 0;

  multiply_wide #(.WIDTH(25), .FACTOR_BITS(24)) main (.clk, .value(drawn[24:0]), .factor(drawn[63:40]), .product(p_main));
  multiply_wide #(.WIDTH(18), .FACTOR_BITS(12)) edge_ (.clk, .value(drawn[17:0]), .factor(drawn[63:52]), .product(p_edge));
  multiply_wide #(.WIDTH(9), .FACTOR_BITS(24)) short_ (.clk, .value(drawn[8:0]), .factor(drawn[63:40]), .product(p_short));
  multiply_wide #(.WIDTH(30), .FACTOR_BITS(32)) boosted (.clk, .value(drawn[29:0]), .factor(drawn[63:32]), .product(p_boosted));

  task automatic check(input logic signed [63:0] got, input logic signed [63:0] value, input logic signed [63:0] factor);
    if (got !== value * factor) wrong = wrong + 1;
  endtask

  always @(posedge clk) begin
    {then_4, then_3, then_2, then_1} <= {then_3, then_2, then_1, drawn};
    // The extreme numbers first, then what xorshift gives: one step, of 64 bits, in each cycle.
    case (count)
      0: drawn <= '1;
      1: drawn <= 64'hffff_ffff_2102_0100;
      2: drawn <= 64'h88172645463325252;
      default: drawn <= xorshift(drawn);
    endcase
    count <= count + 1;
    if (count > 5) begin
      check(64'(p_main), 64'($signed(then_4[24:0])), {40'd0, then_4[63:40]});
      check(64'(p_edge), 64'($signed(then_4[17:0])), {52'd0, then_4[63:52]});
      check(64'(p_short), 64'($signed(then_4[8:0])), {40'd0, then_4[63:40]});
      check(64'(p_boosted), 64'($signed(then_4[29:0])), {32'd0, then_4[63:32]});
    end
    if (count == 20000) begin
      $display("wrong=%0d", wrong);
      $finish;
    end
  end

  function automatic logic [63:0] xorshift(input logic [63:0] from);
    logic [63:0] x;
    x = from ^ (from << 13);
    x = x ^ (x >> 7);
    return x ^ (x << 17);
  endfunction
endmodule
