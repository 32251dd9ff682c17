"""Finding nvcc, and saying so when it is not there."""

from __future__ import annotations

import pytest

from espalier.codegen.cuda import toolchain
from espalier.core.errors import ToolNotFoundError


@pytest.fixture
def _nothing_installed(monkeypatch, tmp_path):
    toolchain.find_tool.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain, "package_folders", list)
    yield
    toolchain.find_tool.cache_clear()


@pytest.mark.parametrize("name", ["nvcc", "cuobjdump"])
def test_ci_has_the_tools(name):
    assert toolchain.run_tool(name, "--version")


@pytest.mark.usefixtures("_nothing_installed")
def test_a_missing_tool_names_the_install_command():
    with pytest.raises(ToolNotFoundError, match=r'nvcc: found neither .* pip install "espalier\[cuda\]"'):
        toolchain.run_tool("nvcc")


def test_packages_are_found_without_a_path(monkeypatch, tmp_path):
    toolchain.find_tool.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert toolchain.find_tool("nvcc").is_file()
    toolchain.find_tool.cache_clear()


def test_a_tool_that_fails_says_why():
    with pytest.raises(ToolNotFoundError, match="nvcc failed: .*fatal"):
        toolchain.run_tool("nvcc", "--no-such-option")
