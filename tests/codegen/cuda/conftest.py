"""Compiled kernels are kept, by their content, for the processes of a test run and for later runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from oracles import emulated
from oracles.emulated import FOLDER

from espalier.codegen.cuda import kernel_objects


@pytest.fixture(autouse=True, scope="session")
def shared_objects():
    """One folder in the place of a temporary one for each process; a key covers all that an object depends on."""
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_objects, "_temporary_folder", lambda: FOLDER)
        yield


@pytest.fixture(scope="session")
def driver(tmp_path_factory) -> Path:
    """A folder with a stand-in for NVIDIA's driver."""
    folder, source = tmp_path_factory.mktemp("driver"), Path(emulated.__file__).with_name("driver.cpp")
    subprocess.run(["g++", "-shared", "-fPIC", source, "-o", folder / "libcuda.so.1"], check=True)
    return folder
