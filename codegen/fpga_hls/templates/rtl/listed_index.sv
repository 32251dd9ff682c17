// The addresses of weights that are read by lists: of the channels that the input carries (HAS_ACTIVE) and of those that
// are computed (HAS_WINNERS), with a factor for each of the latter (HAS_PI).
//
// A frame is PIXELS times GROUPS groups of STEPS * WORDS cycles; `start` begins a group, which then never stops. With
// word w of the input and group g of the output, by the lists, a cycle reads at (g * STEPS + step) * ALL_WORDS + w; `index`
// comes three cycles after its cycle. `group_number` and `group_pi` are those of the group that starts. `here` says that the
// lists of the frame have come.
module listed_index #(
    parameter int PIXELS = 4,
    parameter int GROUPS = 2,
    parameter int STEPS = 9,
    parameter int WORDS = 2,
    parameter int ALL_GROUPS = 4,
    parameter int ALL_WORDS = 4,
    parameter int PE = 2,
    parameter bit HAS_ACTIVE = 1,
    parameter bit HAS_WINNERS = 1,
    parameter bit HAS_PI = 1,
    parameter int ACTIVE_SPLIT = 1,
    parameter int WINNERS_SPLIT = 1,
    localparam int GroupBits = ALL_GROUPS > 1 ? $clog2(ALL_GROUPS) : 1,
    localparam int WordBits = ALL_WORDS > 1 ? $clog2(ALL_WORDS) : 1,
    localparam int Indices = ALL_GROUPS * STEPS * ALL_WORDS,
    localparam int IndexBits = Indices > 1 ? $clog2(Indices) : 1
) (
    input logic clk,
    input logic rst,
    input logic active_valid,
    output logic active_ready,
    input logic [15:0] active_data,
    input logic winners_valid,
    output logic winners_ready,
    input logic [15:0] winners_data,
    input logic pi_valid,
    output logic pi_ready,
    input logic [PE*8-1:0] pi_data,
    output logic here,
    input logic start,
    output logic [GroupBits-1:0] group_number,
    output logic [PE*8-1:0] group_pi,
    output logic [IndexBits-1:0] index
);
  localparam int PixelBits = PIXELS > 1 ? $clog2(PIXELS) : 1;
  // Cycles of a group: its highest bit, and what is left, mostly a power of two, so that shifts multiply by both. With an
  // addition behind it in the same cycle, a multiplier of an ECP5 would be slow.
  localparam int Cycles = STEPS * ALL_WORDS;
  localparam int Highest = 1 << ($clog2(Cycles + 1) - 1);

  logic [(WORDS > 1 ? $clog2(WORDS) : 1)-1:0] word;
  logic [(STEPS > 1 ? $clog2(STEPS) : 1)-1:0] step;
  logic [(GROUPS > 1 ? $clog2(GROUPS) : 1)-1:0] group;
  logic [PixelBits-1:0] pixel;
  logic count, last_word, last_step, last_group, done, active_here, winners_here, pi_here;
  logic [WordBits-1:0] word_number, word_1;
  logic [GroupBits-1:0] group_1;
  logic [IndexBits-1:0] steps, steps_1, most, left, in_group;  // steps: step * ALL_WORDS

  assign count = start || word != '0 || step != '0;
  assign last_word = 32'(word) == WORDS - 1;
  assign last_step = 32'(step) == STEPS - 1;
  assign last_group = 32'(group) == GROUPS - 1;
  assign done = count && last_word && last_step && last_group && 32'(pixel) == PIXELS - 1;
  assign here = active_here && winners_here && pi_here;

  always_ff @(posedge clk) begin
    if (rst) begin
      word  <= '0;
      step  <= '0;
      steps <= '0;
      group <= '0;
      pixel <= '0;
    end else if (count) begin
      word <= last_word ? '0 : word + 1'b1;
      if (last_word) step <= last_step ? '0 : step + 1'b1;
      if (last_word) steps <= last_step ? '0 : steps + IndexBits'(ALL_WORDS);
      if (last_word && last_step) group <= last_group ? '0 : group + 1'b1;
      if (last_word && last_step && last_group) pixel <= 32'(pixel) == PIXELS - 1 ? '0 : pixel + 1'b1;
    end
    word_1 <= word_number;
    group_1 <= group_number;
    steps_1 <= steps;
    most <= IndexBits'(32'(group_1) * Highest);
    left <= IndexBits'(32'(group_1) * (Cycles - Highest));
    in_group <= steps_1 + IndexBits'(word_1);
    index <= most + left + in_group;
  end

  generate
    if (HAS_ACTIVE) begin : g_active
      channel_list #(
          .COUNT(WORDS / ACTIVE_SPLIT),
          .SPLIT(ACTIVE_SPLIT),
          .BITS (WordBits)
      ) list (
          .clk,
          .rst,
          .in_valid(active_valid),
          .in_ready(active_ready),
          .in_data(active_data),
          .here(active_here),
          .done,
          .place(word),
          .number(word_number)
      );
    end else begin : g_all_words
      logic unused;
      assign unused = &{1'b0, active_valid, active_data};
      assign active_ready = 1'b0;
      assign active_here = 1'b1;
      assign word_number = WordBits'(word);
    end
    if (HAS_WINNERS) begin : g_winners
      channel_list #(
          .COUNT(GROUPS / WINNERS_SPLIT),
          .SPLIT(WINNERS_SPLIT),
          .BITS (GroupBits)
      ) list (
          .clk,
          .rst,
          .in_valid(winners_valid),
          .in_ready(winners_ready),
          .in_data(winners_data),
          .here(winners_here),
          .done,
          .place(group),
          .number(group_number)
      );
    end else begin : g_all_groups
      logic unused;
      assign unused = &{1'b0, winners_valid, winners_data};
      assign winners_ready = 1'b0;
      assign winners_here = 1'b1;
      assign group_number = GroupBits'(group);
    end
    if (HAS_PI) begin : g_pi
      channel_list #(
          .COUNT(GROUPS),
          .IN_BITS(PE * 8),
          .BITS(PE * 8)
      ) list (
          .clk,
          .rst,
          .in_valid(pi_valid),
          .in_ready(pi_ready),
          .in_data(pi_data),
          .here(pi_here),
          .done,
          .place(group),
          .number(group_pi)
      );
    end else begin : g_no_pi
      logic unused;
      assign unused = &{1'b0, pi_valid, pi_data};
      assign pi_ready = 1'b0;
      assign pi_here = 1'b1;
      assign group_pi = '0;
    end
  endgenerate
endmodule
