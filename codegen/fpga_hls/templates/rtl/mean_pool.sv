// The mean over the pixels of an image (core/integer.py, MeanPoolSpec), LANES channels at a time. Each channel's sum
// starts from BIAS; while the image's last pixel comes in, the sums leave by the requantization.
module mean_pool #(
    parameter int PIXELS = 64,
    parameter int CHANNELS = 2,
    parameter int LANES = 1,
    parameter int SUM_BITS = 16,
    parameter int BIAS = 0,
    parameter int FACTOR = 1,
    parameter int FACTOR_BITS = 24,
    parameter int SHIFT = 24,
    parameter int ZERO = 0,
    parameter int LOW = 0,
    parameter int HIGH = 255
) (
    input logic clk,
    input logic rst,
    input logic x_valid,
    output logic x_ready,
    input logic [LANES*8-1:0] x_data,
    output logic y_valid,
    input logic y_ready,
    output logic [LANES*8-1:0] y_data
);
  localparam int Words = CHANNELS / LANES;
  localparam int WordBits = Words > 1 ? $clog2(Words) : 1;
  localparam int PixelBits = PIXELS > 1 ? $clog2(PIXELS) : 1;
  localparam int ProductBits = SUM_BITS + FACTOR_BITS;
  localparam int RoundedBits = SHIFT == 0 ? ProductBits : ProductBits > SHIFT ? ProductBits - SHIFT + 1 : 2;
  localparam int Delay = 8;

  logic [WordBits-1:0] word;
  logic [PixelBits-1:0] pixel;
  logic accept, last_pixel, has_room;
  logic [LANES*8-1:0] result;

  assign last_pixel = 32'(pixel) == PIXELS - 1;
  assign x_ready = !last_pixel || has_room;
  assign accept = x_valid && x_ready;

  always_ff @(posedge clk)
    if (rst) begin
      word <= '0;
      pixel <= '0;
    end else begin
      if (accept) word <= 32'(word) == Words - 1 ? '0 : word + 1'b1;
      if (accept && 32'(word) == Words - 1) pixel <= last_pixel ? '0 : pixel + 1'b1;
    end

  generate
    for (genvar l = 0; l < LANES; l++) begin : g_lane
      logic signed [SUM_BITS-1:0] sums[Words];
      logic signed [SUM_BITS-1:0] sum, total;
      logic signed [ProductBits-1:0] product;
      logic signed [RoundedBits-1:0] rounded;
      assign sum = (pixel == '0 ? SUM_BITS'(BIAS) : sums[word]) + SUM_BITS'({1'b0, x_data[l*8+:8]});
      always_ff @(posedge clk) begin
        if (accept) sums[word] <= sum;
        total <= sum;
      end
      multiply_wide #(
          .WIDTH(SUM_BITS),
          .FACTOR_BITS(FACTOR_BITS)
      ) multiply (
          .clk,
          .value(total),
          .factor(FACTOR_BITS'(FACTOR)),
          .product
      );
      round_half_even #(
          .WIDTH(ProductBits),
          .SHIFT(SHIFT)
      ) round (
          .clk,
          .value(product),
          .rounded
      );
      saturate #(
          .WIDTH(RoundedBits),
          .ZERO(ZERO),
          .LOW(LOW),
          .HIGH(HIGH)
      ) limit (
          .clk,
          .value(rounded),
          .limited(result[l*8+:8])
      );
    end
  endgenerate

  result_queue #(
      .WIDTH(LANES * 8),
      .DELAY(Delay)
  ) queue (
      .clk,
      .rst,
      .start(accept && last_pixel),
      .has_room,
      .result,
      .y_valid,
      .y_ready,
      .y_data
  );

  stage_statistics statistics (
      .clk,
      .rst,
      .busy(accept),
      .starved(!x_valid),
      .blocked(x_valid && !x_ready)
  );
endmodule
