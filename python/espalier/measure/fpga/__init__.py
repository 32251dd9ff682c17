"""What generated hardware does: simulated, by programs that anyone can install."""
