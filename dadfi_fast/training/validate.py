"""The figures that a run is judged by while it runs: success on pictures that it was not trained on."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import torch

from dadfi_fast.attacks.adversary import ADVERSARIES
from dadfi_fast.attacks.distortion import distortion_of
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.metrics.defence import SUCCESS
from dadfi_fast.metrics.differentiable import flip, ssimulacra2
from dadfi_fast.metrics.visibility import Metric, jpeg_equivalent
from dadfi_fast.models.generator import Generator
from dadfi_fast.training.augment import resized
from dadfi_fast.training.data import Faces
from dadfi_fast.training.transforms import compressed, direct
from dadfi_fast.types import UInt8

#: Pictures whose JPEG equivalent is measured.
LOOKED_AT = 6
#: Pixels a side that those are enlarged to.
SEEN_AT: Final = 256


@torch.no_grad()
def validate(
    generator: Generator, targets: list[Target], faces: Faces, *, image_size: int, crop_share: float = 1.0,
    batch: int = 32,
) -> dict[str, float]:  # fmt: skip
    """SR_mask and d_mask of every model, the perturbation's PSNR, and its JPEG equivalent on the first pictures.

    The pictures are rounded to levels only (``png``), framed anew (``a1``), or after JPEG 75 4:2:0 (``jpeg75``). A
    quick look without detection and files; what counts is ``dadfi-fast check`` on what was written.

    Args:
        crop_share: the side of the frames over that of the pictures, before A1 varies it.
    """
    assert faces.labels is not None
    device = next(generator.parameters()).device
    broken: dict[str, list[torch.Tensor]] = {}
    squares, looks, rng = [], list[int](), torch.Generator().manual_seed(0)
    for index in torch.arange(len(faces)).split(batch):
        x = resized(faces.batch(index).to(device), image_size)
        delta = generator(x)
        squares.append(delta.square().mean())
        ways = {"png": direct(image_size), "jpeg75": compressed(image_size, 75, len(x))}
        frames = ADVERSARIES["A1"].frames(len(x), rng)
        frames[:, :, :2] *= crop_share
        ways["a1"] = replace(ways["png"], frames=frames)
        before = {way: x if transform.frames is None else transform.clean(x) for way, transform in ways.items()}
        after = {way: transform.protected(x, delta) for way, transform in ways.items()}
        for target in targets:
            for edit in target.edits(faces.labels[index]).to(device):
                clean = {way: target.fake(before[way], edit) for way in ("png", "a1")}
                for way, pictures in after.items():
                    source, fake = before[way], clean["a1" if way == "a1" else "png"]
                    distance = distortion_of(target)(fake, target.fake(pictures, edit), target.model.resize(source))
                    broken.setdefault(f"{target.name} {way}", []).append(distance)
        if not looks:
            looks = [_looks(*pair) for pair in zip(x[:LOOKED_AT], (x + delta)[:LOOKED_AT], strict=True)]
    psnr = 20 * torch.log10(2 / torch.stack(squares).mean().sqrt().clamp(min=1e-9))
    distances = {key: torch.cat(values) for key, values in broken.items()}
    figures = {key: (values > SUCCESS).float().mean().item() for key, values in distances.items()}
    figures |= {f"{key} d_mask": values.mean().item() for key, values in distances.items()}
    return figures | {"psnr": psnr.item(), "jpeg_equivalent": statistics.median(looks)}


def _looks(before: torch.Tensor, after: torch.Tensor) -> int:
    """The JPEG equivalent of two pictures [3, S, S] in [-1, 1], enlarged to `SEEN_AT`."""
    pictures = (resized(p[None].clamp(-1, 1), max(SEEN_AT, p.shape[-1]))[0] for p in (before, after))
    one, other = (((p + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy() for p in pictures)
    return jpeg_equivalent(np.ascontiguousarray(one), np.ascontiguousarray(other), metrics=_METRICS)


def _picture(pixels: UInt8) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


#: Those of `jpeg_equivalent`, without FLIP's package, which training does not need otherwise.
_METRICS: Final[Mapping[str, Metric]] = {
    "ssimulacra2": lambda one, other: ssimulacra2(_picture(one), _picture(other)).item(),
    "flip": lambda one, other: -flip(_picture(one), _picture(other)).item(),
}
