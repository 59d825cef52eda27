"""What the program says: results go to stdout; progress, messages and errors go to stderr.

Colours are used on a terminal only, and never where the environment has ``NO_COLOR`` (https://no-color.org).
"""

from __future__ import annotations

import json as _json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

#: Seconds between two lines of progress where stderr is no terminal.
EVERY: Final = 5.0
#: The speed and the time left are those of the last seconds, not of the whole run: a resumed run starts with many
#: photos that cost nothing.
WINDOW: Final = 30.0


def result(text: str) -> None:
    """Print a result: a line on stdout."""
    click.echo(text, color=_color())


def json(value: object) -> None:
    """Print ``value`` on stdout as JSON: NaN becomes null, what JSON does not know (paths) becomes text."""
    click.echo(_json.dumps(_plain(value), indent=2, ensure_ascii=False, default=str, allow_nan=False))


def message(text: str) -> None:
    """Say something about the run: a line on stderr."""
    click.echo(text, err=True, color=_color())


def error(text: str) -> None:
    """Say what went wrong: a line ``dadfi-fast: error: ...`` on stderr."""
    message(f"dadfi-fast: {click.style('error:', fg='red', bold=True)} {text}")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout; columns that hold only numbers are set to the right, None is shown as ``-``.

    Args:
        columns: the heads.
        rows: as many cells each as there are columns; floats are shown with four significant digits.
    """
    from rich.cells import cell_len

    cells = [list(row) for row in rows]
    text = [list(columns), *([_cell(cell) for cell in row] for row in cells)]
    width = [max(cell_len(line[i]) for line in text) for i in range(len(columns))]
    right = [bool(cells) and all(isinstance(row[i], int | float | None) for row in cells) for i in range(len(columns))]
    for number, line in enumerate(text):
        pads = (" " * (w - cell_len(cell)) for cell, w in zip(line, width, strict=True))
        joined = "  ".join(p + c if r else c + p for c, p, r in zip(line, pads, right, strict=True)).rstrip()
        result(click.style(joined, bold=True) if number == 0 else joined)


class Progress:
    """Counts what is done; `progress` makes one. Safe to advance from several threads."""

    def __init__(self, total: int | None, unit: str) -> None:
        self.total, self.unit, self.done = total, unit, 0
        self._start = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque([(self._start, 0)])
        self._lock = threading.Lock()

    def advance(self, n: int = 1) -> None:
        """``n`` more are done."""
        with self._lock:
            self.done += n
            now = time.monotonic()
            self._recent.append((now, self.done))
            while len(self._recent) > 2 and self._recent[0][0] < now - WINDOW:
                self._recent.popleft()
            self.show(now)

    def show(self, now: float) -> None:
        """Bring the display up to date; ``now`` in seconds of the monotonic clock."""

    def rate(self) -> float:
        """Units a second over the last `WINDOW` seconds; 0 before the first."""
        (since, before), (until, done) = self._recent[0], self._recent[-1]
        return (done - before) / (until - since) if until > since else 0.0

    def line(self) -> str:
        """What is done, how fast, and the time left, in one line."""
        rate = self.rate()
        parts = [f"{self._count()} {self.unit}", f"{rate:.1f} {self.unit}/s"]
        if self.total is not None and rate:
            parts.append(f"{_duration((self.total - self.done) / rate)} left")
        return ", ".join(parts)

    def summary(self) -> str:
        """What was done in how much time."""
        seconds = time.monotonic() - self._start
        return (
            f"{self._count()} {self.unit} in {_duration(seconds)} ({self.done / max(seconds, 1e-9):.1f} {self.unit}/s)"
        )

    def _count(self) -> str:
        return f"{self.done}" if self.total in (None, self.done) else f"{self.done}/{self.total}"


class _Lines(Progress):
    """Off a terminal: a line every few seconds."""

    _shown = 0.0

    def show(self, now: float) -> None:
        if now - max(self._shown, self._start) >= EVERY:
            self._shown = now
            message(self.line())


class _Live(Progress):
    """On a terminal: a bar."""

    def __init__(self, total: int | None, unit: str, bar: Bar) -> None:
        super().__init__(total, unit)
        self._bar, self._task = bar, bar.add_task(unit, total=total)

    def show(self, now: float) -> None:
        self._bar.update(self._task, completed=self.done, description=self.line())


@contextmanager
def progress(total: int | None, unit: str = "photos", *, quiet: bool = False) -> Iterator[Progress]:
    """Show on stderr how far a run is: a bar on a terminal, else a line every `EVERY` seconds; at the end a summary.

    Args:
        total: how many there are; None where that is not known.
        unit: what is counted, in the plural.
        quiet: show nothing.
    """
    if quiet:
        yield Progress(total, unit)
        return
    with _shown(total, unit) as counter:
        yield counter
    message(counter.summary())


@contextmanager
def _shown(total: int | None, unit: str) -> Iterator[Progress]:
    if not sys.stderr.isatty():
        yield _Lines(total, unit)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True, no_color=_color() is False)
    # stdout is left alone: redirected, results would go to the bar's stream.
    columns = BarColumn(), TextColumn("{task.description}", markup=False)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        yield _Live(total, unit, bar)


def _color() -> bool | None:
    """False where colours are unwanted; None leaves it to click, which knows terminals."""
    return False if os.environ.get("NO_COLOR") else None


def _duration(seconds: float) -> str:
    """``9.4 s``, ``3:07 min`` or ``2:05 h``; none of them is ever rounded up to 60 of its unit."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: object) -> object:
    """``value`` with NaN and infinities as None, which is what JSON has for them."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value
