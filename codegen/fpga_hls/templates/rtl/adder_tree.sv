// The sum of COUNT numbers of two's complement, one register after each of LEVELS levels of adders.
module adder_tree #(
    parameter int COUNT  = 4,
    parameter int WIDTH  = 16,
    parameter int LEVELS = $clog2(COUNT)
) (
    input logic clk,
    input logic [COUNT*WIDTH-1:0] terms,
    output logic signed [WIDTH+LEVELS-1:0] sum
);
  generate
    if (LEVELS == 0) begin : g_leaf
      logic unused;
      assign unused = clk;
      assign sum = terms;
    end else begin : g_node
      localparam int Low = COUNT > 1 ? (COUNT + 1) / 2 : 1;
      localparam int High = COUNT - Low;
      logic signed [WIDTH+LEVELS-2:0] low;
      adder_tree #(
          .COUNT (Low),
          .WIDTH (WIDTH),
          .LEVELS(LEVELS - 1)
      ) below (
          .clk,
          .terms(terms[Low*WIDTH-1:0]),
          .sum(low)
      );
      if (High > 0) begin : g_pair
        logic signed [WIDTH+LEVELS-2:0] high;
        adder_tree #(
            .COUNT (High),
            .WIDTH (WIDTH),
            .LEVELS(LEVELS - 1)
        ) above (
            .clk,
            .terms(terms[COUNT*WIDTH-1:Low*WIDTH]),
            .sum(high)
        );
        always_ff @(posedge clk) sum <= (WIDTH + LEVELS)'(low) + (WIDTH + LEVELS)'(high);
      end else begin : g_single
        always_ff @(posedge clk) sum <= (WIDTH + LEVELS)'(low);
      end
    end
  endgenerate
endmodule
