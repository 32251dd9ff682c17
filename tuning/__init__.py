"""Measurements to choices: records, cost models, searches, and the tuner that joins them."""
