// The line buffer of a stage and the counters that walk its windows.
//
// Pixels of HEIGHT x WIDTH x (WORDS words of LANES 8-bit channels) come in raster order into a ring of ROWS rows. For
// each output pixel, and for each of GROUPS groups of results, the window's words are read: TAPS taps a cycle (1, a
// row of the kernel, or all of it), and of each tap all words one after the other, or with OWN_WORD only the word of
// the group's number. Outside of the image a tap is PAD_VALUE.
//
// A group starts (`start`) when its last pixel is there and `room` says that its results will find room; from then on
// it never stops: words leave by x_data six cycles after they were counted, x_first and x_last mark a group's ends.
// `index` numbers the cycles of a pixel's groups; it comes three cycles before its x_data, the time of the weights.
module window_reader #(
    parameter int HEIGHT = 8,
    parameter int WIDTH = 8,
    parameter int WORDS = 1,
    parameter int LANES = 1,
    parameter int KERNEL_H = 3,
    parameter int KERNEL_W = 3,
    parameter int STRIDE_H = 1,
    parameter int STRIDE_W = 1,
    parameter int PAD_TOP = 1,
    parameter int PAD_LEFT = 1,
    parameter int OUT_HEIGHT = 8,
    parameter int OUT_WIDTH = 8,
    parameter int ROWS = 4,
    parameter int TAPS = 1,
    parameter int GROUPS = 1,
    parameter bit OWN_WORD = 0,
    parameter int PAD_VALUE = 0,
    localparam int Steps = KERNEL_H * KERNEL_W / TAPS,
    localparam int WordsOfGroup = OWN_WORD ? 1 : WORDS,
    localparam int Indices = GROUPS * Steps * WordsOfGroup,
    localparam int IndexBits = Indices > 1 ? $clog2(Indices) : 1
) (
    input logic clk,
    input logic rst,
    input logic in_valid,
    output logic in_ready,
    input logic [LANES*8-1:0] in_data,
    input logic room,
    output logic start,
    output logic [IndexBits-1:0] index,
    output logic x_valid,
    output logic x_first,
    output logic x_last,
    output logic [TAPS*LANES*8-1:0] x_data
);
  localparam int RowWords = WIDTH * WORDS;
  localparam int Words = ROWS * RowWords;
  localparam int AddressBits = $clog2(Words) + 1;
  localparam int RowBits = $clog2(HEIGHT + KERNEL_H + PAD_TOP + ROWS) + 1;
  localparam int ColumnBits = $clog2(WIDTH + KERNEL_W + PAD_LEFT) + 1;
  localparam int EndDelta = HEIGHT - (OUT_HEIGHT - 1) * STRIDE_H;  // rows from the last window's top to the next image's
  localparam int FirstColumn = KERNEL_W - PAD_LEFT - 1;  // the last column of the first window of a row
  localparam int FirstNeeded = KERNEL_H - PAD_TOP < HEIGHT ? KERNEL_H - PAD_TOP : HEIGHT;
  // The first row of windows behind row 0 that reaches beyond the image.
  localparam int Clamped = HEIGHT > KERNEL_H - PAD_TOP ? (HEIGHT - KERNEL_H + PAD_TOP) / STRIDE_H + 1 : 1;
  localparam int FirstBase = (ROWS * (1 + PAD_TOP / ROWS) - PAD_TOP) % ROWS;

  // ---- the writing side
  logic [$clog2(Words)-1:0] write_address;
  logic [ColumnBits-1:0] write_column;  // complete pixels of the row that comes in
  logic [(WORDS > 1 ? $clog2(WORDS) : 1)-1:0] write_word;
  // Rows are numbered on and on over all images, modulo 2^RowBits: those that are complete, and the oldest that the
  // reads need. Older ones are free two cycles later, when the reads that were counted before are done. How many are
  // occupied is kept, not computed: negative where rows come that no window reads.
  logic signed [RowBits-1:0] complete, oldest, oldest_1, freed, occupied;
  logic write, ends_pixel, ends_row;

  assign write = in_valid && in_ready;
  assign ends_pixel = write && 32'(write_word) == WORDS - 1;
  assign ends_row = ends_pixel && 32'(write_column) == WIDTH - 1;

  always_ff @(posedge clk)
    if (rst) begin
      write_address <= '0;
      write_column <= '0;
      write_word <= '0;
      complete <= '0;
      {oldest_1, freed, occupied} <= '0;
      in_ready <= 1'b0;
    end else begin
      oldest_1 <= oldest;
      freed <= oldest - oldest_1;
      occupied <= occupied - freed + RowBits'(ends_row);
      in_ready <= ends_row ? occupied < RowBits'(ROWS - 1) : occupied < RowBits'(ROWS);
      if (ends_row) complete <= complete + 1'b1;
      if (write) write_address <= 32'(write_address) == Words - 1 ? '0 : write_address + 1'b1;
      if (write) write_word <= ends_pixel ? '0 : write_word + 1'b1;
      if (ends_pixel) write_column <= ends_row ? '0 : write_column + 1'b1;
    end

  // ---- the walk over groups: word, tap, group, column, row
  logic [(WordsOfGroup > 1 ? $clog2(WordsOfGroup) : 1)-1:0] word;
  logic [(Steps > 1 ? $clog2(Steps) : 1)-1:0] step;
  logic [(GROUPS > 1 ? $clog2(GROUPS) : 1)-1:0] group;
  logic [(OUT_WIDTH > 1 ? $clog2(OUT_WIDTH) : 1)-1:0] out_column;
  logic [(KERNEL_H > 1 ? $clog2(KERNEL_H) : 1)-1:0] kernel_row;
  logic [(KERNEL_W > 1 ? $clog2(KERNEL_W) : 1)-1:0] kernel_column;
  logic signed [RowBits-1:0] top, missing, near_missing;  // rows that this and the next row of windows lack
  logic signed [ColumnBits-1:0] left;
  // The last column of this window and of the next; beyond the image it is never there before the row is complete.
  logic [ColumnBits-1:0] last_column, next_column;
  logic column_here;  // write_column > last_column
  logic [AddressBits-1:0] column_base, kernel_column_words;
  logic [AddressBits-1:0] row_base[KERNEL_H];
  logic [IndexBits-1:0] counted, index_1, index_2;
  logic all_rows, all_but_one;  // those that the window needs are complete
  logic at_start, ready, count, last_word, last_step, last_group, last_out_column, last_out_row, last_kernel_column;
  logic ends_window, ends_out_row;

  assign last_word = 32'(word) == WordsOfGroup - 1;
  assign last_step = 32'(step) == Steps - 1;
  assign last_group = 32'(group) == GROUPS - 1;
  assign last_out_column = 32'(out_column) == OUT_WIDTH - 1;
  assign last_kernel_column = TAPS != 1 || 32'(kernel_column) == KERNEL_W - 1;
  assign at_start = word == '0 && step == '0;
  assign ready = all_rows || (all_but_one && column_here);
  assign start = at_start && room && (group != '0 || ready);
  assign count = start || !at_start;
  assign ends_window = count && last_word && last_step && last_group;
  assign ends_out_row = ends_window && last_out_column;

  // The rows of windows, two ahead of the one that is read, so that no sum has to be ready at once: where the window
  // begins, the oldest row it needs, and the row behind the last one that it needs, which from Clamped on is the image's.
  logic [(OUT_HEIGHT > 1 ? $clog2(OUT_HEIGHT) : 1)-1:0] far_row;
  logic signed [RowBits-1:0] far_top, far_needed, far_image, near_top, near_oldest;
  logic [1:0] fill;
  logic near_last, filled, advance;
  assign filled = fill[1];
  assign advance = ends_out_row || !filled;
  always_ff @(posedge clk)
    if (rst) begin
      far_row <= '0;
      far_top <= -(RowBits'(PAD_TOP));
      far_needed <= RowBits'(FirstNeeded);
      far_image <= '0;
      fill <= '0;
      oldest <= '0;
    end else if (advance) begin
      fill <= {fill[0], 1'b1};
      if (32'(far_row) == OUT_HEIGHT - 1) begin
        far_row <= '0;
        far_top <= -(RowBits'(PAD_TOP));
        far_needed <= far_image + RowBits'(HEIGHT + FirstNeeded);
        far_image <= far_image + RowBits'(HEIGHT);
      end else begin
        far_row <= far_row + 1'b1;
        far_top <= far_top + RowBits'(STRIDE_H);
        far_needed <= 32'(far_row) + 1 >= Clamped ? far_image + RowBits'(HEIGHT) : far_needed + RowBits'(STRIDE_H);
      end
      near_top <= far_top;
      near_oldest <= far_image + (far_top[RowBits-1] ? '0 : far_top);
      near_last <= 32'(far_row) == OUT_HEIGHT - 1;
      top <= near_top;
      last_out_row <= near_last;
      if (fill[0]) oldest <= near_oldest;
    end

  always_ff @(posedge clk)
    if (rst) begin
      word <= '0;
      step <= '0;
      group <= '0;
      out_column <= '0;
      kernel_row <= '0;
      kernel_column <= '0;
      kernel_column_words <= '0;
      counted <= '0;
      left <= -(ColumnBits'(PAD_LEFT));
      last_column <= ColumnBits'(FirstColumn);
      next_column <= ColumnBits'(OUT_WIDTH == 1 ? FirstColumn : FirstColumn + STRIDE_W);
      column_base <= -(AddressBits'(PAD_LEFT * WORDS));
    end else if (count) begin
      counted <= ends_window ? '0 : counted + 1'b1;
      word <= last_word ? '0 : word + 1'b1;
      if (last_word) begin
        step <= last_step ? '0 : step + 1'b1;
        kernel_column <= last_kernel_column ? '0 : kernel_column + 1'b1;
        kernel_column_words <= last_kernel_column ? '0 : kernel_column_words + AddressBits'(WORDS);
        if (last_kernel_column) kernel_row <= last_step ? '0 : kernel_row + 1'b1;
        if (last_step) group <= last_group ? '0 : group + 1'b1;
      end
      if (ends_window) begin
        out_column <= last_out_column ? '0 : out_column + 1'b1;
        left <= last_out_column ? -(ColumnBits'(PAD_LEFT)) : left + ColumnBits'(STRIDE_W);
        last_column <= next_column;
        next_column <= OUT_WIDTH == 1 || 32'(out_column) + 2 == OUT_WIDTH ? ColumnBits'(FirstColumn) : next_column + ColumnBits'(STRIDE_W);
        column_base <= last_out_column ? -(AddressBits'(PAD_LEFT * WORDS)) : column_base + AddressBits'(STRIDE_W * WORDS);
      end
    end

  always_ff @(posedge clk)
    if (advance) begin
      missing <= near_missing - RowBits'(ends_row);
      near_missing <= far_needed - complete - RowBits'(ends_row);
    end else begin
      missing <= missing - RowBits'(ends_row);
      near_missing <= near_missing - RowBits'(ends_row);
    end
  // Every comparison is made for both outcomes, for `ends_out_row` and `ends_window` come late.
  function automatic logic [1:0] rows_here(input logic signed [RowBits-1:0] lacking, input logic one_more);
    rows_here = {
      one_more ? lacking == 2 : lacking == 1, lacking[RowBits-1] || lacking == 0 || (one_more && lacking == 1)
    };
  endfunction
  function automatic logic beyond(input logic [ColumnBits-1:0] column);
    beyond = !ends_row && (ends_pixel ? write_column >= column : write_column > column);
  endfunction
  always_ff @(posedge clk)
    if (rst || !filled) {all_but_one, all_rows} <= '0;
    else {all_but_one, all_rows} <= ends_out_row ? rows_here(near_missing, ends_row) : rows_here(missing, ends_row);
  always_ff @(posedge clk) column_here <= !rst && (ends_window ? beyond(next_column) : beyond(last_column));

  // Where each row of the window begins in the ring.
  generate
    for (genvar k = 0; k < KERNEL_H; k++) begin : g_row_base
      logic [AddressBits-1:0] ahead;
      assign ahead = row_base[k] + AddressBits'(last_out_row ? EndDelta % ROWS * RowWords : STRIDE_H % ROWS * RowWords);
      always_ff @(posedge clk)
        if (rst) row_base[k] <= AddressBits'((FirstBase + k) % ROWS * RowWords);
        else if (ends_out_row) row_base[k] <= ahead >= AddressBits'(Words) ? ahead - AddressBits'(Words) : ahead;
    end
  endgenerate

  // ---- the reads, a pipeline that never stops
  logic [5:0] valid, first, last;
  always_ff @(posedge clk) begin
    if (rst) valid <= '0;
    else valid <= {valid[4:0], count};
    {index, index_2, index_1} <= {index_2, index_1, counted};
    first <= {first[4:0], at_start};
    last  <= {last[4:0], last_word && last_step};
  end
  assign x_valid = valid[5];
  assign x_first = first[5];
  assign x_last  = last[5];

  generate
    for (genvar t = 0; t < TAPS; t++) begin : g_tap
      localparam int OwnRow = TAPS == KERNEL_H * KERNEL_W ? t / KERNEL_W : 0;
      localparam int OwnColumn = TAPS == 1 ? 0 : t % KERNEL_W;
      logic [AddressBits-1:0] row_start, in_row;
      logic [$clog2(Words)-1:0] address;
      logic signed [RowBits-1:0] row;
      logic signed [ColumnBits-1:0] column;
      logic [LANES*8-1:0] held, tap;
      logic [2:0] in_image;

      line_memory #(
          .WIDTH(LANES * 8),
          .DEPTH(Words)
      ) ring (
          .clk,
          .write,
          .write_address,
          .in_data,
          .address,
          .word(held)
      );

      always_ff @(posedge clk) begin
        // 1: the parts of the address
        row_start <= row_base[TAPS == KERNEL_H * KERNEL_W ? OwnRow : 32'(kernel_row)];
        in_row <= column_base + kernel_column_words + AddressBits'(OwnColumn * WORDS) +
            (OWN_WORD ? AddressBits'(group) : AddressBits'(word));
        row <= top + RowBits'(OwnRow) + RowBits'(kernel_row);
        column <= left + ColumnBits'(OwnColumn) + ColumnBits'(kernel_column);
        // 2: the address
        address <= $clog2(Words)'(row_start + in_row);
        in_image <= {
          in_image[1:0],
          $unsigned(row) < RowBits'(HEIGHT) && $unsigned(column) < ColumnBits'(WIDTH)  // where negative, far beyond
        };
        // 3: the memory, 4: its register, 5: the padding; 6 is a register for the wires
        tap <= in_image[2] ? held : {LANES{8'(PAD_VALUE)}};
        x_data[t*LANES*8+:LANES*8] <= tap;
      end
    end
  endgenerate

  stage_statistics statistics (
      .clk,
      .rst,
      .busy(count),
      .starved(at_start && !ready && group == '0),
      .blocked(at_start && !room && (group != '0 || ready))
  );
endmodule
