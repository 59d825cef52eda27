from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.cli import console


def test_results_go_to_stdout_and_the_rest_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.result("a result")
    console.message("a message")
    console.error("a fault")
    assert capsys.readouterr() == ("a result\n", "a message\ndadfi-fast: error: a fault\n")


def test_json_is_json_whatever_comes(capsys: pytest.CaptureFixture[str]) -> None:
    console.json({"path": Path("a/b"), "nan": [float("nan"), (float("-inf"), 1.5)], "name": "é", 1: None})
    out = capsys.readouterr().out
    assert json.loads(out) == {"path": str(Path("a/b")), "nan": [None, [None, 1.5]], "name": "é", "1": None}
    assert "NaN" not in out and "é" in out


#: What could move a cursor, fake a line or turn the direction of writing, and how it is shown.
UNSEEN = [
    ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
    ("\r\x1b[2K", r"\r\x1b[2K"),
    ("\x9b31m\x7f", r"\x9b31m\x7f"),
    ("a\nfake", r"a\nfake"),
    ("gpj.\u202efdp", r"gpj.\u202efdp"),
    ("\u2028", r"\u2028"),
    ("\udcff", r"\xff"),  # the byte 255 of a name that is not UTF-8
    ("\ud800", r"\ud800"),
    ("é 写真 \U0001f600", "é 写真 \U0001f600"),
]


@pytest.mark.parametrize(("name", "shown"), UNSEEN)
def test_control_characters_are_shown_as_escapes(name: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert console.visible(name) == shown
    console.message(name)
    console.error(name)
    assert capsys.readouterr().err == f"{shown}\ndadfi-fast: error: {shown}\n"
    console.table(["name"], [[name]])
    assert capsys.readouterr().out.splitlines() == ["name", shown]
    console.result(f"\t{name}\n")  # which may have several lines
    assert capsys.readouterr().out == f"\t{shown}\n\n".replace(r"a\n", "a\n")


@pytest.mark.parametrize(("name", "shown"), UNSEEN)
def test_json_is_utf8_without_control_characters(name: str, shown: str, capsysbinary: Any) -> None:
    console.json({name: name})
    out = capsysbinary.readouterr().out.decode("utf-8")
    assert json.loads(out) == {name: name}
    assert not set(out) & set("\x07\r\x1b\x7f\x9b\u2028\u202e")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_a_stream_of_another_encoding_is_no_fault(encoding: str) -> None:
    script = "from dadfi_fast.cli import console; console.result('写'); console.message('写'); console.json('写é')"
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
    assert done.stdout.decode("utf-8").split() == [r"\u5199", '"写é"']
    assert done.stderr.split() == [rb"\u5199"]


def test_a_live_line_has_no_control_characters() -> None:
    from rich.console import Console

    shown = Console(width=200, record=True, file=io.StringIO())
    shown.print(console._Live(2, "photos", lambda: "slowest: \x1b]0;title\x07").render(shown))
    assert r"\x1b]0;title\x07" in shown.export_text()


def test_a_table_lines_up(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(["name", "n", "share"], [["a", 1, 2.5], ["写真.jpg", 1000, None], ["b", None, 0.123456]])
    assert capsys.readouterr().out.splitlines() == [
        "name         n   share",
        "a            1     2.5",
        "写真.jpg  1000       -",  # these two characters are two cells wide
        "b            -  0.1235",
    ]


def test_a_table_without_rows_is_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(["name", "n"], [])
    assert capsys.readouterr().out == "name  n\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.44, "9.4 s"), (59.97, "1:00 min"), (187, "3:07 min"), (3599.9, "1:00 h"), (7500, "2:05 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert console._duration(seconds) == text


class Clock:
    """Stands in for the module `time`: it goes on only when told."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(console, "time", clock)
    return clock


def test_off_a_terminal_a_line_comes_every_few_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress(100) as progress:
        for _ in range(100):
            clock.now += 0.2
            progress.advance()
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert not out
    assert 3 <= len(lines) - 1 <= 20 / console.EVERY
    assert lines[0] == "25/100 photos, 5.0 photos/s, 15.0 s left"
    assert lines[-1] == "100 photos in 20.0 s (5.0 photos/s)"


def test_the_time_left_is_that_of_the_last_seconds(clock: Clock) -> None:
    """A thousand that were there already must not promise that the rest goes as fast."""
    progress = console.Progress(2000, "photos")
    progress.advance(1000)
    for _ in range(100):
        clock.now += 1
        progress.advance(2)
    assert progress.rate() == pytest.approx(2, rel=0.1)
    assert "6:40 min left" in progress.line()


def test_an_unknown_total_promises_nothing(clock: Clock) -> None:
    progress = console.Progress(None, "files")
    assert progress.line() == "0 files, 0.0 files/s"
    clock.now += 2
    progress.advance(3)
    assert progress.line() == "3 files, 1.5 files/s"


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress(2, quiet=True) as progress:
        progress.advance(2)
    assert capsys.readouterr() == ("", "")
    assert progress.done == 2


def test_a_run_that_ends_early_says_how_far_it_came(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress(10) as progress:
        clock.now += 2
        progress.advance(4)
    assert capsys.readouterr().err == "4/10 photos in 2.0 s (2.0 photos/s)\n"


def test_threads_may_advance_together() -> None:
    progress = console.Progress(None, "photos")
    threads = [threading.Thread(target=lambda: [progress.advance() for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert progress.done == 4000


SHOW = """
from dadfi_fast.cli import console
with console.progress(3) as progress:
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
