"""What emitted hardware costs: synthesized, placed and routed by tools that are not ours."""
