"""Number formats fitted to the weights of a layer."""
