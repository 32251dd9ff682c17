"""What holds for every test."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def no_program_cache():
    """Every build compiles, and nobody's own cache is touched; what a test starts inherits it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ESPALIER_CACHE", "off")
        yield
