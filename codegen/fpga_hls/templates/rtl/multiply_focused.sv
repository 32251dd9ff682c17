// PE sums of products with recentralised shifts, mean + step * s * 2^e of one of two components, given OUT_LANES at a
// time (Zhao et al., Focused Quantization for Sparse CNNs, NeurIPS 2019, section 3.1).
//
// For each component the inputs are added up for its mean and, shifted, for its step. Both are multiplied once for each
// sum, as slowly as sums are read: the first OUT_LANES come, with `done`, five cycles after those of multiply_accumulate
// would, the others in the cycles after that.
//
// A code: bits 1 .. 0 are e, at most TOP; 3 stands for no shift. Bit 2 is the sign s, bit 3 the component. With e = 3 the
// weight is the mean itself or, where the sign is set, 0. Negative numbers come out 1 too small, their bits inverted: each
// negative weight makes its sum too small by its component's step. Inputs and order of weights: see multiply_accumulate.
module multiply_focused #(
    parameter int PE = 2,
    parameter int TAPS = 1,
    parameter int LANES = 2,
    parameter bit OWN_LANE = 0,
    parameter int OUT_LANES = 1,
    parameter int SUM_BITS = 24,
    parameter int CENTRE_BITS = 14,
    parameter int SHIFTED_BITS = 16,
    parameter int TOP = 2,
    parameter int MEAN_0 = -20,
    parameter int STEP_0 = 2,
    parameter int MEAN_1 = 9,
    parameter int STEP_1 = 1,
    localparam int Terms = OWN_LANE ? TAPS : TAPS * LANES
) (
    input logic clk,
    input logic rst,
    input logic x_valid,
    input logic x_first,
    input logic x_last,
    input logic [TAPS*LANES*8-1:0] x_data,
    input logic [PE*Terms*4-1:0] weights,
    output logic done,
    output logic [OUT_LANES*SUM_BITS-1:0] sums
);
  localparam int Levels = $clog2(Terms);
  localparam int Delay = 2 + Levels;
  localparam int Beats = PE / OUT_LANES;
  localparam int ShiftBits = 9 + TOP;
  localparam int Bits = 2 * (CENTRE_BITS + SHIFTED_BITS);  // of the four parts of a sum

  logic [Delay-1:0] valid, first, last;
  logic complete;
  logic [TAPS*LANES*8-1:0] x_1;
  always_ff @(posedge clk) begin
    if (rst) valid <= '0;
    else valid <= Delay'({valid, x_valid});
    first <= Delay'({first, x_first});
    last <= Delay'({last, x_last});
    complete <= !rst && valid[Delay-1] && last[Delay-1];
    x_1 <= x_data;
  end

  logic [PE*Bits-1:0] parts, waiting;
  generate
    for (genvar p = 0; p < PE; p++) begin : g_sum
      for (genvar c = 0; c < 2; c++) begin : g_component
        logic [Terms*9-1:0] centres;
        logic [Terms*ShiftBits-1:0] shifts;
        logic signed [Levels+8:0] centre;
        logic signed [ShiftBits+Levels-1:0] shifted;
        logic signed [CENTRE_BITS-1:0] centre_total;
        logic signed [SHIFTED_BITS-1:0] shifted_total;
        logic unused;
        assign unused = &{1'b0, centre, shifted};
        adder_tree #(
            .COUNT(Terms),
            .WIDTH(9)
        ) centre_tree (
            .clk,
            .terms(centres),
            .sum(centre)
        );
        adder_tree #(
            .COUNT(Terms),
            .WIDTH(ShiftBits)
        ) shifted_tree (
            .clk,
            .terms(shifts),
            .sum(shifted)
        );
        always_ff @(posedge clk)
          if (valid[Delay-1]) begin
            centre_total  <= (first[Delay-1] ? '0 : centre_total) + CENTRE_BITS'(centre);
            shifted_total <= (first[Delay-1] ? '0 : shifted_total) + SHIFTED_BITS'(shifted);
          end
        assign parts[p*Bits+c*(Bits/2)+:Bits/2] = {shifted_total, centre_total};
      end
      for (genvar i = 0; i < Terms; i++) begin : g_term
        localparam int Place = (OWN_LANE ? i * LANES + p : i) * 8;
        logic [3:0] code;
        logic [7:0] x;
        logic [ShiftBits-1:0] size, shifted;
        logic component, is_mean, is_zero;
        assign code = weights[(p*Terms+i)*4+:4];
        assign x = x_data[Place+:8];
        assign size = TOP > 1 && code[1] ? ShiftBits'({x, 2'b0}) : TOP > 0 && code[0] ? ShiftBits'({x, 1'b0}) : ShiftBits'(x);
        always_ff @(posedge clk) begin
          shifted <= size ^ {ShiftBits{code[2]}};
          component <= code[3];
          is_mean <= code[1:0] == 2'd3;
          is_zero <= code[2:0] == 3'd7;
        end
        for (genvar c = 0; c < 2; c++) begin : g_component
          always_ff @(posedge clk) begin
            if (is_zero || component != 1'(c)) g_sum[p].g_component[c].centres[i*9+:9] <= '0;
            else g_sum[p].g_component[c].centres[i*9+:9] <= {1'b0, x_1[Place+:8]};
            if (is_mean || component != 1'(c)) g_sum[p].g_component[c].shifts[i*ShiftBits+:ShiftBits] <= '0;
            else g_sum[p].g_component[c].shifts[i*ShiftBits+:ShiftBits] <= shifted;
          end
        end
      end
    end
  endgenerate

  // The parts wait and are multiplied, those of OUT_LANES sums a cycle.
  logic [2:0] stages;  // valid, behind `waiting`
  logic [(Beats > 1 ? $clog2(Beats) : 1)-1:0] beat;
  logic serving;
  always_ff @(posedge clk) begin
    waiting <= complete ? parts : waiting >> (OUT_LANES * Bits);
    if (rst) {done, stages, serving, beat} <= '0;
    else begin
      serving <= complete || (serving && 32'(beat) != Beats - 1);
      beat <= serving && 32'(beat) != Beats - 1 ? beat + 1'b1 : '0;
      {done, stages} <= {stages, serving};
    end
  end
  generate
    for (genvar l = 0; l < OUT_LANES; l++) begin : g_lane
      logic [8*SUM_BITS-1:0] terms;
      logic signed [SUM_BITS+2:0] sum;
      logic unused;
      assign unused = &{1'b0, sum[SUM_BITS+2:SUM_BITS]};
      for (genvar c = 0; c < 2; c++) begin : g_component
        localparam int Place = l * Bits + c * (Bits / 2);
        constant_terms #(
            .IN_BITS(CENTRE_BITS),
            .OUT_BITS(SUM_BITS),
            .FACTOR(c == 0 ? MEAN_0 : MEAN_1)
        ) centre (
            .clk,
            .value(waiting[Place+:CENTRE_BITS]),
            .terms(terms[c*4*SUM_BITS+:2*SUM_BITS])
        );
        constant_terms #(
            .IN_BITS(SHIFTED_BITS),
            .OUT_BITS(SUM_BITS),
            .FACTOR(c == 0 ? STEP_0 : STEP_1)
        ) shifted (
            .clk,
            .value(waiting[Place+CENTRE_BITS+:SHIFTED_BITS]),
            .terms(terms[(c*4+2)*SUM_BITS+:2*SUM_BITS])
        );
      end
      adder_tree #(
          .COUNT(8),
          .WIDTH(SUM_BITS)
      ) tree (
          .clk,
          .terms,
          .sum
      );
      assign sums[l*SUM_BITS+:SUM_BITS] = sum[SUM_BITS-1:0];
    end
  endgenerate
endmodule
