"""What the program says: results go to stdout; progress, messages and errors go to stderr.

Colours are used on a terminal only, and never where the environment has ``NO_COLOR`` (https://no-color.org). Names of
files reach no terminal as they are: `visible` escapes what could move the cursor, change colours or fake a line.
"""

from __future__ import annotations

import json as _json
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from dadfi_fast.files import json_safe

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Seconds between two lines of progress where stderr is no terminal.
EVERY: Final = 5.0
#: The speed and the time left are those of the last seconds, not of the whole run: a resumed run starts with many
#: photos that cost nothing.
WINDOW: Final = 30.0
#: The widest bar, in cells.
BAR: Final = 40
#: Control characters, line and paragraph separators, what turns the direction of writing, and halves of characters:
#: bytes of a name that are no UTF-8 come as such.
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """``text`` in one line that can be shown on any terminal: control characters and the like become escapes."""
    return _UNSEEN.sub(_escape, text)


def result(text: str) -> None:
    """Print a result on stdout: a line, or several; of control characters only line ends and tabs stay."""
    _echo(_UNSEEN.sub(lambda match: match[0] if match[0] in "\n\t" else _escape(match), text))


def json(value: object) -> None:
    """Print ``value`` on stdout as JSON: NaN becomes null, what JSON does not know (paths) becomes text.

    In UTF-8, whatever the terminal's encoding; what `visible` escapes stands there as ``\\uXXXX``.
    """
    text = _json.dumps(json_safe(value), ensure_ascii=False, default=str, allow_nan=False, indent=2)
    click.echo(_UNSEEN.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text).encode())


def message(text: str) -> None:
    """Say something about the run: a line on stderr."""
    _echo(visible(text), err=True)


def error(text: str) -> None:
    """Say what went wrong: a line ``dadfi-fast: error: ...`` on stderr."""
    _echo(f"dadfi-fast: {click.style('error:', fg='red', bold=True)} {visible(text)}", err=True)


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
        _echo(click.style(joined, bold=True) if number == 0 else joined)


class Progress:
    """Counts what is done; `progress` makes one. Safe to advance from several threads."""

    def __init__(self, total: int | None, unit: str, detail: Callable[[], str] = lambda: "") -> None:
        self.total, self.unit, self.done, self.detail = total, unit, 0, detail
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
            message("; ".join(part for part in (self.line(), self.detail()) if part))


class _Live(Progress):
    """On a terminal: a bar with the line beside it, and the detail below; cut off where the terminal ends."""

    def render(self, console: Console) -> RenderableType:
        """What is shown now."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        line, detail = visible(self.line()), visible(self.detail())
        width = max(0, min(BAR, console.width - len(line) - 1))
        bar = ProgressBar(self.total, self.done, width=width, pulse=self.total is None)
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(width=width)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        grid.add_row(bar, Text(line))
        return Group(grid, Text(detail, style="dim", no_wrap=True, overflow="ellipsis")) if detail else grid


@contextmanager
def progress(
    total: int | None, unit: str = "photos", *, quiet: bool = False, detail: Callable[[], str] = lambda: ""
) -> Iterator[Progress]:
    """Show on stderr how far a run is: a bar on a terminal, else a line every `EVERY` seconds; at the end a summary.

    Args:
        total: how many there are; None where that is not known.
        unit: what is counted, in the plural.
        quiet: show nothing.
        detail: gives a second line, asked for whenever the display is brought up to date.
    """
    if quiet:
        yield Progress(total, unit)
        return
    with _shown(total, unit, detail) as counter:
        yield counter
    message(counter.summary())


@contextmanager
def _shown(total: int | None, unit: str, detail: Callable[[], str]) -> Iterator[Progress]:
    if not sys.stderr.isatty():
        yield _Lines(total, unit, detail)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, no_color=_color() is False)
    live = _Live(total, unit, detail)
    # stdout is left alone: redirected, results would go to the bar's stream.
    with Live(get_renderable=lambda: live.render(console), console=console, transient=True, redirect_stdout=False):
        yield live


def _echo(text: str, *, err: bool = False) -> None:
    try:
        click.echo(text, err=err, color=_color())
    except UnicodeEncodeError as error:  # of a stream that is not UTF-8
        click.echo(text.encode(error.encoding, "backslashreplace").decode(error.encoding), err=err, color=_color())


def _escape(match: re.Match[str]) -> str:
    """``\\x1b``, ``\\n`` or ``\\u202e``; a byte of a name that is no UTF-8 is written as that byte."""
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else match[0].encode("unicode_escape").decode()


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
    return f"{value:.4g}" if isinstance(value, float) else visible(str(value))
