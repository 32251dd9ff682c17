"""Relax helpers that passes and code generators share: the operators' meaning, a view of main, a rewriter."""
