"""One file for each kernel family: its variants, how a layer calls them, how its weights lie."""
