from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dadfi_fast.cli import options


@pytest.fixture
def echo() -> click.Command:
    """Prints what the shared options became."""

    @click.command()
    @options.backend
    @options.detector
    @options.json_output
    @options.quiet
    @click.option("--workers", default="auto", callback=options.auto_or_count)
    @click.option("--verify", default="5%", callback=options.share)
    def command(**values: object) -> None:
        click.echo(repr(sorted(values.items())))

    return command


def test_defaults(echo: click.Command) -> None:
    assert CliRunner().invoke(echo).stdout.strip() == repr(
        [
            ("as_json", False),
            ("backend", "auto"),
            ("detector", "auto"),
            ("detector_model", None),
            ("device", "auto"),
            ("quiet", False),
            ("verify", 0.05),
            ("workers", None),
        ]
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--workers", "3"], "('workers', 3)"),
        (["--workers", "auto"], "('workers', None)"),
        (["--verify", "all"], "('verify', 1.0)"),
        (["--verify", "none"], "('verify', 0.0)"),
        (["--verify", "12.5%"], "('verify', 0.125)"),
        (["-q", "--json"], "('quiet', True)"),
    ],
)
def test_values(echo: click.Command, arguments: list[str], expected: str) -> None:
    assert expected in CliRunner().invoke(echo, arguments).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--workers", "0"],
        ["--workers", "-1"],
        ["--workers", "1.5"],
        ["--workers", "²"],  # a digit, yet no number
        ["--verify", "5"],  # five what?
        ["--verify", "101%"],
        ["--verify", "-1%"],
        ["--verify", "nan%"],
        ["--verify", "half"],
        ["--detector-model", "no-such-file.onnx"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_is_wrong_usage(
    echo: click.Command, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(echo, arguments)
    assert done.exit_code == 2
    assert arguments[0] in done.stderr


def test_a_choice_that_is_none_names_the_nearest(tmp_path: Path) -> None:
    @click.command()
    @click.option("--form", type=options.Choice(("keep", "jpeg", "webp")))
    def command(form: str) -> None:
        click.echo(form)

    near, far = (CliRunner().invoke(command, ["--form", word]) for word in ("jpg", "xyz"))
    assert near.exit_code == far.exit_code == 2
    assert "Did you mean 'jpeg'?" in near.stderr and "'keep', 'jpeg', 'webp'" in far.stderr
    assert "Did you mean" not in far.stderr
    assert CliRunner().invoke(command, ["--form", "webp"]).stdout == "webp\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", None),
        ("1", 1),
        ("500M", 500 << 20),
        ("4G", 4 << 30),
        ("4g", 4 << 30),
        ("2GiB", 2 << 30),
        ("1T", 1 << 40),
    ],
)
def test_sizes(text: str, expected: int | None) -> None:
    assert options.size(None, None, text) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "0", "-1", "4 G", "1.5G", "G", "4X", "9" * 30])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is neither 'auto' nor a size"):
        options.size(None, None, text)  # type: ignore[arg-type]
