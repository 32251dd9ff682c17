"""Relax helpers that passes and code generators share: the operators' meaning, a view of main, a rewriter."""

from tvm.error import register_error

from espalier.core.errors import EspalierError

for _kind in (*EspalierError.__subclasses__(), KeyboardInterrupt):
    register_error(_kind)  # else TVM turns an error that a pass raises into a RuntimeError
