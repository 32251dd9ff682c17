// A table of constants, read into two registers: a word is at the output two cycles after its address. IN_FRONT, BEHIND:
// one cycle more, by a register of the address or of the word.
module weight_rom #(
    parameter int WIDTH = 8,
    parameter int DEPTH = 2,
    parameter bit IN_FRONT = 0,
    parameter bit BEHIND = 0,
    parameter FILE = ""
) (
    input logic clk,
    input logic [(DEPTH > 1 ? $clog2(DEPTH) : 1)-1:0] address,
    output logic [WIDTH-1:0] word
);
  logic [(DEPTH > 1 ? $clog2(DEPTH) : 1)-1:0] place;
  logic [WIDTH-1:0] read, held;
  generate
    if (IN_FRONT) begin : g_in_front
      always_ff @(posedge clk) place <= address;
    end else begin : g_at_once
      assign place = address;
    end
    if (DEPTH <= 64) begin : g_distributed
      (* ram_style = "logic" *) logic [WIDTH-1:0] memory[DEPTH];
      initial $readmemh(FILE, memory);
      always_ff @(posedge clk) read <= memory[place];
    end else begin : g_block
      (* ram_style = "block" *) logic [WIDTH-1:0] memory[DEPTH];
      initial $readmemh(FILE, memory);
      always_ff @(posedge clk) read <= memory[place];
    end
    if (BEHIND) begin : g_behind
      always_ff @(posedge clk) held <= read;
    end else begin : g_read
      assign held = read;
    end
  endgenerate
  always_ff @(posedge clk) word <= held;
endmodule
