// PE sums of products, each over TAPS * LANES products a cycle (of OWN_LANE over TAPS: sum p then reads lane p only).
//
// KIND 0: products in DSP blocks, with PACK two in one for the sums 2j and 2j+1. The even sums come out 2^(WEIGHT_BITS+7)
// too small for each product, and 2^(WEIGHT_BITS-1) times the sum of all x too large: x_sum is that sum. KIND 1: products in
// look-up tables. KIND 2: shifts, KIND 4: signs. The weight of sum p, tap t, lane l stands at ((p * TAPS + t) * LANES + l) * WEIGHT_BITS (OWN_LANE:
// (p * TAPS + t) * WEIGHT_BITS). `done` marks the cycle in which `sums` holds those of a group.
module multiply_accumulate #(
    parameter int KIND = 0,
    parameter bit PACK = 1,
    parameter int PE = 2,
    parameter int TAPS = 1,
    parameter int LANES = 2,
    parameter bit OWN_LANE = 0,
    parameter int WEIGHT_BITS = 8,
    parameter int SUM_BITS = 24,
    localparam int Terms = OWN_LANE ? TAPS : TAPS * LANES
) (
    input logic clk,
    input logic rst,
    input logic x_valid,
    input logic x_first,
    input logic x_last,
    input logic [TAPS*LANES*8-1:0] x_data,
    input logic [PE*Terms*WEIGHT_BITS-1:0] weights,
    output logic done,
    output logic [PE*SUM_BITS-1:0] sums,
    output logic [SUM_BITS-1:0] x_sum
);
  localparam bit Packed = KIND == 0 && PACK && !OWN_LANE && PE > 1;
  localparam int Levels = $clog2(Terms);
  localparam int ProductBits = KIND == 2 ? 15 : WEIGHT_BITS + 8;
  localparam int Delay = 2 + Levels;

  logic [Delay-1:0] valid, first, last;
  always_ff @(posedge clk) begin
    if (rst) valid <= '0;
    else valid <= Delay'({valid, x_valid});
    first <= Delay'({first, x_first});
    last <= Delay'({last, x_last});
    done <= !rst && valid[Delay-1] && last[Delay-1];
  end

  logic signed [ProductBits-1:0] product[PE][Terms];
  generate
    for (genvar p = 0; p < PE; p++) begin : g_sum
      logic [Terms*ProductBits-1:0] terms;
      logic signed [ProductBits+Levels-1:0] sum;
      logic signed [SUM_BITS-1:0] total;
      logic unused;
      assign unused = &{1'b0, sum};
      for (genvar i = 0; i < Terms; i++) begin : g_term
        localparam int Place = (p * Terms + i) * WEIGHT_BITS;
        logic [7:0] x;
        assign x = x_data[(OWN_LANE ? i * LANES + p : i) * 8+:8];
        assign terms[i*ProductBits+:ProductBits] = product[p][i];
        if (Packed && p % 2 == 0 && p + 1 < PE) begin : g_packed
          logic [ProductBits-1:0] low;
          multiply_packed #(
              .WEIGHT_BITS(WEIGHT_BITS)
          ) multiply (
              .clk,
              .x,
              .w_high(weights[Place+Terms*WEIGHT_BITS+:WEIGHT_BITS]),
              .w_low (weights[Place+:WEIGHT_BITS]),
              .p_high(product[p+1][i]),
              .p_low (low)
          );
          assign product[p][i] = {~low[ProductBits-1], low[ProductBits-2:0]};
        end else if (KIND == 0 && !(Packed && p % 2 == 1)) begin : g_single
          multiply_single #(
              .WEIGHT_BITS(WEIGHT_BITS)
          ) multiply (
              .clk,
              .x,
              .w(weights[Place+:WEIGHT_BITS]),
              .p(product[p][i])
          );
        end else if (KIND == 1) begin : g_lut
          multiply_lut #(
              .WEIGHT_BITS(WEIGHT_BITS)
          ) multiply (
              .clk,
              .x,
              .w(weights[Place+:WEIGHT_BITS]),
              .p(product[p][i])
          );
        end else if (KIND == 2) begin : g_shift
          multiply_shift multiply (
              .clk,
              .x,
              .w(weights[Place+:4]),
              .p(product[p][i])
          );
        end else if (KIND == 4) begin : g_binary
          multiply_binary multiply (
              .clk,
              .x,
              .w(weights[Place]),
              .p(product[p][i])
          );
        end else begin : g_with_the_sum_below
          logic unused_x;
          assign unused_x = &{1'b0, x};
        end
      end
      adder_tree #(
          .COUNT(Terms),
          .WIDTH(ProductBits)
      ) tree (
          .clk,
          .terms,
          .sum
      );
      always_ff @(posedge clk)
        if (valid[Delay-1]) total <= (first[Delay-1] ? '0 : total) + SUM_BITS'(sum);
      assign sums[p*SUM_BITS+:SUM_BITS] = total;
    end

    if (Packed) begin : g_x_sum
      logic [Terms*9-1:0] inputs;
      logic signed [Levels+8:0] sum;
      logic [SUM_BITS-1:0] total;
      logic unused;
      assign unused = &{1'b0, sum};
      for (genvar i = 0; i < Terms; i++) begin : g_term
        logic [8:0] x_1, x_2;
        always_ff @(posedge clk) {x_2, x_1} <= {x_1, 1'b0, x_data[i*8+:8]};
        assign inputs[i*9+:9] = x_2;
      end
      adder_tree #(
          .COUNT(Terms),
          .WIDTH(9)
      ) tree (
          .clk,
          .terms(inputs),
          .sum
      );
      always_ff @(posedge clk)
        if (valid[Delay-1]) total <= (first[Delay-1] ? '0 : total) + SUM_BITS'(sum);
      assign x_sum = total;
    end else begin : g_no_x_sum
      assign x_sum = '0;
    end
  endgenerate
endmodule
