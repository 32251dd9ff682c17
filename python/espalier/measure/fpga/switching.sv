// Counts for the simulation how many bits of a word change from one cycle to the next. Bound to what the stages of an
// emitted design compute with, and no part of the design.
module switching #(
    parameter int WIDTH = 8
) (
    input logic clk,
    input logic rst,
    input logic [WIDTH-1:0] word
);
  logic [WIDTH-1:0] last = '0;
  longint toggles = 0;
  always_ff @(posedge clk) begin
    last <= word;
    if (!rst) toggles <= toggles + 64'($countones(word ^ last));
  end
  final $display("espalier switching %m bits=%0d toggles=%0d", WIDTH, toggles);
endmodule

bind window_reader switching #(.WIDTH(TAPS * LANES * 8)) inputs (.clk, .rst, .word(x_data));
bind convolution switching #(.WIDTH(PE * Terms * WEIGHT_BITS)) weight_words (.clk, .rst, .word(weights));
bind mean_pool switching #(.WIDTH(LANES * 8)) inputs (.clk, .rst, .word(x_data));
bind add switching #(.WIDTH(2 * LANES * 8)) inputs (.clk, .rst, .word({x_data, other_data}));
bind channel_gate switching #(.WIDTH(LANES * 8)) inputs (.clk, .rst, .word(x_data));
bind stream_fork switching #(.WIDTH(WIDTH)) inputs (.clk, .rst, .word(x_data));
bind stream_adapter switching #(.WIDTH(IN_LANES * BITS)) inputs (.clk, .rst, .word(x_data));
