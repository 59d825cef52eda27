"""Every error that the program raises on purpose: what went wrong, where, and how to fix it.

Each class carries the exit code of the command line (see docs/cli.md).
"""

from __future__ import annotations

from typing import ClassVar


class DadfiError(Exception):
    """Base of all errors that are shown to the user without a traceback."""

    exit_code: ClassVar[int] = 1


class UsageError(DadfiError):
    """An option or argument cannot be used as given."""

    exit_code = 2


class NothingToDo(DadfiError):
    """There is no input to work on."""

    exit_code = 3


class CheckFailed(DadfiError):
    """The check found fewer protected samples than ``--check-min`` asks for."""

    exit_code = 4


class BackendMissing(UsageError):
    """A backend or detector named by the user cannot run here; the message says how to fix it."""


class DataError(UsageError):
    """Training or evaluation data cannot be read as they are."""


class WeightsError(DadfiError):
    """A weights file is missing, damaged or not the one that its card names."""


class DiskError(DadfiError):
    """The output folder cannot be written to (read-only, full): the run ends, nothing written is lost."""


class PhotoError(DadfiError):
    """One photo cannot be protected; it becomes a row in the manifest and the run goes on."""


class UnsafePhoto(PhotoError):
    """A photo is refused before it is decoded (more pixels than ``--max-pixels``)."""
