"""How far a run is: rich's bar on a terminal, elsewhere a line every few seconds. Loads rich, so import it late."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, RenderableType
from rich.progress import BarColumn, ProgressColumn, Task
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from dadfi_fast.cli import console

#: Seconds between two lines of progress where stderr is no terminal.
EVERY: Final = 5.0
#: The speed and the time left are those of the last seconds, not of the whole run: a resumed run starts with many
#: photos that cost nothing.
WINDOW: Final = 30.0
#: The widest bar, in cells.
BAR: Final = 40


class Progress:
    """Counts what is done. Safe to advance from several threads.

    Args:
        total: how many there are; None where that is not known.
        unit: what is counted, in the plural.
        detail: gives a second line, asked for whenever the display is brought up to date.
        lines: print a line every `EVERY` seconds.
        terminal: draw a bar there, within ``with progress.bar``.
    """

    def __init__(
        self,
        total: int | None,
        unit: str,
        detail: Callable[[], str] = lambda: "",
        *,
        lines: bool = False,
        terminal: Console | None = None,
    ) -> None:
        self.unit, self.detail, self._lines = unit, detail, lines
        self.bar = _Bar(self, terminal)
        self.bar.add_task(unit, total=total)
        (self._task,) = self.bar.tasks
        self._lock, self._last_line = threading.Lock(), time.monotonic()

    @property
    def done(self) -> int:
        """How many are done."""
        return int(self._task.completed)

    def advance(self, n: int = 1) -> None:
        """``n`` more are done."""
        self.bar.advance(self._task.id, n)
        if self._lines and self._line_is_due():
            console.message("; ".join(part for part in (self.line(), self.detail()) if part))

    def rate(self) -> float:
        """Units a second over the last `WINDOW` seconds; 0 before the first."""
        elapsed = self._task.elapsed or 0.0
        return self._task.speed or (self.done / elapsed if elapsed else 0.0)

    def line(self) -> str:
        """What is done, how fast, and the time left, in one line."""
        rate, remaining = self.rate(), self._task.remaining
        left = [] if remaining is None or not rate else [f"{_duration(remaining / rate)} left"]
        return ", ".join([f"{self._count()} {self.unit}", _speed(rate, self.unit), *left])

    def summary(self) -> str:
        """What was done in how much time."""
        seconds = self._task.elapsed or 0.0
        rate = self.done / max(seconds, 1e-9)
        return f"{self._count()} {self.unit} in {_duration(seconds)} ({_speed(rate, self.unit)})"

    def _count(self) -> str:
        total = self._task.total
        return f"{self.done}" if total in (None, self.done) else f"{self.done}/{total}"

    def _line_is_due(self) -> bool:
        with self._lock:
            now = time.monotonic()
            due = now - self._last_line >= EVERY
            self._last_line = now if due else self._last_line
            return due


class _Bar(RichProgress):
    """A bar with the line of ``progress`` beside it, and the detail below; cut off where the terminal ends."""

    def __init__(self, progress: Progress, terminal: Console | None) -> None:
        self._progress = progress
        # stdout is left alone: redirected, results would go to the bar's stream.
        super().__init__(
            BarColumn(bar_width=None, table_column=Column(max_width=BAR)),
            _Line(progress),
            console=terminal,
            speed_estimate_period=WINDOW,
            transient=True,
            redirect_stdout=False,
            get_time=lambda: time.monotonic(),
            disable=terminal is None,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar, and the detail where there is one."""
        yield self.make_tasks_table(self.tasks)
        if detail := console.visible(self._progress.detail()):
            yield Text(detail, style="dim", no_wrap=True, overflow="ellipsis")


class _Line(ProgressColumn):
    def __init__(self, progress: Progress) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis"))
        self._progress = progress

    def render(self, task: Task) -> Text:
        """What stands beside the bar."""
        return Text(console.visible(self._progress.line()))


@contextmanager
def show_progress(
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
    if sys.stderr.isatty():
        progress = Progress(total, unit, detail, terminal=Console(stderr=True, no_color=console.color() is False))
    else:
        progress = Progress(total, unit, detail, lines=True)
    with progress.bar:
        yield progress
    console.message(progress.summary())


def _speed(rate: float, unit: str) -> str:
    """``3.2 photos/s``, or ``2.4 photos/min`` where a unit takes more than ten seconds."""
    return f"{60 * rate:.1f} {unit}/min" if 0 < rate < 0.1 else f"{rate:.1f} {unit}/s"


def _duration(seconds: float) -> str:
    """``9.4 s``, ``3:07 min`` or ``2:05 h``; none of them is ever rounded up to 60 of its unit."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"
