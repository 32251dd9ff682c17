// Feeds a pipeline of da4ml with an image every cycle: in.hex to out.hex.
module bench;
  parameter IN = 512, OUT = 180, LATENCY = 1, FRAMES = 1;

  reg clk = 1'b0;
  reg [IN-1:0] images[0:FRAMES-1];
  reg [IN-1:0] image;
  wire [OUT-1:0] answer;
  integer file, cycle;

  digits_wrapper design_under_test (.clk(clk), .model_inp(image), .model_out(answer));

  initial begin
    $readmemh("in.hex", images);
    file = $fopen("out.hex");
    for (cycle = 0; cycle < FRAMES + LATENCY; cycle = cycle + 1) begin
      image = images[cycle < FRAMES ? cycle : FRAMES - 1];
      #1 if (cycle >= LATENCY) $fdisplay(file, "%h", answer);
      clk = 1'b1;
      #1 clk = 1'b0;
    end
    $fclose(file);
    $finish;
  end
endmodule
