"""Options of a command from the fields of dataclasses: each named once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dadfi_fast.cli.field_options import fields_as_options, sections_of, take
from dadfi_fast.cli.protect.command import Request
from dadfi_fast.cli.protect.command import command as protect
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.option import RUN, SECTIONS, WRITTEN, option, option_of


@dataclass(frozen=True, kw_only=True)
class Example:
    """One field of each kind."""

    where: Path | None = option(None, section=WRITTEN, help="A file.")
    sharpness: float = option(0.5, section=RUN, low=0, high=1, exclusive=True, help="A number.")
    count: int = option(3, section=RUN, low=1, help="A whole number.")
    threads: int | None = option(None, section=RUN, shown="auto", form="count or auto", help="A number, or auto.")
    share: float = option(0.05, section=RUN, shown="5%", form="percentage", help="A share.")
    quality: int | None = option(None, section=RUN, shown="keep", form="quality", help="A number, or keep.")
    kind: str = option("a", section=RUN, choices=("a", "b"), help="A choice.")
    on: bool = option(True, section=RUN, help="A switch that is on.")
    off: bool = option(False, section=RUN, flag="--off,-o", help="A switch that is off.")
    title: str = option(section=WRITTEN, help="Text that must be given.")
    shared: str = option("", section=WRITTEN)  # described elsewhere
    internal: int = 7  # no option


@pytest.fixture
def echo() -> click.Command:
    @click.command()
    @fields_as_options(Example)
    def command(**values: object) -> None:
        click.echo(repr(values))

    return command


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        ((), "where", None),
        (("--where", "x.txt"), "where", Path("x.txt")),
        ((), "sharpness", 0.5),
        (("--sharpness", "1"), "sharpness", 1.0),
        (("--count", "1"), "count", 1),
        ((), "threads", None),
        (("--threads", "4"), "threads", 4),
        ((), "share", 0.05),
        (("--share", "all"), "share", 1.0),
        ((), "quality", None),
        (("--quality", "90"), "quality", 90),
        (("--kind", "b"), "kind", "b"),
        ((), "on", True),
        (("--no-on",), "on", False),
        ((), "off", False),
        (("-o",), "off", True),
        ((), "title", "t"),
    ],
)
def test_values(echo: click.Command, arguments: tuple[str, ...], name: str, value: object) -> None:
    done = CliRunner().invoke(echo, ["--title", "t", *arguments])
    assert done.exit_code == 0, done.stderr
    assert f"{name!r}: {value!r}" in done.stdout
    assert "shared" not in done.stdout and "internal" not in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--sharpness", "0"],  # the lower bound itself is too small
        ["--sharpness", "1.1"],
        ["--count", "0"],
        ["--count", "1.5"],
        ["--threads", "0"],
        ["--share", "5"],
        ["--quality", "best"],
        ["--kind", "c"],
        ["--internal", "1"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_is_wrong_usage(echo: click.Command, arguments: list[str]) -> None:
    done = CliRunner().invoke(echo, ["--title", "t", *arguments])
    assert done.exit_code == 2 and arguments[0] in done.stderr


def test_what_must_be_given(echo: click.Command) -> None:
    assert "Missing option '--title'" in CliRunner().invoke(echo, []).stderr


def test_values_are_taken_by_the_class_that_names_them() -> None:
    values = {"on": True, "other": 1} | dict.fromkeys(field.name for field in dataclasses.fields(Example)[:-1])
    assert set(take(Example, values)) == {field.name for field in dataclasses.fields(Example)} - {"internal"}
    assert values == {"other": 1}


def test_every_field_that_is_an_option_is_one_of_protect_and_the_other_way_round() -> None:
    fields = [field for kind in (ProtectConfig, Request) for field in dataclasses.fields(kind) if option_of(field)]
    options = [param for param in protect.params if isinstance(param, click.Option)]
    assert sorted(field.name for field in fields) == sorted(str(param.name) for param in options)
    listed = sections_of(ProtectConfig, Request)
    assert tuple(listed) == SECTIONS
    assert sorted(name for names in listed.values() for name in names) == sorted(field.name for field in fields)


def test_defaults_are_those_of_the_fields() -> None:
    """Those that the command line shows in other words are resolved when the run is set up."""
    context = protect.make_context("protect", ["in", "--out", "out"])
    for field in dataclasses.fields(ProtectConfig):
        if option_of(field) and field.default is not dataclasses.MISSING and field.name != "decoder":
            assert context.params[field.name] == field.default, field.name


@pytest.mark.parametrize("param", [p for p in protect.params if isinstance(p, click.Option)], ids=lambda p: p.name)
def test_help_is_a_full_phrase(param: click.Option) -> None:
    text = (param.help or "").partition("  [")[0]
    assert text[:1].isalpha() and text.endswith(".") and len(text) > 15
