// A convolution, depthwise convolution or dense product with its requantization and its residual.
//
// Parameters: see window_reader, multiply_accumulate (KIND 3: multiply_focused) and requantize. LANES: results in a cycle.
// FIFO_DEPTH: beats of the result that wait for the next stage; a group starts only if all its beats will find room, so
// that nothing behind stops. With lists, CHANNELS_IN and CHANNELS_OUT are those that the streams carry, of ALL_IN and
// ALL_OUT, see listed_index.
//
// With PIXELS above 1 a beat has so many neighbouring pixels, with all channels of each, and OUT_PIXELS output pixels are
// made at a time by weights that are read once. A group is PE output channels of all of them; where these are several, PE
// is CHANNELS_OUT, so that results leave pixel after pixel. The window reader sees beats as pixels: WIDTH, KERNEL_W,
// STRIDE_W, PAD_LEFT and OUT_WIDTH are in beats, see also pixel_windows; TAPS are whole rows of COLUMNS pixels. There are
// no lists then, and KIND is not 3.
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
    parameter int PIXELS = 1,
    parameter int OUT_PIXELS = 1,
    parameter int FIRST = 0,
    parameter int STEP = 1,
    parameter int COLUMNS = 1,
    parameter int SIMD = 1,
    parameter int PE = 2,
    parameter int KIND = 0,
    parameter bit PACK = 1,
    parameter int WEIGHT_BITS = 8,
    parameter int SUM_BITS = 24,
    parameter int LANES = 1,
    parameter int FIFO_DEPTH = 16,
    parameter bit RAW = 0,
    parameter bit RECTIFIED = 0,
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
    parameter bit HAS_ACTIVE = 0,
    parameter bit HAS_WINNERS = 0,
    parameter bit HAS_PI = 0,
    parameter int ACTIVE_SPLIT = 1,
    parameter int WINNERS_SPLIT = 1,
    parameter int ALL_IN = CHANNELS_IN,
    parameter int ALL_OUT = CHANNELS_OUT,
    parameter int CENTRE_BITS = 14,
    parameter int SHIFTED_BITS = 16,
    parameter int TOP = 2,
    parameter int MEAN_0 = 0,
    parameter int STEP_0 = 1,
    parameter int MEAN_1 = 0,
    parameter int STEP_1 = 1,
    parameter WEIGHTS = "",
    parameter CONSTANTS = "",
    localparam int InLanes = DEPTHWISE ? PE : SIMD  // of a pixel
) (
    input logic clk,
    input logic rst,
    input logic x_valid,
    output logic x_ready,
    input logic [PIXELS*InLanes*8-1:0] x_data,
    input logic residual_valid,
    output logic residual_ready,
    input logic [LANES*8-1:0] residual_data,
    input logic active_valid,
    output logic active_ready,
    input logic [15:0] active_data,
    input logic winners_valid,
    output logic winners_ready,
    input logic [15:0] winners_data,
    input logic pi_valid,
    output logic pi_ready,
    input logic [PE*8-1:0] pi_data,
    output logic y_valid,
    input logic y_ready,
    output logic [LANES*OUT_BITS-1:0] y_data
);
  localparam int Words = CHANNELS_IN / InLanes;
  localparam int Groups = CHANNELS_OUT / PE;
  localparam int Terms = DEPTHWISE ? TAPS : TAPS * SIMD;
  localparam int TapRows = TAPS / COLUMNS;
  localparam int RowBeats = PIXELS > 1 ? KERNEL_W : 1;
  localparam int BeatTaps = TapRows * RowBeats;  // words of the line buffer in a cycle
  localparam int Steps = KERNEL_H * KERNEL_W / BeatTaps;
  localparam int Indices = Groups * Steps * (DEPTHWISE ? 1 : Words);  // of a window
  localparam int AllGroups = ALL_OUT / PE;
  localparam int AllWords = ALL_IN / InLanes;
  localparam int Depth = AllGroups * Steps * (DEPTHWISE ? 1 : AllWords);
  localparam int Sums = OUT_PIXELS * PE;
  localparam int Together = KIND == 3 ? LANES : Sums;  // sums that come to the requantizer at once
  localparam int GroupBits = OUT_PIXELS * ALL_OUT / Together > 1 ? $clog2(OUT_PIXELS * ALL_OUT / Together) : 1;
  localparam int Beats = Sums / LANES;
  localparam int CreditBits = $clog2(FIFO_DEPTH + 1);
  localparam bit FarWeights = !PACK && Depth > 64;  // blocks of an ECP5 are slow, and lie between the rows of multipliers
  localparam bit Packed = KIND == 0 && PACK && !DEPTHWISE && PE > 1;

  logic [CreditBits-1:0] credit;  // beats of the output FIFO that no group has claimed
  logic credit_here, popped, room, residual_here, lists_here, start, take, result_valid, done, window_valid, window_first, window_last;
  logic [(Indices > 1 ? $clog2(Indices) : 1)-1:0] index;
  logic [(Depth > 1 ? $clog2(Depth) : 1)-1:0] address;
  logic [GroupBits-1:0] done_number;
  logic [Together*8-1:0] done_pi;
  logic [BeatTaps*PIXELS*InLanes*8-1:0] beats;
  logic [OUT_PIXELS*TAPS*InLanes*8-1:0] windows;
  logic [PE*Terms*WEIGHT_BITS-1:0] weights;
  logic [Together*SUM_BITS-1:0] sums;
  logic [SUM_BITS-1:0] x_sum;
  logic [LANES*8-1:0] residual;
  logic [LANES*OUT_BITS-1:0] result;

  // level + one_more >= wanted, without the sum: `start` and `popped` come late.
  function automatic logic enough(input logic [CreditBits-1:0] level, input logic one_more, input int wanted);
    enough = level >= CreditBits'(wanted) || (one_more && level == CreditBits'(wanted - 1));
  endfunction
  assign popped = y_valid && y_ready;
  assign room = credit_here && residual_here && lists_here;
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
      .WORDS(Words),
      .LANES(PIXELS * InLanes),
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
      .x_data(beats)
  );

  pixel_windows #(
      .ROWS(TapRows),
      .BEATS(RowBeats),
      .PIXELS(PIXELS),
      .CHANNELS(InLanes),
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
      .DEPTH(Depth),
      .IN_FRONT(!FarWeights),
      .BEHIND(FarWeights),
      .FILE(WEIGHTS)
  ) rom (
      .clk,
      .address,
      .word(weights)
  );

  generate
    if (KIND == 3) begin : g_focused
      assign x_sum = '0;
      multiply_focused #(
          .PE(PE),
          .TAPS(TAPS),
          .LANES(InLanes),
          .OWN_LANE(DEPTHWISE),
          .OUT_LANES(LANES),
          .SUM_BITS(SUM_BITS),
          .CENTRE_BITS(CENTRE_BITS),
          .SHIFTED_BITS(SHIFTED_BITS),
          .TOP(TOP),
          .MEAN_0(MEAN_0),
          .STEP_0(STEP_0),
          .MEAN_1(MEAN_1),
          .STEP_1(STEP_1)
      ) products (
          .clk,
          .rst,
          .x_valid(window_valid),
          .x_first(window_first),
          .x_last(window_last),
          .x_data(windows),
          .weights,
          .done,
          .sums
      );
    end else begin : g_products
      logic [OUT_PIXELS-1:0] ends;
      logic [Sums*SUM_BITS-1:0] made;
      logic [OUT_PIXELS*SUM_BITS-1:0] x_sums;
      for (genvar q = 0; q < OUT_PIXELS; q++) begin : g_pixel
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
            .x_data(windows[q*TAPS*InLanes*8+:TAPS*InLanes*8]),
            .weights,
            .done(ends[q]),
            .sums(made[q*PE*SUM_BITS+:PE*SUM_BITS]),
            .x_sum(x_sums[q*SUM_BITS+:SUM_BITS])
        );
      end
      if (PIXELS == 1) begin : g_one
        assign done  = ends;
        assign sums  = made;
        assign x_sum = x_sums;
      end else begin : g_corrected
        // Each pixel has an x_sum of its own: what it corrects is corrected here.
        logic unused;
        assign unused = &{1'b0, ends, x_sums};
        assign x_sum  = '0;
        always_ff @(posedge clk) done <= !rst && ends[0];
        for (genvar s = 0; s < Sums; s++) begin : g_sum
          logic [SUM_BITS-1:0] sum;
          assign sum = made[s*SUM_BITS+:SUM_BITS];
          if (Packed && s % PE % 2 == 0 && s % PE + 1 < PE) begin : g_low
            always_ff @(posedge clk) sums[s*SUM_BITS+:SUM_BITS] <= sum - (x_sums[s/PE*SUM_BITS+:SUM_BITS] << (WEIGHT_BITS - 1));
          end else begin : g_as_it_is
            always_ff @(posedge clk) sums[s*SUM_BITS+:SUM_BITS] <= sum;
          end
        end
      end
    end
  endgenerate

  requantize #(
      .PE(Together),
      .LANES(LANES),
      .CHANNELS(OUT_PIXELS * CHANNELS_OUT),
      .SUM_BITS(SUM_BITS),
      .PACKED(Packed && PIXELS == 1),
      .WEIGHT_BITS(WEIGHT_BITS),
      .RAW(RAW),
      .RECTIFIED(RECTIFIED),
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
      .LISTED(HAS_WINNERS),
      .HAS_PI(HAS_PI),
      .ALL_CHANNELS(OUT_PIXELS * ALL_OUT),
      .FILE(CONSTANTS)
  ) requantizer (
      .clk,
      .rst,
      .done,
      .sums,
      .x_sum,
      .group_number(done_number),
      .group_pi(done_pi),
      .take,
      .residual,
      .out_valid(result_valid),
      .out_data(result)
  );

  generate
    if (HAS_ACTIVE || HAS_WINNERS) begin : g_listed
      logic [GroupBits-1:0] number;
      logic [PE*8-1:0] pi;
      logic unused;
      assign unused = &{1'b0, index};
      listed_index #(
          .PIXELS(OUT_HEIGHT * OUT_WIDTH),
          .GROUPS(Groups),
          .STEPS(Steps),
          .WORDS(Words),
          .ALL_GROUPS(AllGroups),
          .ALL_WORDS(AllWords),
          .PE(PE),
          .HAS_ACTIVE(HAS_ACTIVE),
          .HAS_WINNERS(HAS_WINNERS),
          .HAS_PI(HAS_PI),
          .ACTIVE_SPLIT(ACTIVE_SPLIT),
          .WINNERS_SPLIT(WINNERS_SPLIT)
      ) lists (
          .clk,
          .rst,
          .active_valid,
          .active_ready,
          .active_data,
          .winners_valid,
          .winners_ready,
          .winners_data,
          .pi_valid,
          .pi_ready,
          .pi_data,
          .here(lists_here),
          .start,
          .group_number(number),
          .group_pi(pi),
          .index(address)
      );
      if (HAS_WINNERS) begin : g_under_way
        // Groups that have started and are not done: fewer than have claimed their place among the results.
        localparam int GroupsUnderWay = FIFO_DEPTH / Beats > 1 ? FIFO_DEPTH / Beats : 2;
        logic [$clog2(GroupsUnderWay+1)-1:0] groups_level;
        logic groups_ready, groups_here, unused_level;
        stream_fifo #(
            .WIDTH(PE * 8 + GroupBits),
            .DEPTH(GroupsUnderWay)
        ) groups (
            .clk,
            .rst,
            .in_valid(start),
            .in_ready(groups_ready),
            .in_data({pi, number}),
            .out_valid(groups_here),
            .out_ready(done),
            .out_data({done_pi, done_number}),
            .level(groups_level)
        );
        assign unused_level = &{1'b0, groups_ready, groups_here, groups_level};
      end else begin : g_all_groups
        logic unused_group;
        assign unused_group = &{1'b0, number, pi};
        assign {done_number, done_pi} = '0;
      end
    end else begin : g_all_channels
      logic unused;
      assign lists_here = 1'b1;
      assign address = index;
      assign {active_ready, winners_ready, pi_ready} = '0;
      assign {done_number, done_pi} = '0;
      assign unused = &{1'b0, active_valid, active_data, winners_valid, winners_data, pi_valid, pi_data};
    end
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
