// Feeds the design with the beats of +input, one hexadecimal number a line, writes its answers to +output and compares
// them with those of +expected where that is given. +frames: how many, 1 where it is not given. +stalls: of 256 cycles
// in how many each side holds its stream back, 0 where it is not given. It ends after the last frame, or after +patience
// cycles in which no stream moved (PATIENCE where it is not given): a deadlock.
module testbench #(
    parameter int IN_BITS   = 8,
    parameter int IN_BEATS  = 1,
    parameter int OUT_BITS  = 8,
    parameter int OUT_BEATS = 1,
    parameter int PATIENCE  = 100000
) (
    input logic clk
);
  logic rst, in_valid, in_ready, in_last, out_valid, out_ready, out_last, unused;
  logic [IN_BITS-1:0] in_data, next_data;
  logic [OUT_BITS-1:0] out_data, wanted;
  string input_name, output_name, expected_name;
  int input_file = 0, output_file = 0, expected_file = 0, code;
  int frames = 1, stalls = 0, patience = PATIENCE;
  int cycle = 0, idle = 0, in_beat = 0, in_frame = 0, out_beat = 0, out_frame = 0, mismatches = 0, first_out = 0;
  logic [31:0] chance = 32'h2545f491;

  accelerator design_under_test (
      .clk,
      .rst,
      .s_axis_tvalid(in_valid),
      .s_axis_tready(in_ready),
      .s_axis_tdata (in_data),
      .s_axis_tlast (in_last),
      .m_axis_tvalid(out_valid),
      .m_axis_tready(out_ready),
      .m_axis_tdata (out_data),
      .m_axis_tlast (out_last)
  );

  initial begin
    rst = 1'b1;
    in_valid = 1'b0;
    out_ready = 1'b0;
    in_data = '0;
    if ($value$plusargs("frames=%d", frames)) cycle = 0;
    if ($value$plusargs("stalls=%d", stalls)) cycle = 0;
    if ($value$plusargs("patience=%d", patience)) cycle = 0;
    if ($value$plusargs("input=%s", input_name)) input_file = $fopen(input_name, "r");
    if ($value$plusargs("output=%s", output_name)) output_file = $fopen(output_name, "w");
    if (input_file == 0) begin
      $display("espalier error: no +input file");
      $finish;
    end
    if ($value$plusargs("expected=%s", expected_name)) begin
      expected_file = $fopen(expected_name, "r");
      if (expected_file == 0) begin
        $display("espalier error: no +expected file");
        $finish;
      end
    end
  end

  assign in_last = in_beat == IN_BEATS - 1;
  assign unused  = &{1'b0, code};

  always @(posedge clk) begin
    cycle <= cycle + 1;
    rst <= cycle < 4;
    chance <= {chance[30:0], chance[31] ^ chance[21] ^ chance[1] ^ chance[0]};

    // The source: a beat stays until it is taken.
    if (cycle >= 6 && (!in_valid || in_ready)) begin
      if (in_valid) begin
        if (in_beat == 0) $display("espalier frame=%0d first_in=%0d", in_frame, cycle);
        in_beat  <= in_last ? 0 : in_beat + 1;
        in_frame <= in_last ? in_frame + 1 : in_frame;
      end
      if (32'(chance[7:0]) >= stalls && (in_frame + 32'(in_valid && in_last) < frames)) begin
        code = $fscanf(input_file, "%h\n", next_data);
        in_data <= next_data;
        in_valid <= code == 1;
      end else in_valid <= 1'b0;
    end

    // The sink
    out_ready <= 32'(chance[18:11]) >= stalls;
    if (cycle >= 6 && out_valid && out_ready) begin
      if (output_file != 0) $fwrite(output_file, "%h\n", out_data);
      if (expected_file != 0) begin
        code = $fscanf(expected_file, "%h\n", wanted);
        if (code != 1 || wanted !== out_data) begin
          mismatches = mismatches + 1;  // the line at the end counts the last beat
          if (mismatches <= 10)
            $display("espalier mismatch: frame=%0d beat=%0d got=%h expected=%h", out_frame, out_beat, out_data, wanted);
        end
      end
      if (out_last != (out_beat == OUT_BEATS - 1)) $display("espalier error: tlast at beat %0d", out_beat);
      if (out_beat == 0) first_out <= cycle;
      out_beat <= out_beat == OUT_BEATS - 1 ? 0 : out_beat + 1;
      if (out_beat == OUT_BEATS - 1) begin
        out_frame <= out_frame + 1;
        $display("espalier frame=%0d first_out=%0d last_out=%0d", out_frame, OUT_BEATS == 1 ? cycle : first_out, cycle);
        if (out_frame == frames - 1) begin
          if (expected_file == 0) $display("espalier end cycles=%0d", cycle);
          else $display("espalier end cycles=%0d mismatches=%0d", cycle, mismatches);
          $finish;
        end
      end
    end

    idle <= (in_valid && in_ready) || (out_valid && out_ready) ? 0 : idle + 1;
    if (idle > patience) begin
      $display("espalier deadlock: no stream moved for %0d cycles, frame=%0d in=%0d out=%0d", idle, out_frame, in_beat, out_beat);
      $finish;
    end
  end
endmodule
