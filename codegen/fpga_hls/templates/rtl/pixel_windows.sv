// The windows of OUT_PIXELS neighbouring output pixels out of one window of beats: wires.
//
// A row of the window of beats is BEATS beats of PIXELS neighbouring pixels. The first output pixel's window begins at
// pixel FIRST of it, each other one STEP pixels behind the one before; a row of these is COLUMNS pixels.
module pixel_windows #(
    parameter int ROWS = 3,
    parameter int BEATS = 3,
    parameter int PIXELS = 2,
    parameter int CHANNELS = 2,
    parameter int OUT_PIXELS = 2,
    parameter int FIRST = 1,
    parameter int STEP = 1,
    parameter int COLUMNS = 3
) (
    input logic [ROWS*BEATS*PIXELS*CHANNELS*8-1:0] beats,
    output logic [OUT_PIXELS*ROWS*COLUMNS*CHANNELS*8-1:0] windows
);
  localparam int Row = COLUMNS * CHANNELS * 8;
  logic unused;
  assign unused = &{1'b0, beats};
  generate
    for (genvar q = 0; q < OUT_PIXELS; q++) begin : g_pixel
      for (genvar r = 0; r < ROWS; r++) begin : g_row
        assign windows[(q*ROWS+r)*Row+:Row] = beats[(r*BEATS*PIXELS+FIRST+q*STEP)*CHANNELS*8+:Row];
      end
    end
  endgenerate
endmodule
