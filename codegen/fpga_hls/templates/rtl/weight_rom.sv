// A table of constants, read into two registers: a word is at the output two cycles after its address.
module weight_rom #(
    parameter int WIDTH = 8,
    parameter int DEPTH = 2,
    parameter FILE = ""
) (
    input logic clk,
    input logic [(DEPTH > 1 ? $clog2(DEPTH) : 1)-1:0] address,
    output logic [WIDTH-1:0] word
);
  logic [WIDTH-1:0] read;
  generate
    if (DEPTH <= 64) begin : g_distributed
      (* ram_style = "logic" *) logic [WIDTH-1:0] memory[DEPTH];
      initial $readmemh(FILE, memory);
      always_ff @(posedge clk) read <= memory[address];
    end else begin : g_block
      (* ram_style = "block" *) logic [WIDTH-1:0] memory[DEPTH];
      initial $readmemh(FILE, memory);
      always_ff @(posedge clk) read <= memory[address];
    end
  endgenerate
  always_ff @(posedge clk) word <= read;
endmodule
