"""Artifact to Measurement."""
