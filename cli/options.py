"""Options that several commands share, each written once, and the forms of their values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def auto_or_count(_ctx: click.Context, _param: click.Parameter, value: str) -> int | None:
    """A click callback: ``auto`` becomes None; else a whole number of at least 1."""
    if value == "auto":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is neither 'auto' nor a whole number of at least 1")
    return int(value)


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
    text = "openvino, onnxruntime, tensorrt or torch; auto prints its choice and the reason."
    named = click.option("--backend", metavar="NAME", default="auto", show_default=True, help=text)
    placed = click.option("--device", metavar="NAME", default="auto", show_default=True, help="cpu, cuda or cuda:N.")
    return named(placed(command))


def detector(command: F) -> F:
    """``--detector`` and ``--detector-model``: what finds the faces."""
    text = "libfacedetection, yunet (needs --detector-model) or none: the whole picture is one face."
    path = click.Path(exists=True, dir_okay=False, path_type=Path)
    named = click.option("--detector", metavar="NAME", default="auto", show_default=True, help=text)
    model = click.option("--detector-model", metavar="FILE", type=path, help="The ONNX file of YuNet.")
    return named(model(command))


def json_output(command: F) -> F:
    """``--json``: the result as one JSON document on stdout (parameter ``as_json``)."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def quiet(command: F) -> F:
    """``--quiet``: no progress and no messages, only results and errors."""
    return click.option("--quiet", "-q", is_flag=True, help="No progress, no messages.")(command)
