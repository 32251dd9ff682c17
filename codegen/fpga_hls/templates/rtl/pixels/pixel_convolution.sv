// A convolution that reads beats of PIXELS neighbouring pixels with all their channels, and makes OUT_PIXELS output
// pixels at a time by weights that are read once. A group is PE output channels of all of them; where these are several,
// PE is CHANNELS_OUT, so that results leave pixel after pixel.
//
// The window reader sees beats as pixels: WIDTH, KERNEL_W, STRIDE_W, PAD_LEFT and OUT_WIDTH are in beats, see also
// pixel_windows. TAPS: of the kernel in a cycle, whole rows of COLUMNS pixels. LANES: results in a cycle. Otherwise as
// convolution.sv.
module pixel_convolution #(
    parameter int HEIGHT = 8,
    parameter int WIDTH = 4,
    parameter int CHANNELS_IN = 2,
    parameter int KERNEL_H = 3,
    parameter int KERNEL_W = 3,
    parameter int STRIDE_H = 1,
    parameter int STRIDE_W = 1,
    parameter int PAD_TOP = 1,
    parameter int PAD_LEFT = 1,
    parameter int PAD_VALUE = 0,
    parameter int OUT_HEIGHT = 8,
    parameter int OUT_WIDTH = 4,
    parameter int ROWS = 4,
    parameter int CHANNELS_OUT = 2,
    parameter bit DEPTHWISE = 0,
    parameter int TAPS = 3,
    parameter int PIXELS = 2,
    parameter int OUT_PIXELS = 2,
    parameter int FIRST = 1,
    parameter int STEP = 1,
    parameter int COLUMNS = 3,
    parameter int PE = 2,
    parameter int KIND = 0,
    parameter bit PACK = 1,
    parameter int WEIGHT_BITS = 8,
    parameter int SUM_BITS = 24,
    parameter int LANES = 2,
    parameter int FIFO_DEPTH = 16,
    parameter bit RAW = 0,
    parameter int OUT_BITS = 8,
    parameter int FACTOR_BITS = 24,
    parameter int SHIFT = 24,
    parameter int ZERO = 0,
    parameter int LOW = 0,
    parameter int HIGH = 255,
    parameter bit HAS_RESIDUAL = 0,
    parameter int T_LOW = 0,
    parameter int T_HIGH = 0,
    parameter int T_BITS = 9,
    parameter int OWN = 1,
    parameter int OTHER = 1,
    parameter int RESIDUAL_ZERO = 0,
    parameter int RESIDUAL_SHIFT = 0,
    parameter WEIGHTS = "",
    parameter CONSTANTS = ""
) (
    input logic clk,
    input logic rst,
    input logic x_valid,
    output logic x_ready,
    input logic [PIXELS*CHANNELS_IN*8-1:0] x_data,
    input logic residual_valid,
    output logic residual_ready,
    input logic [LANES*8-1:0] residual_data,
    output logic y_valid,
    input logic y_ready,
    output logic [LANES*OUT_BITS-1:0] y_data
);
  localparam int TapRows = TAPS / COLUMNS;
  localparam int BeatTaps = TapRows * KERNEL_W;
  localparam int Terms = DEPTHWISE ? TAPS : TAPS * CHANNELS_IN;
  localparam int Groups = CHANNELS_OUT / PE;
  localparam int Indices = Groups * KERNEL_H / TapRows;
  localparam int Sums = OUT_PIXELS * PE;
  localparam int Beats = Sums / LANES;
  localparam int CreditBits = $clog2(FIFO_DEPTH + 1);
  localparam bit Packed = KIND == 0 && PACK && !DEPTHWISE && PE > 1;

  logic [CreditBits-1:0] credit, level;  // beats of the output FIFO: that no group has claimed, that are there
  logic credit_here, popped, residual_here, start, take, result_valid, always_ready, done;
  logic window_valid, window_first, window_last;
  logic [(Indices > 1 ? $clog2(Indices) : 1)-1:0] index;
  logic [BeatTaps*PIXELS*CHANNELS_IN*8-1:0] beats;
  logic [OUT_PIXELS*TAPS*CHANNELS_IN*8-1:0] windows;
  logic [PE*Terms*WEIGHT_BITS-1:0] weights;
  logic [OUT_PIXELS-1:0] pixel_done;
  logic [Sums*SUM_BITS-1:0] sums;
  logic [LANES*8-1:0] residual;
  logic [LANES*OUT_BITS-1:0] result;

  // level + one_more >= wanted, without the sum: `start` and `popped` come late.
  function automatic logic enough(input logic [CreditBits-1:0] there, input logic one_more, input int wanted);
    enough = there >= CreditBits'(wanted) || (one_more && there == CreditBits'(wanted - 1));
  endfunction
  assign popped = y_valid && y_ready;
  always_ff @(posedge clk)
    if (rst) begin
      credit <= CreditBits'(FIFO_DEPTH);
      credit_here <= 1'b0;
    end else begin
      credit <= credit - (start ? CreditBits'(Beats) : '0) + CreditBits'(popped);
      credit_here <= start ? enough(credit, popped, 2 * Beats) : enough(credit, popped, Beats);
    end

  window_reader #(
      .HEIGHT(HEIGHT),
      .WIDTH(WIDTH),
      .WORDS(1),
      .LANES(PIXELS * CHANNELS_IN),
      .KERNEL_H(KERNEL_H),
      .KERNEL_W(KERNEL_W),
      .STRIDE_H(STRIDE_H),
      .STRIDE_W(STRIDE_W),
      .PAD_TOP(PAD_TOP),
      .PAD_LEFT(PAD_LEFT),
      .OUT_HEIGHT(OUT_HEIGHT),
      .OUT_WIDTH(OUT_WIDTH),
      .ROWS(ROWS),
      .TAPS(BeatTaps),
      .GROUPS(Groups),
      .PAD_VALUE(PAD_VALUE)
  ) reader (
      .clk,
      .rst,
      .in_valid(x_valid),
      .in_ready(x_ready),
      .in_data(x_data),
      .room(credit_here && residual_here),
      .start,
      .index,
      .x_valid(window_valid),
      .x_first(window_first),
      .x_last(window_last),
      .x_data(beats)
  );

  pixel_windows #(
      .ROWS(TapRows),
      .BEATS(KERNEL_W),
      .PIXELS(PIXELS),
      .CHANNELS(CHANNELS_IN),
      .OUT_PIXELS(OUT_PIXELS),
      .FIRST(FIRST),
      .STEP(STEP),
      .COLUMNS(COLUMNS)
  ) picked (
      .beats,
      .windows
  );

  weight_rom #(
      .WIDTH(PE * Terms * WEIGHT_BITS),
      .DEPTH(Indices),
      .FILE (WEIGHTS)
  ) rom (
      .clk,
      .address(index),
      .word(weights)
  );

  // Each pixel's sums; what the lower products of pairs are too large by, see multiply_accumulate, is taken off here.
  generate
    for (genvar q = 0; q < OUT_PIXELS; q++) begin : g_pixel
      logic [PE*SUM_BITS-1:0] made;
      logic [SUM_BITS-1:0] x_sum;
      multiply_accumulate #(
          .KIND(KIND),
          .PACK(PACK),
          .PE(PE),
          .TAPS(TAPS),
          .LANES(CHANNELS_IN),
          .OWN_LANE(DEPTHWISE),
          .WEIGHT_BITS(WEIGHT_BITS),
          .SUM_BITS(SUM_BITS)
      ) products (
          .clk,
          .rst,
          .x_valid(window_valid),
          .x_first(window_first),
          .x_last(window_last),
          .x_data(windows[q*TAPS*CHANNELS_IN*8+:TAPS*CHANNELS_IN*8]),
          .weights,
          .done(pixel_done[q]),
          .sums(made),
          .x_sum
      );
      for (genvar p = 0; p < PE; p++) begin : g_sum
        logic [SUM_BITS-1:0] sum;
        assign sum = made[p*SUM_BITS+:SUM_BITS];
        always_ff @(posedge clk)
          sums[(q*PE+p)*SUM_BITS+:SUM_BITS] <= Packed && p % 2 == 0 && p + 1 < PE ? sum - (x_sum << (WEIGHT_BITS - 1)) : sum;
      end
    end
  endgenerate
  always_ff @(posedge clk) done <= !rst && pixel_done[0];

  requantize #(
      .PE(Sums),
      .LANES(LANES),
      .CHANNELS(OUT_PIXELS * CHANNELS_OUT),
      .SUM_BITS(SUM_BITS),
      .RAW(RAW),
      .OUT_BITS(OUT_BITS),
      .FACTOR_BITS(FACTOR_BITS),
      .SHIFT(SHIFT),
      .ZERO(ZERO),
      .LOW(LOW),
      .HIGH(HIGH),
      .HAS_RESIDUAL(HAS_RESIDUAL),
      .T_LOW(T_LOW),
      .T_HIGH(T_HIGH),
      .T_BITS(T_BITS),
      .OWN(OWN),
      .OTHER(OTHER),
      .RESIDUAL_ZERO(RESIDUAL_ZERO),
      .RESIDUAL_SHIFT(RESIDUAL_SHIFT),
      .FILE(CONSTANTS)
  ) requantizer (
      .clk,
      .rst,
      .done,
      .sums,
      .x_sum('0),
      .group_number('0),
      .group_pi('0),
      .take,
      .residual,
      .out_valid(result_valid),
      .out_data(result)
  );

  generate
    if (HAS_RESIDUAL) begin : g_residual
      logic [CreditBits-1:0] here, waiting;  // beats of the residual: that no group has claimed, all
      logic came, waits, unused_residual;
      assign came = residual_valid && residual_ready;
      always_ff @(posedge clk)
        if (rst) begin
          here <= '0;
          residual_here <= 1'b0;
        end else begin
          here <= here - (start ? CreditBits'(Beats) : '0) + CreditBits'(came);
          residual_here <= start ? enough(here, came, 2 * Beats) : enough(here, came, Beats);
        end
      stream_fifo #(
          .WIDTH(LANES * 8),
          .DEPTH(FIFO_DEPTH)
      ) residuals (
          .clk,
          .rst,
          .in_valid(residual_valid),
          .in_ready(residual_ready),
          .in_data(residual_data),
          .out_valid(waits),
          .out_ready(take),
          .out_data(residual),
          .level(waiting)
      );
      assign unused_residual = &{1'b0, waits, waiting};
    end else begin : g_no_residual
      logic unused_residual;
      assign residual_here = 1'b1;
      assign residual_ready = 1'b0;
      assign residual = '0;
      assign unused_residual = &{1'b0, residual_valid, residual_data, take};
    end
  endgenerate

  stream_fifo #(
      .WIDTH(LANES * OUT_BITS),
      .DEPTH(FIFO_DEPTH)
  ) results (
      .clk,
      .rst,
      .in_valid(result_valid),
      .in_ready(always_ready),
      .in_data(result),
      .out_valid(y_valid),
      .out_ready(y_ready),
      .out_data(y_data),
      .level
  );
  logic unused;
  assign unused = &{1'b0, pixel_done, level};

`ifndef SYNTHESIS
  always @(posedge clk)
    if (!rst && result_valid && !always_ready) begin
      $display("espalier error: %m lost a result");
      $finish;
    end
`endif
endmodule
