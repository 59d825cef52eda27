"""``dadfi-fast config``: what the options of ``protect`` come to."""

from __future__ import annotations

import copy
from typing import Any

import click
from click.core import ParameterSource

from dadfi_fast.cli import console
from dadfi_fast.cli.protect.command import command as protect
from dadfi_fast.cli.protect.config_file import FILE


@click.group("config")
def command() -> None:
    """Show the settings that protect would use."""


def _show(**_values: Any) -> None:
    """Show the effective value of every option of protect, and where it comes from.

    Accepts the options of protect without running it; SOURCE and --out may be omitted. `from` is the
    command line, the file given with --config, or default.
    """
    ctx = click.get_current_context()
    rows = [(_name(param), ctx.params[str(param.name)], _origin(ctx, param)) for param in _listed(ctx.command)]
    if ctx.params["as_json"]:
        console.json([{"option": name, "value": value, "from": origin} for name, value, origin in rows])
        return
    console.table(("option", "value", "from"), [(name, _text(value), origin) for name, value, origin in rows])


def _listed(show: click.Command) -> list[click.Parameter]:
    return [param for param in show.params if param.expose_value]


def _name(param: click.Parameter) -> str:
    if isinstance(param, click.Option):
        return next(opt for opt in param.opts if opt.startswith("--"))
    return str(param.human_readable_name).removesuffix("...")


def _origin(ctx: click.Context, param: click.Parameter) -> str:
    source = ctx.get_parameter_source(str(param.name))
    if source is ParameterSource.COMMANDLINE:
        return "command line"
    return str(ctx.meta[FILE]) if source is ParameterSource.DEFAULT_MAP else "default"


def _text(value: object) -> object:
    """As one writes it in a file: true and false; a list with spaces."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or None
    return value if value is None else str(value)


def _relaxed(param: click.Parameter) -> click.Parameter:
    """A parameter of protect that may be left out; its value is checked, and kept as it was given."""
    relaxed = copy.copy(param)
    relaxed.required = False
    if relaxed.expose_value and param.callback is not None:
        relaxed.callback = _checked(param)
    return relaxed


def _checked(param: click.Parameter) -> Any:
    def callback(ctx: click.Context, _param: click.Parameter, value: Any) -> Any:
        assert param.callback is not None
        param.callback(ctx, param, value)
        return value

    return callback


command.add_command(
    type(protect)("show", params=[_relaxed(p) for p in protect.params], callback=_show, help=_show.__doc__)
)
