"""Measurements to tables and pages."""
