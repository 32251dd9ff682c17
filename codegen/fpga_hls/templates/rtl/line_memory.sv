// The ring of a line buffer: a word is at the output two cycles after its address.
module line_memory #(
    parameter int WIDTH = 8,
    parameter int DEPTH = 2,
    localparam int AddressBits = $clog2(DEPTH)
) (
    input logic clk,
    input logic write,
    input logic [AddressBits-1:0] write_address,
    input logic [WIDTH-1:0] in_data,
    input logic [AddressBits-1:0] address,
    output logic [WIDTH-1:0] word
);
  logic [WIDTH-1:0] memory[DEPTH];
  logic [WIDTH-1:0] read;
  always_ff @(posedge clk) begin
    if (write) memory[write_address] <= in_data;
    read <= memory[address];
    word <= read;
  end
endmodule
