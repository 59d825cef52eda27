"""The errors that dadfi-fast raises deliberately. Each message says what went wrong, where, and how to fix it.

Each class carries the exit code of the command line (see docs/cli.md).
"""

from __future__ import annotations

from typing import ClassVar


class DadfiError(Exception):
    """Base class of all errors shown to the user without a traceback."""

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
    """The requested backend or detector cannot run on this machine; the message says how to fix it."""


class DataError(UsageError):
    """Training or evaluation data cannot be used as given."""


class WeightsError(DadfiError):
    """A weights file is missing, damaged, or does not match its card."""


class DiskError(DadfiError):
    """The output folder cannot be written to (read-only, full). The run ends; files already written are kept."""


class PhotoError(DadfiError):
    """One photo cannot be protected. It becomes a failed row in the manifest and the run continues."""


class UnsafePhoto(PhotoError):
    """A photo is rejected before it is decoded (more pixels than ``--max-pixels``)."""


class DeadlyPhoto(PhotoError):
    """A photo is not opened, because several runs have died while they worked on it."""
