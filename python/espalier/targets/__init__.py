"""Devices as data: what a target can do, each figure with its unit and source."""
