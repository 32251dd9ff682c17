"""Artifact to Measurement."""

import tvm  # noqa: F401  first, for it imports parts of this package when it loads its extensions
