"""The errors a user can cause.

Each message is one line: where (layer, operator, file), what was got, what is accepted.
The command line prints the line and exits with code 2.
"""


class EspalierError(Exception):
    """Base of every error Espalier raises on purpose."""


class InvalidModelError(EspalierError):
    """The model cannot be read, is malformed, or holds values no compiler can use (NaN)."""


class UnsupportedOpError(EspalierError):
    """The model contains an operator that Espalier cannot import or compile."""


class InvalidPlanError(EspalierError):
    """A plan names an unknown layer or asks for an impossible value."""


class InvalidInputError(EspalierError):
    """An array, a file or an option given by the user does not fit."""


class UnsupportedTargetError(EspalierError):
    """The target is unknown, or this machine cannot run code compiled for it."""


class InfeasibleDesignError(EspalierError):
    """What was asked for does not fit on the target."""


class ToolNotFoundError(EspalierError):
    """A program or an optional package is missing; the message names the install command."""


class CorruptArtifactError(EspalierError):
    """A saved artifact is incomplete, damaged, or of another version."""


class TrainingStoppedError(EspalierError):
    """A training cannot go on; the message names the last good state."""


def first_line(error: BaseException) -> str:
    """The first line of another library's message, at most 200 characters, or the error's type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].strip()[:200] if lines else type(error).__name__
