// First in, first out. Up to 64 deep it reads its memory without a clock and a word comes out one cycle after it went
// in; deeper ones read a block RAM into a register and take two cycles. `level` counts the words inside.
module stream_fifo #(
    parameter int WIDTH = 8,
    parameter int DEPTH = 2
) (
    input logic clk,
    input logic rst,
    input logic in_valid,
    output logic in_ready,
    input logic [WIDTH-1:0] in_data,
    output logic out_valid,
    input logic out_ready,
    output logic [WIDTH-1:0] out_data,
    output logic [$clog2(DEPTH+1)-1:0] level
);
  localparam int LevelBits = $clog2(DEPTH + 1);
  localparam int PlaceBits = DEPTH > 1 ? $clog2(DEPTH) : 1;
  localparam logic [PlaceBits-1:0] LastPlace = PlaceBits'(DEPTH - 1);

  logic [WIDTH-1:0] memory[DEPTH];
  logic [PlaceBits-1:0] write_place, read_place;
  logic [LevelBits-1:0] stored;
  logic push, fetch;

  assign in_ready = level != LevelBits'(DEPTH);
  assign push = in_valid && in_ready;

  always_ff @(posedge clk) begin
    if (push) memory[write_place] <= in_data;
    if (rst) begin
      write_place <= '0;
      read_place <= '0;
      stored <= '0;
    end else begin
      if (push) write_place <= write_place == LastPlace ? '0 : write_place + 1'b1;
      if (fetch) read_place <= read_place == LastPlace ? '0 : read_place + 1'b1;
      if (push != fetch) stored <= push ? stored + 1'b1 : stored - 1'b1;
    end
  end

  generate
    if (DEPTH <= 64) begin : g_distributed
      assign out_valid = stored != '0;
      assign out_data = memory[read_place];
      assign fetch = out_valid && out_ready;
      assign level = stored;
    end else begin : g_block
      logic held;
      logic [WIDTH-1:0] word;
      assign fetch = stored != '0 && (!held || out_ready);
      assign out_valid = held;
      assign out_data = word;
      assign level = stored + LevelBits'(held);
      always_ff @(posedge clk) begin
        if (fetch) word <= memory[read_place];
        if (rst) held <= 1'b0;
        else if (fetch) held <= 1'b1;
        else if (out_ready) held <= 1'b0;
      end
    end
  endgenerate

`ifndef SYNTHESIS
  int high_water = 0;
  always_ff @(posedge clk) if (!rst && 32'(level) > high_water) high_water <= 32'(level);
  final $display("espalier fifo %m depth=%0d high_water=%0d", DEPTH, high_water);
`endif
endmodule
