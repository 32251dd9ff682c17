"""NVIDIA's programs: where they are found and how they are run.

nvcc is taken from PATH, else from the PyPI packages that `pip install "espalier[cuda]"` brings (they lie in one folder,
`nvidia/cu13`, with their headers and libraries, and nvcc finds those from its own place).
"""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

from espalier.core.errors import ToolNotFoundError

CAUSES = re.compile(r"error|fatal|undefined|multiple definition", re.IGNORECASE)
"""What the line of a compiler's or linker's output says that names the problem."""
INSTALL = 'pip install "espalier[cuda]"'


@functools.cache
def find_tool(name: str) -> Path:
    """The path of nvcc, cuobjdump or nvdisasm.

    Raises ToolNotFoundError with the install command.
    """
    on_path = shutil.which(name)
    if on_path:
        return Path(on_path)
    for folder in package_folders():
        if (folder / "bin" / name).is_file():
            return folder / "bin" / name
    raise ToolNotFoundError(f"{name}: found neither on PATH nor among Python's packages: {INSTALL}")


def run_tool(name: str, *arguments: str) -> str:
    """What the tool prints, its standard error included.

    Raises ToolNotFoundError if it is missing, cannot be run, or fails; the message has the first line that says why.
    """
    return run_program(name, str(find_tool(name)), *arguments)


def run_program(name: str, *command: str) -> str:
    """What a command prints; see `run_tool`. name: what messages call it."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise ToolNotFoundError(f"{name} cannot be run ({error.strerror}): {INSTALL}") from None
    output = done.stdout + done.stderr
    if done.returncode:
        raise ToolNotFoundError(f"{name} failed: {cause_of(output) or f'exit status {done.returncode}'}")
    return output


def header_folders() -> list[Path]:
    """Where the PyPI packages' headers of CUDA are; nvcc finds its own."""
    folders = [folder / "include" for folder in package_folders()]
    return [one for folder in folders for one in (folder, folder / "cccl") if one.is_dir()]


def package_folders() -> list[Path]:
    """The folders of NVIDIA's PyPI packages, the newest CUDA first."""
    spec = importlib.util.find_spec("nvidia")
    places = list(spec.submodule_search_locations or []) if spec else []
    return [folder for place in places for folder in sorted(Path(place).glob("cu*"), reverse=True)]


def cause_of(output: str) -> str:
    """The line of a tool's output that names the problem."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in lines if CAUSES.search(line)), lines[0] if lines else "")
