"""``dadfi-fast export``: a generator in the form that another runtime wants."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dadfi_fast.cli import console, options
from dadfi_fast.errors import DadfiError, UsageError

if TYPE_CHECKING:
    from dadfi_fast.export.parity import Difference, Layer
    from dadfi_fast.export.targets import Written
    from dadfi_fast.types import Float32

_FOLDER = click.Path(file_okay=False, path_type=Path)
_PHOTOS = click.Path(exists=True, file_okay=False, path_type=Path)


def _words(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """A click callback: words with commas between them."""
    return tuple(word.strip() for word in value.split(",") if word.strip()) if value else ()


@click.command("export")
@click.option(
    "--to",
    type=options.Choice(["onnx", "openvino", "tensorrt", "tensorrt-rtx"]),
    required=True,
    help="Format to export to.",
)
@click.option(
    "--generator",
    metavar="NAME|FILE",
    help="Name of the generator, or FILE.onnx or FILE.safetensors with its card.  [default: generator-s]",
)
@click.option(
    "--out",
    type=_FOLDER,
    metavar="DIR",
    help="Folder to write to.  [default: the current folder; for engines the backend's cache]",
)
@click.option(
    "--half/--full",
    default=None,
    help="Precision: float16 (norm statistics in float32), or float32.  [default: half for engines, otherwise full]",
)
@click.option(
    "--fused",
    is_flag=True,
    help="Fuse norm, ReLU and addition into one node for our CUDA kernel (onnx, tensorrt). Other runtimes run it, too.",
)
@click.option(
    "--arch",
    metavar="LIST",
    callback=_words,
    help="GPU architectures to build engines for, such as sm80,sm89 (tensorrt-rtx); needs no GPU.  [default: this GPU]",
)
@options.device
@click.option("--check", is_flag=True, help="Run the result and compare it with float32 PyTorch, in levels of 0-255.")
@click.option("--photos", type=_PHOTOS, metavar="DIR", help="Folder of photos whose faces --check also runs on.")
@click.option("--layers", is_flag=True, help="Also compare after each layer (--check, onnx).")
@options.json_output
@options.quiet
def command(
    *,
    to: str,
    generator: str | None,
    out: Path | None,
    half: bool | None,
    fused: bool,
    arch: tuple[str, ...],
    device: str,
    check: bool,
    photos: Path | None,
    layers: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Export a generator for another runtime.

    \b
    onnx          NAME.onnx with its card: plain operators, any batch and size
    openvino      NAME.xml and NAME.bin
    tensorrt      an engine for the GPU in this machine
    tensorrt-rtx  an engine for each GPU architecture of --arch; needs no GPU

    Each file records the hash of its generator, its bound and its value range; for engines they are in the JSON file
    beside them. The file names go to stdout. With --check the exit code is 1 if a difference exceeds the limit of its
    precision, or if nothing on this machine can run the exported file.
    """
    from dadfi_fast.backends.registry import BACKENDS
    from dadfi_fast.export.targets import export

    if (layers or photos) and not check:
        raise UsageError("--layers and --photos need --check")
    if layers and to != "onnx":
        raise UsageError("--layers needs --to onnx: the other formats merge layers")
    chosen = options.chosen_device(to if to in BACKENDS else "auto", device, quiet=quiet or not check)
    written = export(to, generator, folder=out, narrow=half, fused=fused, architectures=arch, device=chosen)
    checked = _check(written, chosen, generator, photos, layers=layers) if check else None
    if as_json:
        console.json({"files": written.files, **(checked.facts() if checked else {})})
    else:
        _show(written, checked)
    if checked is not None:
        for why in checked.missing if not quiet else ():
            console.message(f"not run: {why}")
        _judge(checked)


@dataclass(frozen=True)
class _Found:
    """What the check found."""

    differences: list[Difference]
    layers: dict[str, list[Layer]]  # by backend
    missing: list[str]

    def facts(self) -> dict[str, Any]:
        """As JSON has it."""
        rows = [asdict(each) | {"within": each.within} for each in self.differences]
        layers = {name: [asdict(layer) for layer in each] for name, each in self.layers.items()}
        return {"check": rows, "layers": layers, "not_run": self.missing}


def _check(written: Written, device: str, generator: str | None, photos: Path | None, *, layers: bool) -> _Found:
    from dadfi_fast.backends.generator_file import DEFAULT, load_generator_file
    from dadfi_fast.export import parity

    # The reference is the generator itself, with its weights, not what was made of it.
    original = (
        written.generator_file
        if (generator or "").endswith(".safetensors")
        else load_generator_file(generator or DEFAULT)
    )
    truth, batches = parity.reference(original), _batches(photos, original.image_size)
    running, missing = parity.runners(
        written.generator_file, written.backends, device=device, precision=written.precision
    )
    running = [each for each in running if (each.name, each.describe) != ("torch", truth.describe)]  # itself
    judged = "f16" if written.narrow else None
    differences = [
        parity.compare(each, truth, batches, precision=None if each.precision == "bf16" else judged) for each in running
    ]
    inside = {each.describe: parity.layers(each, truth, batches[-1][:2]) for each in running} if layers else {}
    return _Found(differences, inside, missing)


def _batches(photos: Path | None, size: int) -> list[Float32]:
    """Noise with the spectrum of pictures, in two sizes; and the faces of ``photos``."""
    from dadfi_fast.export import parity

    batches = [parity.pictures(size=size), parity.pictures(1, size=96, seed=1)]
    return batches if photos is None else [*batches, parity.photo_crops(photos, size=size)]


def _show(written: Written, checked: _Found | None) -> None:
    for path in written.files:
        console.result(str(path))
    if checked is None or not checked.differences:
        return
    console.result(
        f"\nagainst {checked.differences[0].against}, in levels of 0-255;"
        " pixels: share of values that differ by a whole level"
    )
    rows = [
        (each.backend, each.precision, each.largest, each.rms, f"{each.pixels:.2%}", "yes" if each.within else "NO")
        for each in checked.differences
    ]
    console.table(("backend", "judged as", "largest", "rms", "pixels", "within"), rows)
    for name, layers in checked.layers.items():
        console.result(f"\n{name}, each layer in its own scale")
        figures = [(layer.name, layer.largest, layer.rms, layer.peak) for layer in layers]
        console.table(("layer", "largest", "rms", "peak"), figures)


def _judge(checked: _Found) -> None:
    if not checked.differences:
        raise DadfiError(f"the file is written, but cannot be run on this machine: {'; '.join(checked.missing)}")
    beyond = [each.backend for each in checked.differences if not each.within]
    if beyond:
        raise DadfiError(f"difference from float32 above the limit of its precision: {', '.join(beyond)}")
