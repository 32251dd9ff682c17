"""Code generators: IRModule to Artifact."""

import tvm  # noqa: F401 - first: TVM loads Espalier by itself, which must not find half of a module here
