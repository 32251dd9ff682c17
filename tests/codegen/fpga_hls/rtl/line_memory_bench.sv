// A line_memory of 5,000 words against an array, with writes to the word that is read in the same cycle among the others.
module line_memory_bench;
  localparam int DEPTH = 5000;
  logic clk = 0, write;
  logic [12:0] write_address, address;
  logic [7:0] in_data, word, expected, read, memory[DEPTH];
  int wrong = 0;

  line_memory #(
      .WIDTH(8),
      .DEPTH(DEPTH)
  ) ring (
      .clk,
      .write,
      .write_address,
      .in_data,
      .address,
      .word
  );

  always #1 clk = !clk;
  always @(posedge clk) begin
    read <= memory[address];
    expected <= read;
    if (write) memory[write_address] <= in_data;
  end

  initial begin
    for (int i = 0; i < DEPTH + 40000; i++) begin
      @(negedge clk);
      if (i > DEPTH + 2 && word !== expected) wrong++;
      write = i < DEPTH || $urandom_range(1) == 1;
      write_address = i < DEPTH ? 13'(i) : 13'($urandom_range(DEPTH - 1));
      address = $urandom_range(9) == 0 ? write_address : 13'($urandom_range(DEPTH - 1));
      in_data = 8'($urandom);
    end
    $display("wrong=%0d", wrong);
    $finish;
  end
endmodule
