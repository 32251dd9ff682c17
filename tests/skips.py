"""With ESPALIER_NO_SKIPS=1, as in continuous integration, a test that is skipped is one that fails.

Unless this machine, whatever is installed on it, cannot run it: see `ACCEPTED`.
"""

from __future__ import annotations

import os
import re
import sys

import pytest

ACCEPTED = [
    *("this machine has no GPU", "this machine has a GPU"),
    *("this CPU has no .*", "this CPU permutes no bytes"),
    *("needs an x86 machine", "neon runs on this machine", "this machine runs it", "one core only"),
    *("mallopt is glibc's", "needs the kernel's times by thread"),
]
"""Reasons that a skip may have, as regular expressions."""

if sys.version_info < (3, 11):  # for which setup.py leaves these out
    ACCEPTED.append(r"could not import '(botorch|ray|grpc)'.*")


def pytest_report_header() -> str | None:
    """Said above the tests."""
    return "skips that need not be are failures" if _is_strict() else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Of a test that skips itself, or that a mark skips."""
    return _checked((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    """Of a file that is skipped as a whole."""
    return _checked((yield))


def _is_strict() -> bool:
    return os.environ.get("ESPALIER_NO_SKIPS", "0") != "0"


def _checked(report):
    if report.outcome != "skipped" or hasattr(report, "wasxfail") or not _is_strict():
        return report
    file, line, said = report.longrepr
    reason = said.removeprefix("Skipped: ")
    if not any(re.fullmatch(one, reason, re.DOTALL) for one in ACCEPTED):
        report.outcome = "failed"
        report.longrepr = f"{file}:{line}: skipped, which ESPALIER_NO_SKIPS forbids: {reason}"
    return report
