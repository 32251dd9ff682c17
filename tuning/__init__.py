"""Search: measurements to plans."""
