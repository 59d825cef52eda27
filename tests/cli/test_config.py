"""``dadfi-fast config show``: every option of protect, with its value and where that comes from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from dadfi_fast.cli.protect.command import command as protect

Command = Callable[..., Result]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Settings of a user."""
    path = tmp_path / "settings.toml"
    path.write_text('format = "webp"\nstrip-gps = true\nworkers = 2\nverify = "all"\nstrength = 0.03\n')
    return path


def rows(result: Result) -> dict[str, tuple[Any, str]]:
    """Option -> value and origin."""
    assert result.exit_code == 0, result.stderr
    return {row["option"]: (row["value"], row["from"]) for row in json.loads(result.stdout)}


def test_every_option_of_protect_is_there(command: Command) -> None:
    shown = rows(command("config", "show", "--json"))
    expected = {next(o for o in p.opts if o.startswith("--")) for p in protect.params if isinstance(p, click.Option)}
    assert set(shown) == (expected - {"--config"}) | {"SOURCE"}
    assert {origin for name, (_, origin) in shown.items() if name != "--json"} == {"default"}
    assert shown["--strength"] == (0.05, "default") and shown["--out"] == (None, "default")
    assert shown["--verify"] == ("5%", "default") and shown["--workers"] == ("auto", "default")


def test_where_each_comes_from(command: Command, file: Path) -> None:
    shown = rows(command("config", "show", "in", "--config", file, "--format", "png", "--out", "o", "--json"))
    assert shown["--format"] == ("png", "command line")  # it wins over the file
    assert shown["SOURCE"] == (["in"], "command line") and shown["--out"] == ("o", "command line")
    assert shown["--strip-gps"] == (True, str(file)) and shown["--strength"] == (0.03, str(file))
    assert shown["--verify"] == ("all", str(file)) and shown["--workers"] == ("2", str(file))
    assert shown["--quality"] == ("keep", "default")


def test_a_strength_of_auto(command: Command, tmp_path: Path) -> None:
    (tmp_path / "auto.toml").write_text('strength = "auto"\n')
    shown = rows(command("config", "show", "--config", tmp_path / "auto.toml", "--json"))
    assert shown["--strength"] == ("auto", str(tmp_path / "auto.toml"))
    assert rows(command("config", "show", "--strength", "auto", "--json"))["--strength"] == ("auto", "command line")


def test_the_table(command: Command, file: Path) -> None:
    lines = [line.split(maxsplit=2) for line in command("config", "show", "--config", file).stdout.splitlines()]
    assert lines[0] == ["option", "value", "from"]
    assert ["--strip-gps", "true", str(file)] in lines and ["--quality", "keep", "default"] in lines
    assert ["--out", "-", "default"] in lines


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--strengthh", "0.1"], "Did you mean '--strength'?"),
        (["--verify", "5"], "is not 'all', 'none' or a percentage"),
        (["--format", "jpg"], "Did you mean 'jpeg'?"),
        (["--config", "no-such-file.toml"], "does not exist"),
    ],
)
def test_what_protect_refuses_is_refused(command: Command, arguments: list[str], words: str) -> None:
    result = command("config", "show", *arguments)
    assert result.exit_code == 2 and words in result.stderr and not result.stdout


def test_a_wrong_key_in_the_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("strengthh = 0.1\n")
    result = command("config", "show", "--config", tmp_path / "bad.toml")
    assert result.exit_code == 2 and "did you mean 'strength'?" in result.stderr


def test_nothing_is_written(command: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    command("config", "show", tmp_path / "in", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
