// The ring of a line buffer: a word is at the output two cycles after its address. A block of an ECP5 is slow to read,
// so that nothing may stand between it and a register: each 2,048 words have blocks and registers of their own.
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
  localparam int BankBits = 11;  // a block is 2,048 words of 9 bits deep
  localparam int Banks = (DEPTH - 1) / (1 << BankBits) + 1;

  generate
    if (Banks == 1) begin : g_whole
      logic [WIDTH-1:0] memory[DEPTH];
      logic [WIDTH-1:0] read;
      always_ff @(posedge clk) begin
        if (write) memory[write_address] <= in_data;
        read <= memory[address];
        word <= read;
      end
    end else begin : g_banks
      logic [AddressBits-BankBits-1:0] bank_1, bank_2;
      logic [WIDTH-1:0] held[Banks];
      always_ff @(posedge clk) {bank_2, bank_1} <= {bank_1, address[AddressBits-1:BankBits]};
      assign word = held[bank_2];
      for (genvar b = 0; b < Banks; b++) begin : g_bank
        logic [WIDTH-1:0] memory[1<<BankBits];
        logic [WIDTH-1:0] read;
        always_ff @(posedge clk) begin
          if (write && 32'(write_address[AddressBits-1:BankBits]) == b) memory[write_address[BankBits-1:0]] <= in_data;
          read <= memory[address[BankBits-1:0]];
          held[b] <= read;
        end
      end
    end
  endgenerate
endmodule
