"""Dynamic channel pruning."""
