"""Transformations of a network: IRModule to IRModule, true for every device."""
