"""Code generators: IRModule to Artifact."""

import tvm  # noqa: F401  first, for it imports parts of this package when it loads its extensions
