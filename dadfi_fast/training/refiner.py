"""``protect --refine``: some white-box steps for each face, from the generator's perturbation on.

The ascent is the one of the ceilings (`dadfi_fast.attacks.ceiling`), a photo's way to the adversary that of the recipe
`release`, and what is seen is bounded on the face at its photo's own size.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from dadfi_fast.attacks.adversary import ADVERSARIES, cut
from dadfi_fast.attacks.aimed import project
from dadfi_fast.attacks.base import FaceView, Refinement, Refiner
from dadfi_fast.attacks.ceiling import Batch, Distance, JPEGBound, ascend
from dadfi_fast.attacks.distortion import distortion_of
from dadfi_fast.deepfakes.onnx_model import AttributeModel
from dadfi_fast.deepfakes.torch_model import Target, load_targets
from dadfi_fast.faces import adversary
from dadfi_fast.faces.align import MARGIN, feather
from dadfi_fast.metrics.perceptual import PIXELS_A_DEGREE
from dadfi_fast.metrics.visibility import as_jpeg
from dadfi_fast.model_card import Card
from dadfi_fast.training import losses
from dadfi_fast.training.augment import resized
from dadfi_fast.training.config import TrainConfig, load_config
from dadfi_fast.training.device import placed, torch_device
from dadfi_fast.training.transforms import Transform, draw
from dadfi_fast.types import LEVELS, Float32, UInt8

#: Pixels a side at which the metrics look at a face in each step; SSIMULACRA2 wants 256.
SEEN: Final = 256
#: The largest face, in pixels a side, on which the final bound is measured at its own size; larger ones are shrunk.
LARGEST: Final = 1024
#: Halvings that a perturbation's final scale is found with, to 2 / 64: each of them takes as long as half a step.
HALVINGS: Final = 6
#: Adam's rate at the beginning, on the [-1, 1] scale.
STEP: Final = 0.01
#: Weight of the recipe's error by axes of colour: a tenth of the recipe's own, as the final scale bounds what is seen.
LAMBDA_VISIBLE: Final = 40.0


class WhiteBoxRefiner(Refiner):
    """Raises d_mask of several deepfake models, all edits, by gradient steps.

    Every step looks at one edit of each model, going round, through a way to the adversary that is drawn anew: JPEG,
    blur, and his crop (zoom and shift of A2). Then each perturbation is scaled until neither metric rates the face, at
    its own size, worse than the JPEG. What is drawn depends on the seed alone, so that a photo's result does not depend
    on the photos before it.

    Args:
        cards: of the deepfake models.
        classifier: says which attributes a face has; the edits start from them.
        refinement: how much is done, and under which bounds.

    Raises:
        BackendMissing: PyTorch does not see the device.
        WeightsError: a model's file is not that of its card, or its family cannot be differentiated.
    """

    def __init__(self, cards: Sequence[Card], classifier: AttributeModel, refinement: Refinement) -> None:
        self.settings, self.classifier = refinement, classifier
        self.device = torch_device(refinement.device)
        self.targets = load_targets(cards)
        for target in self.targets:
            placed(target.model, self.device)
        far = ADVERSARIES["A2"]
        self._recipe = load_config(
            "release",
            {
                "crop_share": adversary.MARGIN / MARGIN,
                "crop_zoom": far.zoom,
                "crop_shift": far.shift,
                "crop_power": 2.0,
                "lambda_visible": LAMBDA_VISIBLE,
            },
        )
        self._lock = threading.Lock()  # a GPU has several calls under way

    def __call__(self, faces: Sequence[FaceView], deltas: Float32) -> Float32:
        alike: dict[tuple[int, bool, bool], list[int]] = defaultdict(list)
        for index, face in enumerate(faces):
            alike[self._scale(face, deltas.shape[-1]), face.subsampled, face.grey].append(index)
        refined = deltas.copy()
        with self._lock:
            for (scale, subsampled, _), indices in alike.items():
                config = self._config(scale, subsampled=subsampled)
                refined[indices] = self._refine([faces[i] for i in indices], deltas[indices], config)
        return refined

    def _scale(self, face: FaceView, size: int) -> int:
        """Which of the recipe's sizes of a face, relative to the generator's crop, comes next below this one."""
        scales = self._recipe.photo_scales
        return max((i for i, scale in enumerate(scales) if scale * size <= len(face.pixels)), default=0)

    def _config(self, scale: int, *, subsampled: bool) -> TrainConfig:
        """The recipe for faces of one size; where the file halves the resolution of colour, every JPEG may."""
        recipe = self._recipe
        chosen = {"photo_scales": (recipe.photo_scales[scale],), "jpeg_floors": (recipe.jpeg_floors[scale],)}
        config = replace(recipe, **chosen)  # type: ignore[arg-type]
        return replace(config, jpeg_share=1.0, subsampled_from=0.0) if subsampled else config

    def _refine(self, faces: Sequence[FaceView], deltas: Float32, config: TrainConfig) -> Float32:
        """Of faces that are written alike."""
        settings, size = self.settings, deltas.shape[-1]
        views = [_picture(face.pixels, self.device) for face in faces]
        views = [resized(view, LARGEST) if view.shape[-1] > LARGEST else view for view in views]
        x = torch.cat([resized(view, size) for view in views])
        edits = self._edits(x)
        rng = torch.Generator().manual_seed(settings.seed)
        bound = _Look(settings, views, size, config, grey=faces[0].grey)

        def batch(number: int) -> Batch:
            transform = draw(config, x, rng)
            clean = transform.clean(x)
            return x, [
                _distance(target, x, clean, each[number % len(each)], transform)
                for target, each in zip(self.targets, edits, strict=True)
            ]

        start = torch.from_numpy(deltas).to(self.device)
        ascended = ascend(start, batch, bound, steps=settings.steps, step=STEP, looks=0, eps=settings.strength)
        refined: Float32 = bound.fitted(ascended).cpu().numpy()
        return refined

    @torch.no_grad()
    def _edits(self, x: Tensor) -> list[Tensor]:
        """Each model's edits of the faces ``x`` [B, 3, S, S], [E, B, D], by the attributes that the classifier sees."""
        frames = torch.eye(2, 3).expand(len(x), -1, -1) * (adversary.MARGIN / MARGIN)
        seen = cut(x, frames, self.classifier.image_size).cpu().numpy()
        labels = self.classifier.labels(seen, self.targets[0].columns, unknown_as=0)
        return [target.edits(torch.from_numpy(labels)).to(self.device) for target in self.targets]


