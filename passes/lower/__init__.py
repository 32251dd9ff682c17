"""From operators that carry their meaning to what code generators take."""
