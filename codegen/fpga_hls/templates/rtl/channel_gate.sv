// The gate of a layer (core/integer.py, GateArithmetic): which GRANULARITY neighbours of the OUTPUTS channels win, KEPT
// groups of them, ties to the lowest, and with HAS_PI a factor for each of their channels (1 unless BOOSTS).
//
// It reads a frame, PIXELS of CHANNELS in beats of LANES, adding up |x - X_ZERO| of each channel, and then, reading
// nothing: makes the means, one a cycle; multiplies them with PHI, one product a cycle; counts for each group those that
// beat it, one comparison a cycle; and gives the winners. With HAS_ACTIVE the frame holds a part of ALL_CHANNELS by a list.
module channel_gate #(
    parameter int PIXELS = 4,
    parameter int CHANNELS = 4,
    parameter int LANES = 1,
    parameter int ALL_CHANNELS = CHANNELS,
    parameter bit HAS_ACTIVE = 0,
    parameter int ACTIVE_SPLIT = 1,
    parameter int X_ZERO = 0,
    parameter int OUTPUTS = 8,
    parameter int GRANULARITY = 2,
    parameter int KEPT = 2,
    parameter bit HAS_PI = 1,
    parameter bit BOOSTS = 1,
    parameter int SUM_BITS = 12,
    parameter int MEAN_FACTOR = 1,
    parameter int MEAN_FACTOR_BITS = 24,
    parameter int MEAN_SHIFT = 24,
    parameter int PI_FACTOR = 1,
    parameter int PI_FACTOR_BITS = 24,
    parameter int PI_SHIFT = 24,
    parameter PHI = "",
    parameter RHO = ""
) (
    input logic clk,
    input logic rst,
    input logic x_valid,
    output logic x_ready,
    input logic [LANES*8-1:0] x_data,
    input logic active_valid,
    output logic active_ready,
    input logic [15:0] active_data,
    output logic winners_valid,
    input logic winners_ready,
    output logic [15:0] winners_data,
    output logic pi_valid,
    input logic pi_ready,
    output logic [7:0] pi_data
);
  localparam int Words = CHANNELS / LANES;
  localparam int Groups = OUTPUTS / GRANULARITY;
  localparam int WordBits = Words > 1 ? $clog2(Words) : 1;
  localparam int LaneBits = LANES > 1 ? $clog2(LANES) : 1;
  localparam int ChannelBits = CHANNELS > 1 ? $clog2(CHANNELS) : 1;
  localparam int AllBits = ALL_CHANNELS > 1 ? $clog2(ALL_CHANNELS) : 1;
  localparam int OutputBits = OUTPUTS > 1 ? $clog2(OUTPUTS) : 1;
  localparam int GroupBits = Groups > 1 ? $clog2(Groups) : 1;
  localparam int PartBits = GRANULARITY > 1 ? $clog2(GRANULARITY) : 1;
  localparam int PhiBits = ALL_CHANNELS * OUTPUTS > 1 ? $clog2(ALL_CHANNELS * OUTPUTS) : 1;
  localparam int MeanBits = SUM_BITS + MEAN_FACTOR_BITS;
  localparam int MeanRounded = MEAN_SHIFT == 0 ? MeanBits : MeanBits > MEAN_SHIFT ? MeanBits - MEAN_SHIFT + 1 : 2;
  localparam int MeanDelay = 8, ProductDelay = 6, RankDelay = 3;

  localparam logic [2:0] Fill = 0, Wait = 1, Means = 2, Predict = 3, Rank = 4, Give = 5;
  logic [2:0] state;

  logic [WordBits-1:0] word;
  logic [(PIXELS > 1 ? $clog2(PIXELS) : 1)-1:0] pixel;
  logic accept, last_word, last_pixel, list_here, list_done;

  assign x_ready = state == Fill;
  assign accept = x_valid && x_ready;
  assign last_word = 32'(word) == Words - 1;
  assign last_pixel = 32'(pixel) == PIXELS - 1;
  always_ff @(posedge clk)
    if (rst) begin
      word  <= '0;
      pixel <= '0;
    end else if (accept) begin
      word <= last_word ? '0 : word + 1'b1;
      if (last_word) pixel <= last_pixel ? '0 : pixel + 1'b1;
    end

  // ---- the means: one channel a cycle, from the sums of the lanes
  logic [WordBits-1:0] mean_word;
  logic [LaneBits-1:0] mean_lane;
  logic asks_mean, last_mean_lane;
  logic [MeanDelay-1:0] mean_valid;
  logic [ChannelBits-1:0] mean_place;
  logic signed [SUM_BITS-1:0] lane_sum[LANES], total;
  logic signed [MeanBits-1:0] mean_product;
  logic signed [MeanRounded-1:0] mean_rounded;
  logic [7:0] mean, means[CHANNELS];
  logic means_end;

  generate
    for (genvar l = 0; l < LANES; l++) begin : g_lane
      logic signed [SUM_BITS-1:0] sums[Words];
      logic signed [8:0] centred;
      logic [8:0] size;
      assign centred = {1'b0, x_data[l*8+:8]} - 9'(X_ZERO);
      assign size = centred < 0 ? -centred : centred;
      always_ff @(posedge clk) if (accept) sums[word] <= (pixel == '0 ? '0 : sums[word]) + SUM_BITS'(size);
      assign lane_sum[l] = sums[mean_word];
    end
  endgenerate

  assign last_mean_lane = 32'(mean_lane) == LANES - 1;
  always_ff @(posedge clk) begin
    total <= lane_sum[mean_lane];
    if (state == Wait) asks_mean <= 1'b1;
    if (state == Means && last_mean_lane && 32'(mean_word) == Words - 1) asks_mean <= 1'b0;
    if (state != Means) begin
      mean_word <= '0;
      mean_lane <= '0;
      mean_place <= '0;
      mean_valid <= '0;
    end else begin
      mean_lane <= last_mean_lane ? '0 : mean_lane + 1'b1;
      if (last_mean_lane) mean_word <= 32'(mean_word) == Words - 1 ? '0 : mean_word + 1'b1;
      mean_valid <= {mean_valid[MeanDelay-2:0], asks_mean};
      if (mean_valid[MeanDelay-1]) mean_place <= mean_place + 1'b1;
    end
    if (mean_valid[MeanDelay-1]) means[mean_place] <= mean;
  end
  assign means_end = mean_valid[MeanDelay-1] && 32'(mean_place) == CHANNELS - 1;

  multiply_wide #(
      .WIDTH(SUM_BITS),
      .FACTOR_BITS(MEAN_FACTOR_BITS)
  ) multiply_mean (
      .clk,
      .value(total),
      .factor(MEAN_FACTOR_BITS'(MEAN_FACTOR)),
      .product(mean_product)
  );
  round_half_even #(
      .WIDTH(MeanBits),
      .SHIFT(MEAN_SHIFT)
  ) round_mean (
      .clk,
      .value(mean_product),
      .rounded(mean_rounded)
  );
  saturate #(
      .WIDTH(MeanRounded)
  ) limit_mean (
      .clk,
      .value(mean_rounded),
      .limited(mean)
  );

  // ---- the saliencies: for each output the products of all channels
  logic [ChannelBits-1:0] channel;
  logic [OutputBits-1:0] out, out_1, out_2;
  logic [PhiBits-1:0] row, row_1, phi_address;
  logic [AllBits-1:0] number, number_1;
  logic asks, last_channel, part_ends, scores_end;
  logic [ProductDelay-1:0] valid, first, last;
  logic [7:0] mean_1, mean_2, mean_3, mean_4, phi;
  logic signed [31:0] rho, rho_1, sum, saliency;
  logic signed [16:0] product;
  logic saliency_valid;
  logic [31:0] scores[Groups], score, next_score;
  logic [PartBits-1:0] part;
  logic [GroupBits-1:0] score_place;

  assign last_channel = 32'(channel) == CHANNELS - 1;
  assign next_score = (part == '0 ? '0 : score) + saliency;
  assign part_ends = saliency_valid && 32'(part) == GRANULARITY - 1;
  assign scores_end = part_ends && 32'(score_place) == Groups - 1;
  always_ff @(posedge clk) begin
    if (state == Means) asks <= 1'b1;
    if (state == Predict && last_channel && 32'(out) == OUTPUTS - 1) asks <= 1'b0;
    if (state != Predict) begin
      channel <= '0;
      out <= '0;
      row <= '0;
      valid <= '0;
      saliency_valid <= 1'b0;
      part <= '0;
      score_place <= '0;
    end else begin
      channel <= last_channel ? '0 : channel + 1'b1;
      if (last_channel) out <= out + 1'b1;
      if (last_channel) row <= row + PhiBits'(ALL_CHANNELS);
      valid <= {valid[ProductDelay-2:0], asks};
      saliency_valid <= valid[ProductDelay-1] && last[ProductDelay-1];
      if (saliency_valid) part <= part_ends ? '0 : part + 1'b1;
      if (part_ends) score_place <= score_place + 1'b1;
    end
    first <= {first[ProductDelay-2:0], channel == '0};
    last <= {last[ProductDelay-2:0], last_channel};
    {number_1, row_1} <= {number, row};
    {out_2, out_1} <= {out_1, out};
    phi_address <= row_1 + PhiBits'(number_1);
    {mean_4, mean_3, mean_2, mean_1} <= {mean_3, mean_2, mean_1, means[channel]};
    product <= $signed(phi) * $signed({1'b0, mean_4});
    rho_1 <= rho;
    if (valid[ProductDelay-2]) sum <= (first[ProductDelay-2] ? rho_1 : sum) + 32'(product);
    saliency <= sum[31] ? '0 : sum;
    if (saliency_valid) score <= next_score;
    if (part_ends) scores[score_place] <= next_score;
  end

  weight_rom #(
      .WIDTH(8),
      .DEPTH(ALL_CHANNELS * OUTPUTS),
      .FILE (PHI)
  ) phi_rom (
      .clk,
      .address(phi_address),
      .word(phi)
  );
  weight_rom #(
      .WIDTH(32),
      .DEPTH(OUTPUTS),
      .FILE (RHO)
  ) rho_rom (
      .clk,
      .address(out_2),
      .word(rho)
  );

  assign list_done = state == Predict && scores_end;
  generate
    if (HAS_ACTIVE) begin : g_active
      channel_list #(
          .COUNT(CHANNELS / ACTIVE_SPLIT),
          .SPLIT(ACTIVE_SPLIT),
          .BITS (AllBits)
      ) list (
          .clk,
          .rst,
          .in_valid(active_valid),
          .in_ready(active_ready),
          .in_data(active_data),
          .here(list_here),
          .done(list_done),
          .place(channel),
          .number
      );
    end else begin : g_all
      logic unused;
      assign unused = &{1'b0, active_valid, active_data, list_done};
      assign active_ready = 1'b0;
      assign list_here = 1'b1;
      assign number = AllBits'(channel);
    end
  endgenerate

  // ---- the ranks: a group wins if fewer than KEPT others beat it
  logic [GroupBits-1:0] mine, other, mine_1, mine_2, mine_3, winners[KEPT];
  logic [(KEPT > 1 ? $clog2(KEPT) : 1)-1:0] winner_place, given;
  logic [31:0] my_score, other_score;
  logic asks_rank, other_is_lower, beats, last_other, ranks_end;
  logic [RankDelay-1:0] rank_valid, rank_last;
  logic [RankDelay-2:0] rank_first;
  logic [GroupBits:0] rank;

  assign last_other = 32'(other) == Groups - 1;
  assign ranks_end = rank_valid[RankDelay-1] && rank_last[RankDelay-1] && 32'(mine_3) == Groups - 1;
  always_ff @(posedge clk) begin
    if (state == Predict) asks_rank <= 1'b1;
    if (state == Rank && last_other && 32'(mine) == Groups - 1) asks_rank <= 1'b0;
    if (state != Rank) begin
      mine <= '0;
      other <= '0;
      rank_valid <= '0;
      winner_place <= '0;
    end else begin
      other <= last_other ? '0 : other + 1'b1;
      if (last_other) mine <= 32'(mine) == Groups - 1 ? '0 : mine + 1'b1;
      rank_valid <= {rank_valid[RankDelay-2:0], asks_rank};
      if (rank_valid[RankDelay-1] && rank_last[RankDelay-1] && 32'(rank) < KEPT) begin
        winners[winner_place] <= mine_3;
        winner_place <= winner_place + 1'b1;
      end
    end
    rank_first <= {rank_first[RankDelay-3:0], other == '0};
    rank_last <= {rank_last[RankDelay-2:0], last_other};
    my_score <= scores[mine];
    other_score <= scores[other];
    other_is_lower <= other < mine;
    {mine_3, mine_2, mine_1} <= {mine_2, mine_1, mine};
    beats <= other_score > my_score || (other_score == my_score && other_is_lower);
    if (rank_valid[1]) rank <= (rank_first[1] ? '0 : rank) + (GroupBits + 1)'(beats);
  end

  // ---- the winners, and their factors
  logic [PartBits-1:0] given_part;
  logic gives, last_given_part, gives_end, winners_room, pi_room;
  logic [15:0] winner;
  assign gives = state == Give && winners_room && pi_room;
  assign last_given_part = !HAS_PI || 32'(given_part) == GRANULARITY - 1;
  assign gives_end = gives && last_given_part && 32'(given) == KEPT - 1;
  always_ff @(posedge clk) begin
    if (state != Give) begin
      given <= '0;
      given_part <= '0;
    end else if (gives) begin
      given_part <= last_given_part ? '0 : given_part + 1'b1;
      if (last_given_part) given <= given + 1'b1;
    end
    winner <= 16'(winners[given]);
  end

  logic [15:0] winner_1;
  always_ff @(posedge clk) winner_1 <= winner;
  result_queue #(
      .WIDTH(16),
      .DELAY(2)
  ) winners_queue (
      .clk,
      .rst,
      .start(gives && given_part == '0),
      .has_room(winners_room),
      .result(winner_1),
      .y_valid(winners_valid),
      .y_ready(winners_ready),
      .y_data(winners_data)
  );
  generate
    if (HAS_PI) begin : g_pi
      logic [7:0] pi;
      if (BOOSTS) begin : g_boost
        localparam int PiBits = 33 + PI_FACTOR_BITS;
        localparam int PiRounded = PI_SHIFT == 0 ? PiBits : PiBits > PI_SHIFT ? PiBits - PI_SHIFT + 1 : 2;
        logic [PartBits-1:0] part_1;
        logic [OutputBits-1:0] place, out_place;
        logic [31:0] saliencies[OUTPUTS];
        logic signed [32:0] picked;
        logic signed [PiBits-1:0] pi_product;
        logic signed [PiRounded-1:0] pi_rounded;
        always_ff @(posedge clk) begin
          if (state != Predict) out_place <= '0;
          else if (saliency_valid) out_place <= out_place + 1'b1;
          if (saliency_valid) saliencies[out_place] <= saliency;
          part_1 <= given_part;
          place  <= OutputBits'(32'(winner) * GRANULARITY) + OutputBits'(part_1);
          picked <= {1'b0, saliencies[place]};
        end
        multiply_wide #(
            .WIDTH(33),
            .FACTOR_BITS(PI_FACTOR_BITS)
        ) multiply_pi (
            .clk,
            .value(picked),
            .factor(PI_FACTOR_BITS'(PI_FACTOR)),
            .product(pi_product)
        );
        round_half_even #(
            .WIDTH(PiBits),
            .SHIFT(PI_SHIFT)
        ) round_pi (
            .clk,
            .value(pi_product),
            .rounded(pi_rounded)
        );
        saturate #(
            .WIDTH(PiRounded)
        ) limit_pi (
            .clk,
            .value(pi_rounded),
            .limited(pi)
        );
      end else begin : g_select
        assign pi = 8'd1;
      end
      result_queue #(
          .WIDTH(8),
          .DELAY(10)
      ) pi_queue (
          .clk,
          .rst,
          .start(gives),
          .has_room(pi_room),
          .result(pi),
          .y_valid(pi_valid),
          .y_ready(pi_ready),
          .y_data(pi_data)
      );
    end else begin : g_no_pi
      logic unused;
      assign unused  = pi_ready;
      assign pi_room = 1'b1;
      assign {pi_valid, pi_data} = '0;
    end
  endgenerate

  always_ff @(posedge clk)
    if (rst) state <= Fill;
    else
      case (state)
        Fill: if (accept && last_word && last_pixel) state <= Wait;
        Wait: if (list_here) state <= Means;
        Means: if (means_end) state <= Predict;
        Predict: if (scores_end) state <= Rank;
        Rank: if (ranks_end) state <= Give;
        default: if (gives_end) state <= Fill;
      endcase

  stage_statistics statistics (
      .clk,
      .rst,
      .busy(accept || state != Fill),
      .starved(state == Fill && !x_valid),
      .blocked(state == Give && !gives)
  );
endmodule
