"""Tidying that every later pass relies on."""
