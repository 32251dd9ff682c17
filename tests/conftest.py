"""What holds for every test."""

from __future__ import annotations

import os

import pytest
from skips import (  # noqa: F401 - hooks
    pytest_make_collect_report,
    pytest_report_header,
    pytest_runtest_makereport,
)

pytest.register_assert_rewrite("command_line", "fitting_conformance", "postgresql", "oracles")  # to tell the values
os.environ.setdefault("MKL_NUM_THREADS", "1")  # torch's own threads would wait for the cores of other workers


@pytest.fixture(autouse=True, scope="session")
def no_program_cache():
    """Every build compiles, and nobody's own cache is touched; what a test starts inherits it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ESPALIER_CACHE", "off")
        yield


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked gpu run wherever there is a GPU, and are listed as skipped elsewhere."""
    if item.get_closest_marker("gpu"):
        import tvm  # most tests that run alone need none of it

        if not tvm.cuda(0).exist:
            pytest.skip("this machine has no GPU")
