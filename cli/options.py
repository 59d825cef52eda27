"""Options that several commands share, each written once, and the forms of their values."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import click

from dadfi_fast.cli import console
from dadfi_fast.registry import did_you_mean

if TYPE_CHECKING:
    from dadfi_fast.protect.assembly import Assembly

F = TypeVar("F", bound=Callable[..., Any])
Names = Callable[[click.Context, click.Parameter, str], list[str]]


class Choice(click.Choice):  # type: ignore[type-arg]  # older versions of click have no parameter there
    """One of some words; the error for another word names the nearest one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return str(super().convert(value, param, ctx))
        except click.BadParameter as error:
            hint = did_you_mean(str(value), self.choices, sentence=True)
            raise click.BadParameter(f"{error.message}{hint}", ctx=ctx, param=param) from None


class Sectioned(click.Command):
    """A command whose help lists its options in sections; what no section names comes last."""

    #: Title -> names of parameters, in the order in which they are listed.
    sections: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    #: Options of earlier versions, and what to do instead.
    removed: ClassVar[Mapping[str, str]] = {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; of an option that was removed, the error says what to do instead."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            instead = self.removed.get(error.option_name)
            if instead is None:
                raise
            raise click.UsageError(f"{error.option_name} was removed. {instead}", ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options, section by section."""
        listed = (param for param in self.get_params(ctx) if isinstance(param, click.Option))
        shown = {str(param.name): param.get_help_record(ctx) for param in listed}
        for title, names in self.sections.items():
            records = [record for name in names if (record := shown.pop(name, None))]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
        if rest := [record for record in shown.values() if record]:
            with formatter.section("Other options"):
                formatter.write_dl(rest)


def names_in(module: str, table: str, *more: str) -> Names:
    """What a shell completes an option to: ``more``, and the names in a table that is imported when it asks."""

    def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        names = [*more, *getattr(importlib.import_module(module), table)]
        return [name for name in names if name.startswith(incomplete)]

    return complete


def auto_or_count(_ctx: click.Context, _param: click.Parameter, value: str) -> int | None:
    """A click callback: ``auto`` becomes None; else a whole number of at least 1."""
    if value == "auto":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is neither 'auto' nor an integer of at least 1")
    return int(value)


def size(_ctx: click.Context, _param: click.Parameter, value: str) -> int | None:
    """A click callback: ``auto`` becomes None; else bytes, with K, M, G or T for powers of 1024."""
    if value == "auto":
        return None
    match = re.fullmatch(r"(\d{1,6})([KMGT]?)i?B?", value, re.IGNORECASE)
    if match is None or int(match[1]) < 1:
        raise click.BadParameter(f"{value!r} is neither 'auto' nor a size such as 4G or 500M")
    return int(match[1]) << 10 * " KMGT".index(match[2].upper() or " ")


def listed(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """A click callback: what an option lists that may be given several times, each time with commas."""
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())


def share(_ctx: click.Context, _param: click.Parameter, value: str) -> float:
    """A click callback: ``all``, ``none`` or a percentage such as ``5%`` becomes a float from 0 to 1."""
    text = {"all": "100%", "none": "0%"}.get(value, value)
    try:
        fraction = float(text.removesuffix("%")) / 100
    except ValueError:
        fraction = -1.0
    if not (text.endswith("%") and 0 <= fraction <= 1):
        raise click.BadParameter(f"{value!r} is not 'all', 'none' or a percentage from 0% to 100%")
    return fraction


def backend(command: F) -> F:
    """``--backend`` and ``--device``: what the generator runs on."""
    text = (
        "What runs the generator: openvino, onnxruntime, torch, tensorrt or tensorrt-rtx. auto: the first that runs on "
        "the --device; prints its choice and the reason."
    )
    names = names_in("dadfi_fast.backends.registry", "BACKENDS", "auto")
    named = click.option(
        "--backend", metavar="NAME", default="auto", show_default=True, help=text, shell_complete=names
    )
    return named(device(command))


def device(command: F) -> F:
    """``--device``: the CPU, or a GPU."""
    text = "cpu, cuda or cuda:N. auto: a GPU that the chosen backend can use, otherwise the CPU; prints its choice."
    return click.option("--device", metavar="NAME", default="auto", show_default=True, help=text)(command)


def detector(command: F) -> F:
    """``--detector`` and ``--detector-model``: what finds the faces."""
    text = (
        "What finds the faces: libfacedetection, yunet (needs --detector-model), or none (the whole image is one face)."
    )
    path = click.Path(exists=True, dir_okay=False, path_type=Path)
    names = names_in("dadfi_fast.faces.detector", "DETECTORS", "auto")
    named = click.option(
        "--detector", metavar="NAME", default="auto", show_default=True, help=text, shell_complete=names
    )
    model = click.option("--detector-model", metavar="FILE", type=path, help="ONNX file of YuNet.")
    return named(model(command))


def assembly(values: dict[str, Any]) -> Assembly:
    """The parts that ``--generator``, ``--backend``, ``--device``, ``--detector`` and ``--detector-model`` name.

    Args:
        values: a command's parameters; those five are taken out.
    """
    from dadfi_fast.protect.assembly import Assembly

    names = [each.name for each in dataclasses.fields(Assembly) if each.name in values]
    return Assembly(**{name: value for name in names if (value := values.pop(name)) is not None})


def chosen_device(backend: str, device: str, *, quiet: bool = False) -> str:
    """The device that ``--device`` names for ``backend``; what ``auto`` chose, and why, goes to stderr."""
    from dadfi_fast.backends.registry import choose_device

    chosen, reason = choose_device(backend, device)
    if device == "auto" and not quiet:
        console.message(f"--device auto is {chosen}: {reason}")
    return chosen


def models(command: F) -> F:
    """``--models``: which deepfake models, all where none is named."""
    return click.option(
        "--models", multiple=True, callback=listed, metavar="NAME,...", help="Use only these deepfake models."
    )(command)


def json_output(command: F) -> F:
    """``--json``: the result as one JSON document on stdout (parameter ``as_json``)."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def rows_to(command: F) -> F:
    """``--json FILE``: what was measured is appended there, a row a line (parameter ``target``)."""
    path = click.Path(dir_okay=False, path_type=Path)
    return click.option(
        "--json", "target", type=path, metavar="FILE", help="Append the results to FILE, one JSON row per line."
    )(command)


def quiet(command: F) -> F:
    """``--quiet``: no progress and no messages, only results and errors."""
    return click.option("--quiet", "-q", is_flag=True, help="Print no progress and no messages.")(command)
