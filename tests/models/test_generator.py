from __future__ import annotations

import pytest
import torch

from dadfi_fast.errors import UsageError
from dadfi_fast.models.generator import PRESETS, Generator
from dadfi_fast.models.recognizer import Recognizer


@pytest.mark.parametrize(("preset", "parameters"), [("s", 90_835), ("m", 361_123), ("l", 1_440_067)])
def test_presets_have_the_size_they_are_known_by(preset: str, parameters: int) -> None:
    assert sum(p.numel() for p in Generator(preset).parameters()) == parameters


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [(16, 16), (64, 36), (128, 128)], ids=str)
def test_the_perturbation_has_the_pictures_shape_and_keeps_the_bound(preset: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    generator = Generator(preset, lim=0.03)
    with torch.no_grad():
        generator.up[-1].weight.mul_(100)  # drive the tanh into saturation
        delta = generator(torch.rand(2, 3, *size) * 2 - 1)
    assert delta.shape == (2, 3, *size)
    assert 0.0299 < delta.abs().max() <= 0.03


def test_bounds() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 32, 32)
    generators = {bound: Generator("s", lim=0.01, bound=bound) for bound in ("tanh", "clamp", "hinge-only")}
    state = generators["tanh"].state_dict()
    with torch.no_grad():
        peaks = {}
        for bound, generator in generators.items():
            generator.load_state_dict(state)
            peaks[bound] = generator(x).abs().max().item()
    assert peaks["tanh"] <= 0.01 and peaks["clamp"] == pytest.approx(0.01)
    assert peaks["hinge-only"] > 0.01  # only the loss asks it to stay below


def test_an_unknown_preset_is_told() -> None:
    with pytest.raises(UsageError, match="Available: s, m, l"):
        Generator("xl")


def test_recognizer_judges_patches() -> None:
    logits = Recognizer()(torch.rand(2, 3, 64, 48))
    assert logits.shape == (2, 1, 8, 6)
