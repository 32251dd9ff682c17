"""Constants of a program, entropy-coded in a file of their own."""
