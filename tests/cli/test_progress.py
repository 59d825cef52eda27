"""Progress: a bar on a terminal, lines off it, and the summary."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading

import pytest
from rich.console import Console, Group

from dadfi_fast.cli import progress
from dadfi_fast.cli.progress import Progress, show_progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.44, "9.4 s"), (59.97, "1:00 min"), (187, "3:07 min"), (3599.9, "1:00 h"), (7500, "2:05 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert progress._duration(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(0, "0.0 photos/s"), (0.04, "2.4 photos/min"), (0.1, "0.1 photos/s"), (3.21, "3.2 photos/s")]
)
def test_what_takes_long_is_counted_by_the_minute(rate: float, text: str) -> None:
    assert progress._speed(rate, "photos") == text


class Clock:
    """Stands in for the module `time`: it goes on only when told."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.mark.parametrize("width", [30, 80, 200])
def test_the_bar_fits_the_terminal_and_has_no_control_characters(width: int, clock: Clock) -> None:
    terminal = Console(width=width, record=True, file=io.StringIO())
    counter = Progress(20, "photos", lambda: f"slowest: \x1b]0;title\x07{'decode ' * 40}", terminal=terminal)
    clock.now += 1
    counter.advance(2)
    terminal.print(Group(*counter.bar.get_renderables()))
    bar, detail = terminal.export_text().splitlines()
    assert "2/20 photos, 2.0" in bar and ("9.0 s left" in bar) == (width > 30)
    assert bar.count("━") <= progress.BAR and detail.startswith(r"slowest: \x1b]0;title")


def test_off_a_terminal_a_line_comes_every_few_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(100) as counter:
        for _ in range(100):
            clock.now += 0.2
            counter.advance()
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert not out
    assert 3 <= len(lines) - 1 <= 20 / progress.EVERY
    assert lines[0] == "25/100 photos, 5.0 photos/s, 15.0 s left"
    assert lines[-1] == "100 photos in 20.0 s (5.0 photos/s)"


def test_the_time_left_is_that_of_the_last_seconds(clock: Clock) -> None:
    """A thousand that were there already must not promise that the rest goes as fast."""
    counter = Progress(2000, "photos")
    counter.advance(1000)
    for _ in range(100):
        clock.now += 1
        counter.advance(2)
    assert counter.rate() == pytest.approx(2, rel=0.1)
    assert "6:40 min left" in counter.line()


def test_an_unknown_total_promises_nothing(clock: Clock) -> None:
    counter = Progress(None, "files")
    assert counter.line() == "0 files, 0.0 files/s"
    clock.now += 2
    counter.advance(3)
    assert counter.line() == "3 files, 1.5 files/s"


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(2, quiet=True) as counter:
        counter.advance(2)
    assert capsys.readouterr() == ("", "")
    assert counter.done == 2


def test_a_run_that_ends_early_says_how_far_it_came(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(10) as counter:
        clock.now += 2
        counter.advance(4)
    assert capsys.readouterr().err == "4/10 photos in 2.0 s (2.0 photos/s)\n"


def test_threads_may_advance_together() -> None:
    counter = Progress(None, "photos")
    threads = [threading.Thread(target=lambda: [counter.advance() for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.done == 4000


SHOW = """
from dadfi_fast.cli import console
from dadfi_fast.cli.progress import show_progress
with show_progress(3) as progress:
    progress.advance()
    console.message("in between")
    progress.advance(2)
console.error("a fault")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("no_color", ["", "1"])
def test_on_a_terminal_there_is_a_bar_and_colour_unless_unwanted(no_color: str) -> None:
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm-256color"}
    with os.fdopen(theirs, "wb") as terminal:
        done = subprocess.run(
            [sys.executable, "-c", SHOW], stdout=subprocess.PIPE, stderr=terminal, env=environment, timeout=60
        )
    with os.fdopen(ours, "rb", buffering=0) as screen:
        shown = screen.read(65536).decode()
    assert done.returncode == 0 and done.stdout == b""
    assert "in between" in shown and "3 photos in" in shown and "a fault" in shown
    assert "━" in shown
    assert ("\x1b[31m" in shown) == (not no_color)
