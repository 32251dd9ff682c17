"""Code generators: IRModule to Artifact."""
