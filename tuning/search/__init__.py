"""Which choice to measure next: one interface, a file for each way to search."""
