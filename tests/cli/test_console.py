from __future__ import annotations

import json
import os
import subprocess
import sys
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