class _Look(JPEGBound):
    """As a JPEG looks on the faces at their own size; the steps see them at `SEEN` pixels, from as far away.

    Beside the two metrics stands the recipe's weighted error, in which blue against yellow is cheapest.

    Args:
        settings: strength and JPEG quality.
        views: the faces, [1, 3, side, side] each.
        size: pixels a side of the perturbations.
        config: the weights of the error.
        grey: whether the files have no colour, and all channels change alike.
    """

    def __init__(
        self, settings: Refinement, views: Sequence[Tensor], size: int, config: TrainConfig, *, grey: bool
    ) -> None:
        own = float(np.mean([view.shape[-1] for view in views]))
        super().__init__(settings.look, eps=settings.strength, pixels_a_degree=PIXELS_A_DEGREE * SEEN / own)
        self._views, self._config, self._grey = views, config, grey
        self._seen = torch.cat([resized(view, SEEN) for view in views])
        self._mask = torch.from_numpy(feather(size) / np.float32(LEVELS)).to(views[0].device)

    def within(self, x: Tensor, delta: Tensor) -> Tensor:
        return project(x, self._level(delta) * self._mask, self.eps)

    def penalty(self, x: Tensor, delta: Tensor) -> Tensor:
        config = self._config
        weighted = losses.visibility(delta, losses.rms_of_psnr(config.psnr_goal), axes=config.axis_weights)
        return super().penalty(self._seen, resized(delta, SEEN)) + config.lambda_visible * len(x) * weighted

    @torch.no_grad()
    def fitted(self, delta: Tensor) -> Tensor:
        """``delta`` [B, 3, S, S], as large as the bound allows on each face at its own size."""
        scales = []
        for view, each in zip(self._views, self._level(delta).split(1), strict=True):
            bound = JPEGBound(self.quality, eps=self.eps)
            scales.append(bound.scale(view, resized(each * self._mask, view.shape[-1]), halvings=HALVINGS))
        return (torch.cat(scales) * self._level(delta)).clamp(-self.eps, self.eps)

    def _measured(self, x: Tensor) -> tuple[Tensor, Tensor]:
        coded = [_picture(as_jpeg(_levels(view), self.quality), view.device) for view in self._views]
        shrunk = torch.cat([resized(each, SEEN) for each in coded])
        with torch.no_grad():
            return self.scores(x, shrunk)

    def _level(self, delta: Tensor) -> Tensor:
        return delta.mean(1, keepdim=True).expand_as(delta) if self._grey else delta


def _distance(target: Target, x: Tensor, clean: Tensor, edit: Tensor, transform: Transform) -> Distance:
    """d_mask of the fakes of ``x`` [B, 3, S, S] by ``edit`` [B, D], after a way to the adversary.

    Args:
        clean: his crop of the unprotected photos.
    """
    with torch.no_grad():
        fake, source = target.fake(clean, edit), target.model.resize(clean)

    def measure(moved: Tensor) -> Tensor:
        return distortion_of(target)(fake, target.fake(transform.protected(x, moved - x), edit), source)

    return measure


def _picture(pixels: UInt8, device: torch.device) -> Tensor:
    """[H, W, 3] as [1, 3, H, W] in [-1, 1]."""
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return planes.to(device)[None].float() / LEVELS - 1


def _levels(x: Tensor) -> UInt8:
    """[1, 3, H, W] in [-1, 1] as [H, W, 3] in levels."""
    levels: UInt8 = ((x[0] + 1) * LEVELS).round().byte().permute(1, 2, 0).cpu().numpy()
    return levels
