"""Values that every stage shares; nothing here imports more than numpy."""
