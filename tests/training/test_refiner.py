"""White-box steps after the generator: more effect within the same bounds, and the same each time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dadfi_fast.attacks.base import FaceView, Refinement
from dadfi_fast.attacks.distortion import masked_distortion
from dadfi_fast.deepfakes import stargan
from dadfi_fast.deepfakes.base import Editor
from dadfi_fast.deepfakes.edits import Targets
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.faces.align import to_photo
from dadfi_fast.metrics.differentiable import flip, ssimulacra2
from dadfi_fast.metrics.visibility import as_jpeg
from dadfi_fast.training import refiner as module
from dadfi_fast.training.refiner import WhiteBoxRefiner
from dadfi_fast.types import Float32, UInt8

NAMES = ("Male", "Young")
SETTINGS = Refinement(steps=12, look=60, seed=0, strength=0.05, device="cpu", models=())
SIZE = 64


class Blind:
    """A classifier that sees no attribute."""

    image_size = 32

    def labels(self, images: Float32, names: tuple[str, ...], *, unknown_as: float | None = None) -> Float32:
        assert images.shape[1:] == (3, 32, 32) and names == NAMES
        return np.zeros((len(images), len(names)), np.float32)


@pytest.fixture
def target() -> Target:
    """A small StarGAN with random weights."""
    torch.manual_seed(0)
    generator = stargan.Generator(conv_dim=8, c_dim=2, repeat_num=2)
    return Target("small", Editor(generator, 32).eval().requires_grad_(False), "0" * 64, Targets(NAMES), NAMES)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, target: Target) -> Callable[..., WhiteBoxRefiner]:
    """Makes a refiner against the small model, with some of its settings changed."""
    monkeypatch.setattr(module, "load_targets", lambda cards: [target])

    def build(**changes: Any) -> WhiteBoxRefiner:
        blind: Any = Blind()
        return WhiteBoxRefiner([], blind, replace(SETTINGS, **changes))

    return build


@pytest.fixture
def small_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps see faces at fewer pixels than those that ship do, where it is not about the look: most of the time."""
    monkeypatch.setattr(module, "SEEN", 96)


@pytest.fixture
def faces(smooth: Callable[[int, int], UInt8]) -> list[FaceView]:
    """A large face and a small one of a file whose colour is subsampled."""
    return [FaceView(smooth(200, 200)), FaceView(smooth(90, 90)[::-1].copy(), subsampled=True)]


@pytest.fixture
def deltas() -> Float32:
    """What a generator put out that has learned nothing."""
    return np.random.default_rng(0).uniform(-0.01, 0.01, (2, 3, SIZE, SIZE)).astype(np.float32)


def d_mask(target: Target, face: FaceView, delta: Float32) -> float:
    """Mean over the edits, of the picture itself (A0)."""
    x, added = picture(face.pixels), enlarged(delta, 32)
    x = torch.nn.functional.interpolate(x, size=(32, 32), mode="bilinear", antialias=True)
    distances = [
        masked_distortion(target.fake(x, edit), target.fake((x + added).clamp(-1, 1), edit), x)
        for edit in target.edits(torch.zeros(1, 2))
    ]
    return float(torch.cat(distances).mean())


def picture(pixels: UInt8) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def enlarged(delta: Float32, side: int) -> torch.Tensor:
    return torch.nn.functional.interpolate(
        torch.from_numpy(delta)[None], size=(side, side), mode="bilinear", antialias=True
    )


def test_the_model_is_disturbed_more_than_before(
    make: Callable[..., WhiteBoxRefiner], target: Target, faces: list[FaceView], deltas: Float32
) -> None:
    refined = make()(faces, deltas)
    for face, before, after in zip(faces, deltas, refined, strict=True):
        assert d_mask(target, face, after) > 1.5 * d_mask(target, face, before)


@pytest.mark.usefixtures("small_look")
@pytest.mark.parametrize("strength", [0.01, 0.05])
def test_the_budget_holds(
    make: Callable[..., WhiteBoxRefiner], faces: list[FaceView], deltas: Float32, strength: float
) -> None:
    refined = make(strength=strength, look=20)(faces, deltas)
    assert refined.dtype == np.float32 and refined.shape == deltas.shape
    assert 0.5 * strength < np.abs(refined).max() <= strength


@pytest.mark.parametrize("look", [40, 85])
def test_neither_metric_rates_a_face_worse_than_the_jpeg(
    make: Callable[..., WhiteBoxRefiner], faces: list[FaceView], deltas: Float32, look: int
) -> None:
    refined = make(look=look, steps=4)(faces[:1], deltas[:1])
    x = picture(faces[0].pixels)
    coded = picture(as_jpeg(faces[0].pixels, look))
    written = np.rint(faces[0].pixels + to_photo(refined[0], len(faces[0].pixels))).clip(0, 255)  # as `blend` does
    changed = picture(written.astype(np.uint8))
    assert float(flip(x, changed)) <= 1.01 * float(flip(x, coded))
    assert float(ssimulacra2(x, changed)) >= float(ssimulacra2(x, coded)) - 0.5
    assert np.abs(refined).max() > 0.002


@pytest.mark.usefixtures("small_look")
def test_the_same_seed_gives_the_same_and_another_one_another(
    make: Callable[..., WhiteBoxRefiner], faces: list[FaceView], deltas: Float32
) -> None:
    refine = make(steps=2)
    first = refine(faces, deltas)
    assert np.array_equal(first, refine(faces, deltas)) and np.array_equal(first, make(steps=2)(faces, deltas))
    assert not np.array_equal(first, make(steps=2, seed=1)(faces, deltas))


@pytest.mark.usefixtures("small_look")
def test_a_photo_does_not_depend_on_the_one_before(
    make: Callable[..., WhiteBoxRefiner], faces: list[FaceView], deltas: Float32
) -> None:
    refine = make(steps=2)
    alone = refine(faces[1:], deltas[1:])
    assert np.array_equal(refine(faces, deltas)[1:], alone)


@pytest.mark.usefixtures("small_look")
def test_without_colour_all_channels_change_alike(
    make: Callable[..., WhiteBoxRefiner], faces: list[FaceView], deltas: Float32
) -> None:
    (refined,) = make(steps=2)([replace(faces[0], grey=True)], deltas[:1])
    assert np.allclose(refined[0], refined[1], atol=1e-6) and np.allclose(refined[0], refined[2], atol=1e-6)
    assert refined.any()


@pytest.mark.usefixtures("small_look")
def test_what_is_given_stays_as_it_is(
    make: Callable[..., WhiteBoxRefiner], faces: list[FaceView], deltas: Float32, tmp_path: Path
) -> None:
    before, pixels = deltas.copy(), faces[0].pixels.copy()
    make(steps=1)(faces, deltas)
    assert np.array_equal(deltas, before) and np.array_equal(faces[0].pixels, pixels)
