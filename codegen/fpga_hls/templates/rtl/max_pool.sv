// The greatest number of each window, LANES channels a cycle; padding counts as 0.
//
// With PIXELS above 1 a beat has so many neighbouring pixels, with all channels of each, and OUT_PIXELS pixels leave in a
// beat; WIDTH, KERNEL_W, STRIDE_W, PAD_LEFT and OUT_WIDTH are in beats, see convolution.sv.
module max_pool #(
    parameter int HEIGHT = 8,
    parameter int WIDTH = 8,
    parameter int CHANNELS = 2,
    parameter int KERNEL_H = 2,
    parameter int KERNEL_W = 2,
    parameter int STRIDE_H = 2,
    parameter int STRIDE_W = 2,
    parameter int PAD_TOP = 0,
    parameter int PAD_LEFT = 0,
    parameter int OUT_HEIGHT = 4,
    parameter int OUT_WIDTH = 4,
    parameter int ROWS = 4,
    parameter int PIXELS = 1,
    parameter int OUT_PIXELS = 1,
    parameter int FIRST = 0,
    parameter int STEP = 1,
    parameter int COLUMNS = KERNEL_W,
    parameter int LANES = 1,
    parameter int FIFO_DEPTH = 16
) (
    input logic clk,
    input logic rst,
    input logic x_valid,
    output logic x_ready,
    input logic [PIXELS*LANES*8-1:0] x_data,
    output logic y_valid,
    input logic y_ready,
    output logic [OUT_PIXELS*LANES*8-1:0] y_data
);
  localparam int Words = CHANNELS / LANES;
  localparam int Taps = KERNEL_H * COLUMNS;
  localparam int CreditBits = $clog2(FIFO_DEPTH + 1);

  logic [CreditBits-1:0] credit, level;
  logic [(Words > 1 ? $clog2(Words) : 1)-1:0] index;
  logic start, window_valid, window_first, window_last, rows_valid, done, always_ready, unused;
  logic [KERNEL_H*KERNEL_W*PIXELS*LANES*8-1:0] beats;
  logic [OUT_PIXELS*Taps*LANES*8-1:0] windows;
  logic [OUT_PIXELS*KERNEL_H*LANES*8-1:0] of_row;  // the greatest of each row of a window
  logic [OUT_PIXELS*LANES*8-1:0] greatest;

  always_ff @(posedge clk)
    if (rst) credit <= CreditBits'(FIFO_DEPTH);
    else credit <= credit - CreditBits'(start) + CreditBits'(y_valid && y_ready);

  window_reader #(
      .HEIGHT(HEIGHT),
      .WIDTH(WIDTH),
      .WORDS(Words),
      .LANES(PIXELS * LANES),
      .KERNEL_H(KERNEL_H),
      .KERNEL_W(KERNEL_W),
      .STRIDE_H(STRIDE_H),
      .STRIDE_W(STRIDE_W),
      .PAD_TOP(PAD_TOP),
      .PAD_LEFT(PAD_LEFT),
      .OUT_HEIGHT(OUT_HEIGHT),
      .OUT_WIDTH(OUT_WIDTH),
      .ROWS(ROWS),
      .TAPS(KERNEL_H * KERNEL_W),
      .GROUPS(Words),
      .OWN_WORD(1)
  ) reader (
      .clk,
      .rst,
      .in_valid(x_valid),
      .in_ready(x_ready),
      .in_data(x_data),
      .room(credit != '0),
      .start,
      .index,
      .x_valid(window_valid),
      .x_first(window_first),
      .x_last(window_last),
      .x_data(beats)
  );

  pixel_windows #(
      .ROWS(KERNEL_H),
      .BEATS(KERNEL_W),
      .PIXELS(PIXELS),
      .CHANNELS(LANES),
      .OUT_PIXELS(OUT_PIXELS),
      .FIRST(FIRST),
      .STEP(STEP),
      .COLUMNS(COLUMNS)
  ) picked (
      .beats,
      .windows
  );

  always_ff @(posedge clk) begin
    rows_valid <= !rst && window_valid;
    done <= !rst && rows_valid;
  end
  generate
    for (genvar q = 0; q < OUT_PIXELS; q++) begin : g_pixel
      for (genvar l = 0; l < LANES; l++) begin : g_lane
        for (genvar r = 0; r < KERNEL_H; r++) begin : g_row
          logic [7:0] most;
          always_comb begin
            most = '0;
            for (int c = 0; c < COLUMNS; c++)
              if (windows[((q*Taps+r*COLUMNS+c)*LANES+l)*8+:8] > most) most = windows[((q*Taps+r*COLUMNS+c)*LANES+l)*8+:8];
          end
          always_ff @(posedge clk) of_row[((q*KERNEL_H+r)*LANES+l)*8+:8] <= most;
        end
        logic [7:0] most;
        always_comb begin
          most = '0;
          for (int r = 0; r < KERNEL_H; r++)
            if (of_row[((q*KERNEL_H+r)*LANES+l)*8+:8] > most) most = of_row[((q*KERNEL_H+r)*LANES+l)*8+:8];
        end
        always_ff @(posedge clk) greatest[(q*LANES+l)*8+:8] <= most;
      end
    end
  endgenerate

  stream_fifo #(
      .WIDTH(OUT_PIXELS * LANES * 8),
      .DEPTH(FIFO_DEPTH)
  ) results (
      .clk,
      .rst,
      .in_valid(done),
      .in_ready(always_ready),
      .in_data(greatest),
      .out_valid(y_valid),
      .out_ready(y_ready),
      .out_data(y_data),
      .level
  );
  assign unused = &{1'b0, always_ready, level, index, window_first, window_last};
endmodule
