"""What a choice will cost before it is measured: one interface, a file for each way to predict."""
