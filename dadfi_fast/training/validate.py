"""The figures that a run is judged by while it runs: success on pictures that it was not trained on."""

from __future__ import annotations

import torch

from dadfi_fast.attacks.distortion import masked_distortion
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.metrics.defence import SUCCESS
from dadfi_fast.models.generator import Generator
from dadfi_fast.training.augment import resized
from dadfi_fast.training.data import Faces
from dadfi_fast.training.transforms import compressed, direct


@torch.no_grad()
def validate(
    generator: Generator, targets: list[Target], faces: Faces, *, image_size: int, batch: int = 32
) -> dict[str, float]:
    """SR_mask of every model, rounded to levels only (``png``) and after JPEG 75 4:2:0, and the perturbation's PSNR.

    A quick look without detection and files; what counts is ``dadfi-fast check`` on what was written.
    """
    assert faces.labels is not None
    device = next(generator.parameters()).device
    broken: dict[str, list[torch.Tensor]] = {}
    squares = []
    for index in torch.arange(len(faces)).split(batch):
        x = resized(faces.batch(index).to(device), image_size)
        delta = generator(x)
        squares.append(delta.square().mean())
        transforms = {"png": direct(image_size), "jpeg75": compressed(image_size, 75, len(x))}
        seen = {way: transform.protected(x, delta) for way, transform in transforms.items()}
        for target in targets:
            source = target.model.resize(x)
            for edit in target.edits(faces.labels[index]).to(device):
                clean = target.fake(x, edit)
                for way, pictures in seen.items():
                    moved = target.fake(pictures, edit)
                    key = f"{target.name} {way}"
                    broken.setdefault(key, []).append(masked_distortion(clean, moved, source) > SUCCESS)
    psnr = 20 * torch.log10(2 / torch.stack(squares).mean().sqrt().clamp(min=1e-9))
    return {key: torch.cat(hits).float().mean().item() for key, hits in broken.items()} | {"psnr": psnr.item()}
