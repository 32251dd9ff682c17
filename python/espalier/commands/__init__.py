"""The commands, one module each; `espalier.cli` reads their arguments."""
