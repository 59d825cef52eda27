"""``--config FILE.toml``: options by their names, from a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from dadfi_fast.errors import UsageError
from dadfi_fast.registry import did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Where the context keeps which file was read.
FILE: Final = "dadfi_fast.cli.protect.config_file.FILE"


def from_file(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
    """A click callback for an eager option: what the file says becomes the default; the command line wins.

    Keys are the long options without the dashes in front: ``strength = 0.03``, ``on-exists = "overwrite"``.

    Raises:
        UsageError: the file is no TOML, or has a key that is no option; the message names the nearest one.
    """
    if path is None:
        return
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path} as TOML: {error}") from error
    names, removed = _names(ctx.command), getattr(ctx.command, "removed", {})
    ctx.meta[FILE] = path
    ctx.default_map = {_known(key, names, removed, path): _text(value) for key, value in settings.items()}


def _names(command: click.Command) -> dict[str, str]:
    """Long option without dashes -> the parameter's name."""
    given = [p for p in command.params if isinstance(p, click.Option) and p.name != "config"]
    return {opt[2:]: str(p.name) for p in given for opt in p.opts if opt.startswith("--")}


def _known(key: str, names: dict[str, str], removed: Mapping[str, str], path: Path) -> str:
    option = key.replace("_", "-")
    if option in names:
        return names[option]
    if instead := removed.get(f"--{option}"):
        raise UsageError(f"{path}: option {key!r} was removed. {instead}")
    hint = did_you_mean(option, names)
    raise UsageError(f"{path}: unknown option {key!r}{hint}. Keys are option names without the leading dashes.")


def _text(value: Any) -> Any:
    """A value as the command line would have it: numbers become text, as some options take words or numbers."""
    return value if isinstance(value, bool) else str(value)
