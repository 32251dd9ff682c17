// The list of a frame: COUNT numbers come, each of which stands for SPLIT neighbours, number * SPLIT and on. It holds two
// lists, so that the next one comes while this one is read; `here` says that this one is complete, `done` ends it.
module channel_list #(
    parameter int COUNT = 2,
    parameter int SPLIT = 1,
    parameter int IN_BITS = 16,
    parameter int BITS = 16,
    localparam int Entries = COUNT * SPLIT,
    localparam int PlaceBits = Entries > 1 ? $clog2(Entries) : 1
) (
    input logic clk,
    input logic rst,
    input logic in_valid,
    output logic in_ready,
    input logic [IN_BITS-1:0] in_data,
    output logic here,
    input logic done,
    input logic [PlaceBits-1:0] place,
    output logic [BITS-1:0] number
);
  localparam int AddressBits = $clog2(2 * Entries);
  localparam int PartBits = SPLIT > 1 ? $clog2(SPLIT) : 1;

  logic [BITS-1:0] memory[2*Entries];
  logic [AddressBits-1:0] write_place, read_base;
  logic [PartBits-1:0] part;
  logic [1:0] filled;
  logic has_room, write, last_part, last_entry, last_place;

  assign has_room = filled != 2'd2;
  assign here = filled != 2'd0;
  assign write = in_valid && has_room;
  assign last_part = 32'(part) == SPLIT - 1;
  assign in_ready = has_room && last_part;
  assign last_place = 32'(write_place) == 2 * Entries - 1;
  assign last_entry = last_place || 32'(write_place) == Entries - 1;
  assign number = memory[read_base+AddressBits'(place)];

  always_ff @(posedge clk) begin
    if (write) memory[write_place] <= SPLIT == 1 ? BITS'(in_data) : BITS'(in_data * IN_BITS'(SPLIT)) + BITS'(part);
    if (rst) begin
      write_place <= '0;
      read_base <= '0;
      part <= '0;
      filled <= '0;
    end else begin
      if (write) part <= last_part ? '0 : part + 1'b1;
      if (write) write_place <= last_place ? '0 : write_place + 1'b1;
      if (done) read_base <= read_base == '0 ? AddressBits'(Entries) : '0;
      filled <= filled + 2'(write && last_entry) - 2'(done);
    end
  end
endmodule
