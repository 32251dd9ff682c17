// From the sums of a group to LANES channels of a beat, one beat a cycle (core/integer.py, LayerArithmetic).
//
// Each beat's constants come from FILE: for each lane the multiplier (FACTOR_BITS), above it the bias (SUM_BITS). With
// PACKED, 2^(WEIGHT_BITS-1) * x_sum is taken off the even sums, see multiply_accumulate. RAW: the sums themselves are the result, of
// RECTIFIED those below 0 are 0.
// HAS_RESIDUAL: t is limited to T_LOW .. T_HIGH (T_BITS of two's complement), multiplied by OWN and added to (residual -
// RESIDUAL_ZERO) * OTHER; `take` asks for a beat of the residual, which must be there. LISTED: the constants are those of
// the group of the number that comes with `done`, of ALL_CHANNELS; HAS_PI: its multipliers times `pi`.
module requantize #(
    parameter int PE = 2,
    parameter int LANES = 1,
    parameter int CHANNELS = 2,
    parameter int SUM_BITS = 24,
    parameter bit PACKED = 0,
    parameter int WEIGHT_BITS = 8,
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
    parameter bit LISTED = 0,
    parameter bit HAS_PI = 0,
    parameter int ALL_CHANNELS = CHANNELS,
    parameter FILE = "",
    localparam int AllGroups = ALL_CHANNELS / PE,
    localparam int GroupBits = AllGroups > 1 ? $clog2(AllGroups) : 1
) (
    input logic clk,
    input logic rst,
    input logic done,
    input logic [PE*SUM_BITS-1:0] sums,
    input logic [SUM_BITS-1:0] x_sum,
    input logic [GroupBits-1:0] group_number,
    input logic [PE*8-1:0] group_pi,
    output logic take,
    input logic [LANES*8-1:0] residual,
    output logic out_valid,
    output logic [LANES*OUT_BITS-1:0] out_data
);
  localparam int Beats = PE / LANES;
  localparam int Words = ALL_CHANNELS / LANES;
  localparam int PlaceBits = Words > 1 ? $clog2(Words) : 1;
  localparam int BoostedBits = FACTOR_BITS + (HAS_PI ? 8 : 0);
  localparam int ProductBits = SUM_BITS + BoostedBits;
  localparam int RoundedBits = SHIFT == 0 ? ProductBits : ProductBits > SHIFT ? ProductBits - SHIFT + 1 : 2;
  localparam int Delay = RAW ? 4 : HAS_RESIDUAL ? 18 : HAS_PI ? 12 : 10;
  localparam int Taken = 9;
  localparam int OffsetPlace = PACKED ? WEIGHT_BITS - 1 : 7;

  logic [PE*SUM_BITS-1:0] waiting;
  logic [(Beats > 1 ? $clog2(Beats) : 1)-1:0] beat;
  logic [PlaceBits-1:0] place;
  logic [LANES*(SUM_BITS+FACTOR_BITS)-1:0] constants;
  logic [SUM_BITS-OffsetPlace-1:0] offset, offset_1;  // the second is that of `picked`
  logic [Delay-1:0] valid;
  logic serving, unused_inputs;
  assign unused_inputs = &{1'b0, x_sum, group_number, group_pi};

  always_ff @(posedge clk) begin
    if (done) begin
      waiting <= sums;
      offset  <= x_sum[SUM_BITS-OffsetPlace-1:0];
    end else waiting <= waiting >> (LANES * SUM_BITS);
    offset_1 <= offset;
    if (rst) begin
      serving <= 1'b0;
      beat <= '0;
      place <= '0;
      valid <= '0;
    end else begin
      serving <= done || (serving && 32'(beat) != Beats - 1);
      beat <= serving && 32'(beat) != Beats - 1 ? beat + 1'b1 : '0;
      if (LISTED && done) place <= PlaceBits'(32'(group_number) * Beats);
      else if (serving) place <= 32'(place) == Words - 1 ? '0 : place + 1'b1;
      valid <= {valid[Delay-2:0], serving};
    end
  end
  assign out_valid = valid[Delay-1];

  weight_rom #(
      .WIDTH(LANES * (SUM_BITS + FACTOR_BITS)),
      .DEPTH(Words),
      .FILE (FILE)
  ) rom (
      .clk,
      .address(place),
      .word(constants)
  );

  generate
    if (HAS_RESIDUAL) begin : g_take
      assign take = valid[Taken-1];
    end else begin : g_keep
      logic unused;
      assign take = 1'b0;
      assign unused = &{1'b0, residual};
    end

    if (HAS_PI) begin : g_pi
      logic [PE*8-1:0] waiting_pi;
      logic [LANES*8-1:0] pi_1, pi_2, pi_3;  // the last is that of `factor`
      always_ff @(posedge clk) begin
        waiting_pi <= done ? group_pi : waiting_pi >> (LANES * 8);
        {pi_3, pi_2, pi_1} <= {pi_2, pi_1, waiting_pi[LANES*8-1:0]};
      end
    end

    for (genvar l = 0; l < LANES; l++) begin : g_lane
      logic signed [SUM_BITS-1:0] picked, corrected, sum;
      logic [FACTOR_BITS-1:0] factor;
      logic is_low, picked_low;
      // With one beat's lanes even, a lane is always even or odd; with an odd number it changes from beat to beat.
      assign is_low = PACKED && !((l % 2 == 1) ^ (LANES % 2 == 1 && beat[0])) && (PE % 2 == 0 || 32'(beat) * LANES + l != PE - 1);
      always_ff @(posedge clk) begin
        picked <= waiting[l*SUM_BITS+:SUM_BITS];
        picked_low <= is_low;
        corrected <= picked_low ? picked - {offset_1, {OffsetPlace{1'b0}}} : picked;
        sum <= corrected + constants[l*(SUM_BITS+FACTOR_BITS)+FACTOR_BITS+:SUM_BITS];
        factor <= constants[l*(SUM_BITS+FACTOR_BITS)+:FACTOR_BITS];
      end
      if (RAW) begin : g_raw
        logic unused;
        assign unused = &{1'b0, factor};
        always_ff @(posedge clk) out_data[l*OUT_BITS+:OUT_BITS] <= RECTIFIED && sum < 0 ? '0 : OUT_BITS'(sum);
      end else begin : g_requantized
        logic signed [ProductBits-1:0] product;
        logic signed [RoundedBits-1:0] rounded;
        logic signed [SUM_BITS-1:0] boosted_sum;
        logic [BoostedBits-1:0] boosted;
        if (HAS_PI) begin : g_boost
          logic signed [SUM_BITS-1:0] sum_1;
          logic [BoostedBits-1:0] boosted_1;
          always_ff @(posedge clk) begin
            boosted_1 <= factor * g_pi.pi_3[l*8+:8];
            {boosted, boosted_sum} <= {boosted_1, sum_1};
            sum_1 <= sum;
          end
        end else begin : g_no_boost
          assign {boosted, boosted_sum} = {factor, sum};
        end
        multiply_wide #(
            .WIDTH(SUM_BITS),
            .FACTOR_BITS(BoostedBits)
        ) multiply (
            .clk,
            .value(boosted_sum),
            .factor(boosted),
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
        if (HAS_RESIDUAL) begin : g_joined
          logic signed [T_BITS-1:0] t;
          logic signed [T_BITS+FACTOR_BITS-1:0] own;
          logic signed [FACTOR_BITS+8:0] other;
          logic signed [8:0] difference;
          localparam int JoinedBits = (T_BITS > 9 ? T_BITS : 9) + FACTOR_BITS + 1;
          localparam int LastBits = RESIDUAL_SHIFT == 0 ? JoinedBits : JoinedBits > RESIDUAL_SHIFT ? JoinedBits - RESIDUAL_SHIFT + 1 : 2;
          logic signed [JoinedBits-1:0] joined;
          logic signed [LastBits-1:0] total;
          saturate #(
              .WIDTH(RoundedBits),
              .OUT_BITS(T_BITS),
              .LOW(T_LOW),
              .HIGH(T_HIGH)
          ) limit (
              .clk,
              .value(rounded),
              .limited(t)
          );
          always_ff @(posedge clk) begin
            difference <= {1'b0, residual[l*8+:8]} - 9'(RESIDUAL_ZERO);
            joined <= JoinedBits'(own) + JoinedBits'(other);
          end
          multiply_wide #(
              .WIDTH(T_BITS),
              .FACTOR_BITS(FACTOR_BITS)
          ) multiply_own (
              .clk,
              .value(t),
              .factor(FACTOR_BITS'(OWN)),
              .product(own)
          );
          multiply_wide #(
              .WIDTH(9),
              .FACTOR_BITS(FACTOR_BITS)
          ) multiply_other (
              .clk,
              .value(difference),
              .factor(FACTOR_BITS'(OTHER)),
              .product(other)
          );
          round_half_even #(
              .WIDTH(JoinedBits),
              .SHIFT(RESIDUAL_SHIFT)
          ) round_joined (
              .clk,
              .value(joined),
              .rounded(total)
          );
          saturate #(
              .WIDTH(LastBits),
              .ZERO(ZERO),
              .LOW(LOW),
              .HIGH(HIGH)
          ) limit_joined (
              .clk,
              .value(total),
              .limited(out_data[l*8+:8])
          );
        end else begin : g_alone
          saturate #(
              .WIDTH(RoundedBits),
              .ZERO(ZERO),
              .LOW(LOW),
              .HIGH(HIGH)
          ) limit (
              .clk,
              .value(rounded),
              .limited(out_data[l*8+:8])
          );
        end
      end
    end
  endgenerate
endmodule
