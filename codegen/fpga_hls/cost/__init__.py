"""What stages cost: cycles, exactly, and resources, by models that were fitted to synthesized stages."""
