"""Options of a command from the fields of dataclasses (`dadfi_fast.protect.option`), each named once."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from dadfi_fast.cli import options
from dadfi_fast.protect.option import SECTIONS, Option, option_of

Callback = Callable[[click.Context, click.Parameter, str], Any]


def _quality(_ctx: click.Context, _param: click.Parameter, value: str) -> int | None:
    if value == "keep":
        return None
    if not value.isdecimal():
        raise click.BadParameter(f"{value!r} is neither 'keep' nor a number from 1 to 100")
    return int(value)


FORMS: Final[Mapping[str, Callback]] = {
    "count or auto": options.auto_or_count,
    "percentage": options.share,
    "quality": _quality,
    "size": options.size,
}


class NumberOr(click.ParamType):  # type: ignore[type-arg]  # older versions of click have no parameter there
    """A number, or one of some words."""

    name = "float"

    def __init__(self, words: tuple[str, ...]) -> None:
        self._words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if value in self._words:
            return str(value)
        try:
            return float(value)
        except ValueError:
            words = ", ".join(map(repr, self._words))
            self.fail(f"{value!r} is neither {words} nor a number", param, ctx)


def fields_as_options(*kinds: type) -> Callable[[options.F], options.F]:
    """A decorator for the function of a command: an option for each field of ``kinds`` that is described as one.

    Args:
        kinds: dataclasses; a field without a help text is an option that a decorator of `dadfi_fast.cli.options` adds.
    """

    def decorate(command: options.F) -> options.F:
        for field, kind, facts in reversed(list(_described(kinds))):
            if facts.help is not None:
                command = _click_option(field, kind, facts)(command)
        return command

    return decorate


def sections_of(*kinds: type) -> dict[str, tuple[str, ...]]:
    """Title -> names of fields, as `dadfi_fast.cli.options.Sectioned` takes them."""
    described = list(_described(kinds))
    return {title: tuple(f.name for f, _, facts in described if facts.section == title) for title in SECTIONS}


def take(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """The values of the fields of ``kind`` that are options; they are taken out of ``values``."""
    return {field.name: values.pop(field.name) for field, _, _ in _described((kind,))}


def _described(kinds: tuple[type, ...]) -> Iterator[tuple[dataclasses.Field[Any], Any, Option]]:
    """The fields that are options, with their types."""
    for kind in kinds:
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            if (facts := option_of(field)) is not None:
                yield field, hints[field.name], facts


def _click_option(field: dataclasses.Field[Any], kind: Any, facts: Option) -> Callable[[options.F], options.F]:
    flag = facts.flag or f"--{field.name.replace('_', '-')}"
    if kind is bool:
        return _switch(flag, field, facts)
    default = field.default if facts.shown is None else facts.shown
    required = default is dataclasses.MISSING
    shown: dict[str, Any] = {} if required else {"default": default, "show_default": default is not None}
    return click.option(
        *flag.split(","), field.name, metavar=facts.metavar, required=required, help=facts.help,
        type=_click_type(kind, facts), callback=FORMS.get(facts.form or ""), **shown,
    )  # fmt: skip


def _switch(flag: str, field: dataclasses.Field[Any], facts: Option) -> Callable[[options.F], options.F]:
    if field.default:
        flag = f"{flag}/--no-{flag[2:]}"
        return click.option(flag, field.name, default=True, show_default=True, help=facts.help)
    return click.option(*flag.split(","), field.name, is_flag=True, help=facts.help)


def _click_type(kind: Any, facts: Option) -> Any:
    """What click converts the text to; text where a form or the field's user does it."""
    if facts.choices:
        return options.Choice(facts.choices)
    words = tuple(word for each in typing.get_args(kind) for word in typing.get_args(each))
    if words and float in typing.get_args(kind):
        return NumberOr(words)
    kinds = [each for each in typing.get_args(kind) if each is not types.NoneType] or [kind]
    if facts.form is not None or len(kinds) > 1:
        return str
    if kinds[0] in (int, float):
        ranged: Any = click.IntRange if kinds[0] is int else click.FloatRange
        bounded = facts.low is not None or facts.high is not None
        return ranged(facts.low, facts.high, min_open=facts.exclusive) if bounded else kinds[0]
    return click.Path(dir_okay=False, path_type=Path) if kinds[0] is Path else str
