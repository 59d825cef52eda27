"""``dadfi-fast models add NAME FILE.onnx``: a network that somebody else trained."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dadfi_fast.cli import console
from dadfi_fast.errors import UsageError
from dadfi_fast.model_card import user_folder

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dadfi_fast.deepfakes.onnx_interface import NetworkWishes

F = TypeVar("F", bound=Callable[..., Any])

#: What files of networks end with.
SUFFIX = ".onnx"


def options(command: F) -> F:
    """The options for networks in ONNX files."""
    declared = [
        click.option(
            "--edit",
            "edits",
            multiple=True,
            metavar="NAME[:INPUT=VALUE,...]",
            help="ONNX: an edit and the values of the network's other inputs: a number (repeated), a list such as "
            "[0,1], or a .npy file; repeatable.",
        ),
        click.option("--input", "picture", metavar="NAME", help="ONNX: the input that takes the image."),
        click.option("--output", metavar="NAME", help="ONNX: the output that is the edited image."),
        click.option(
            "--layout", type=click.Choice(["nchw", "nhwc"]), help="ONNX: where the channels of the input are."
        ),
        click.option("--channels", type=click.Choice(["rgb", "bgr"]), help="ONNX: order of the channels."),
        click.option(
            "--range",
            "values",
            metavar="LOW,HIGH",
            help="ONNX: values of black and white in the input: -1,1 or 0,1 or 0,255 or others, or imagenet "
            "(normalized by its mean and deviation).",
        ),
        click.option("--output-range", metavar="LOW,HIGH", help="ONNX: same for the output."),
    ]
    for option in reversed(declared):
        command = option(command)
    return command


def wishes(image_size: int | None, given: dict[str, Any]) -> NetworkWishes:
    """The values of `options`, read.

    Raises:
        UsageError: one cannot be read, or the package onnx is missing.
    """
    if importlib.util.find_spec("onnx") is None:
        raise UsageError("onnx is not installed. Run: pip install 'dadfi-fast[train]'")
    from dadfi_fast.deepfakes.onnx_interface import EditWish, NetworkWishes, Range

    return NetworkWishes(
        input=given["picture"],
        output=given["output"],
        image_size=image_size,
        layout=given["layout"],
        channels=given["channels"],
        range=_read("--range", given["values"], Range.parse),
        output_range=_read("--output-range", given["output_range"], Range.parse),
        edits=[_read("--edit", text, EditWish.parse) for text in given["edits"]],
    )


def add(name: str, file: Path, wanted: NetworkWishes, *, staged: Callable[[str], AbstractContextManager[Path]]) -> None:
    """Check the network in ``file``, and take it into the user's data folder as ``name``."""
    from dadfi_fast.deepfakes.onnx_network import read_own, write_own

    network = read_own(file, wanted)
    console.message(f"{file.name}: {network.interface.size} px, edits {', '.join(network.interface.edits)}")
    for note in network.notes:
        console.message(f"note: {note}")
    with staged(name) as stage:
        (stage / "original").mkdir()
        shutil.copyfile(file, stage / "original" / file.name)
        card = write_own(network, stage, name=name)
    if not card.extra["differentiable"]:
        console.message(
            f"note: {name} is judged only (check, --strength auto), and not for train, evaluate ceiling and protect"
            f" --refine: {card.extra['why_not']}"
        )
    console.result(str(user_folder() / name / card.file.name))


def _read(option: str, text: str | None, parse: Callable[[str], Any]) -> Any:
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError:
        form = "NAME or NAME:INPUT=VALUE,INPUT=VALUE" if option == "--edit" else "LOW,HIGH or imagenet"
        raise UsageError(f"{option} {text!r} is not of the form {form}") from None
