"""``dadfi-fast bench throughput --backend all``: the generator on everything that can run it here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dadfi_fast.cli import console, options

if TYPE_CHECKING:
    from dadfi_fast.backends.generator_file import GeneratorFile
    from dadfi_fast.bench.rows import Row


def side_by_side(
    *,
    photos: Path,
    generator: str | None,
    presets: Sequence[str],
    device: str,
    scratch: Path | None,
    repeats: int,
    quiet: bool,
) -> list[Row]:
    """Rows for the generator, and for one of each preset with random weights, on the faces of ``photos``."""
    from dadfi_fast.bench import providers
    from dadfi_fast.cli.progress import show_progress
    from dadfi_fast.export import parity

    device = options.chosen_device("auto", device, quiet=quiet)
    parts = options.assembly({"generator": generator, "device": device})
    crops = parity.photo_crops(photos, size=parts.generator_file.image_size, most=8)
    with TemporaryDirectory(prefix="dadfi-bench-", dir=scratch) as folder:
        timed = [(parts.generator_file.name, parts.generator_file)]
        timed += [(f"random {preset}", _random(preset, Path(folder))) for preset in presets]
        fields = [providers.field(each, crops, Path(folder), label=label, device=device) for label, each in timed]
        for each in fields if not quiet else ():
            console.message(f"{each.label}: default {each.runners[0].describe}, beside {len(each.runners) - 1} others")
            for why in each.missing:
                console.message(f"not measured: {why}")
        steps = providers.count_cases(fields) * (repeats + 1)
        with show_progress(steps, "cases", quiet=quiet) as progress:
            return providers.run(fields, crops, repeats=repeats, tick=progress.advance)


def _random(preset: str, folder: Path) -> GeneratorFile:
    """A generator with random weights and a gate: as fast as the one that ships."""
    import torch
    from safetensors.torch import save_file

    from dadfi_fast.backends.generator_file import GeneratorFile
    from dadfi_fast.export.to_onnx import export_generator
    from dadfi_fast.files import sha256
    from dadfi_fast.models.generator import Generator

    torch.manual_seed(0)
    model, path = Generator(preset, gated=True), folder / f"random-{preset}.onnx"
    export_generator(model, path)
    save_file(model.state_dict(), path.with_suffix(".safetensors"))
    return GeneratorFile(path.stem, path, path.with_suffix(".safetensors"), sha256(path), model.lim, preset, gated=True)
