"""Gates for networks that were trained without any."""
