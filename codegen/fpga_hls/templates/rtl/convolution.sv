// A convolution, depthwise convolution or dense product with its requantization and its residual.
//
// Parameters: see window_reader (X_*: of the input), multiply_accumulate and requantize. FIFO_DEPTH: beats of the result
// that wait for the next stage; a group starts only if all its beats will find room, so that nothing behind stops.
module convolution #(
    parameter int HEIGHT = 8,
    parameter int WIDTH = 8,
    parameter int CHANNELS_IN = 2,
    parameter int KERNEL_H = 3,
    parameter int KERNEL_W = 3,
    parameter int STRIDE_H = 1,
    parameter int STRIDE_W = 1,
    parameter int PAD_TOP = 1,
    parameter int PAD_LEFT = 1,
    parameter int PAD_VALUE = 0,
    parameter int OUT_HEIGHT = 8,
    parameter int OUT_WIDTH = 8,
    parameter int ROWS = 4,
    parameter int CHANNELS_OUT = 2,
    parameter bit DEPTHWISE = 0,
    parameter int TAPS = 1,
    parameter int SIMD = 1,
    parameter int PE = 2,
    parameter int KIND = 0,
    parameter bit PACK = 1,
    parameter int WEIGHT_BITS = 8,
    parameter int SUM_BITS = 24,
    parameter int LANES = 1,
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
    parameter CONSTANTS = "",
    localparam int InLanes = DEPTHWISE ? PE : SIMD
) (
    input logic clk,
    input logic rst,
    input logic x_valid,
    output logic x_ready,
    input logic [InLanes*8-1:0] x_data,
    input logic residual_valid,
    output logic residual_ready,
    input logic [LANES*8-1:0] residual_data,
    output logic y_valid,
    input logic y_ready,
    output logic [LANES*OUT_BITS-1:0] y_data
);
  localparam int Words = CHANNELS_IN / InLanes;
  localparam int Groups = CHANNELS_OUT / PE;
  localparam int Terms = DEPTHWISE ? TAPS : TAPS * SIMD;
  localparam int Depth = Groups * (KERNEL_H * KERNEL_W / TAPS) * (DEPTHWISE ? 1 : Words);
  localparam int Beats = PE / LANES;
  localparam int CreditBits = $clog2(FIFO_DEPTH + 1);
  localparam bit Packed = KIND == 0 && PACK && !DEPTHWISE && PE > 1;

  logic [CreditBits-1:0] credit;  // beats of the output FIFO that no group has claimed
  logic credit_here, popped, room, residual_here, start, take, result_valid, done, window_valid, window_first, window_last;
  logic [(Depth > 1 ? $clog2(Depth) : 1)-1:0] index;
  logic [TAPS*InLanes*8-1:0] window;
  logic [PE*Terms*WEIGHT_BITS-1:0] weights;
  logic [PE*SUM_BITS-1:0] sums;
  logic [SUM_BITS-1:0] x_sum;
  logic [LANES*8-1:0] residual;
  logic [LANES*OUT_BITS-1:0] result;

  assign popped = y_valid && y_ready;
  assign room = credit_here && residual_here;
  always_ff @(posedge clk)
    if (rst) begin
      credit <= CreditBits'(FIFO_DEPTH);
      credit_here <= 1'b0;
    end else begin
      credit <= credit - (start ? CreditBits'(Beats) : '0) + CreditBits'(popped);
      credit_here <= credit + CreditBits'(popped) >= (start ? CreditBits'(2 * Beats) : CreditBits'(Beats));
    end

  window_reader #(
      .HEIGHT(HEIGHT),
      .WIDTH(WIDTH),
      .WORDS(Words),
      .LANES(InLanes),
      .KERNEL_H(KERNEL_H),
      .KERNEL_W(KERNEL_W),
      .STRIDE_H(STRIDE_H),
      .STRIDE_W(STRIDE_W),
      .PAD_TOP(PAD_TOP),
      .PAD_LEFT(PAD_LEFT),
      .OUT_HEIGHT(OUT_HEIGHT),
      .OUT_WIDTH(OUT_WIDTH),
      .ROWS(ROWS),
      .TAPS(TAPS),
      .GROUPS(Groups),
      .OWN_WORD(DEPTHWISE),
      .PAD_VALUE(PAD_VALUE)
  ) reader (
      .clk,
      .rst,
      .in_valid(x_valid),
      .in_ready(x_ready),
      .in_data(x_data),
      .room,
      .start,
      .index,
      .x_valid(window_valid),
      .x_first(window_first),
      .x_last(window_last),
      .x_data(window)
  );

  weight_rom #(
      .WIDTH(PE * Terms * WEIGHT_BITS),
      .DEPTH(Depth),
      .FILE (WEIGHTS)
  ) rom (
      .clk,
      .address(index),
      .word(weights)
  );

  multiply_accumulate #(
      .KIND(KIND),
      .PACK(PACK),
      .PE(PE),
      .TAPS(TAPS),
      .LANES(InLanes),
      .OWN_LANE(DEPTHWISE),
      .WEIGHT_BITS(WEIGHT_BITS),
      .SUM_BITS(SUM_BITS)
  ) products (
      .clk,
      .rst,
      .x_valid(window_valid),
      .x_first(window_first),
      .x_last(window_last),
      .x_data(window),
      .weights,
      .done,
      .sums,
      .x_sum
  );

  requantize #(
      .PE(PE),
      .LANES(LANES),
      .CHANNELS(CHANNELS_OUT),
      .SUM_BITS(SUM_BITS),
      .PACKED(Packed),
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
      .x_sum,
      .take,
      .residual,
      .out_valid(result_valid),
      .out_data(result)
  );

  generate
    if (HAS_RESIDUAL) begin : g_residual
      logic [CreditBits-1:0] here, level;  // beats of the residual that no group has claimed, and all
      logic came, waits, unused;
      assign came = residual_valid && residual_ready;
      always_ff @(posedge clk)
        if (rst) begin
          here <= '0;
          residual_here <= 1'b0;
        end else begin
          here <= here - (start ? CreditBits'(Beats) : '0) + CreditBits'(came);
          residual_here <= here + CreditBits'(came) >= (start ? CreditBits'(2 * Beats) : CreditBits'(Beats));
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
          .level
      );
      assign unused = &{1'b0, waits, level};
    end else begin : g_no_residual
      logic unused;
      assign residual_here = 1'b1;
      assign residual_ready = 1'b0;
      assign residual = '0;
      assign unused = &{1'b0, residual_valid, residual_data, take};
    end
  endgenerate

  logic always_ready, unused;
  logic [CreditBits-1:0] level;
  assign unused = &{1'b0, always_ready, level};
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

`ifndef SYNTHESIS
  always @(posedge clk)
    if (!rst && result_valid && !always_ready) begin
      $display("espalier error: %m lost a result");
      $finish;
    end
`endif
endmodule
