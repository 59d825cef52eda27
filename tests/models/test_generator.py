from __future__ import annotations

import pytest
import torch

from dadfi_fast.errors import UsageError
from dadfi_fast.models.generator import PRESETS, Bound, Generator, gate
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


def _area(grey: float, *, spots: float = 0.0, side: int = 4) -> torch.Tensor:
    """[1, 3, 32, 32]: one grey, or squares of ``side`` x ``side`` pixels that differ by ``spots``."""
    index = torch.arange(32) // side
    odd = (index[:, None] + index) % 2
    return (grey + spots * (odd - 0.5)).expand(1, 3, 32, 32)


def _coloured(red: float, green: float, blue: float) -> torch.Tensor:
    return torch.tensor([red, green, blue])[None, :, None, None].expand(1, 3, 32, 32)


@pytest.mark.parametrize(
    ("picture", "share"),
    [
        pytest.param(_area(0.6), 0.0, id="plain and bright"),
        pytest.param(_area(0.2), 0.5, id="plain, between grey and bright"),
        pytest.param(_area(-0.3), 1.0, id="plain and grey"),
        pytest.param(_area(-0.65), 0.625, id="plain, between grey and dark"),
        pytest.param(_area(-0.9), 0.25, id="plain and dark"),
        pytest.param(_area(0.6, spots=0.4), 1.0, id="busy and bright"),
        pytest.param(_area(-0.65, spots=0.4), 1.0, id="busy and dark"),
        pytest.param(_area(0.6, spots=0.4, side=2), 0.0, id="too fine to count"),
        pytest.param(_coloured(0.9, 0.6, -0.6), 0.25, id="the mean of the channels counts"),
    ],
)
def test_gate_closes_where_a_change_is_seen(picture: torch.Tensor, share: float) -> None:
    values = gate(picture)
    assert values.shape == (1, 1, *picture.shape[2:])
    assert torch.allclose(values, torch.full_like(values, share), atol=1e-5)


def test_gate_is_halfway_where_an_area_is_half_plain() -> None:
    middle = gate(_area(0.6, spots=0.15))[0, 0, 8:24, 8:24]
    assert torch.allclose(middle, torch.full_like(middle, 0.5), atol=1e-5)


@pytest.mark.parametrize("turned", [False, True])
def test_gate_opens_towards_an_edge(turned: bool) -> None:
    """A bright wall of 12 pixels beside a black one of 20, 16 pixels high: blocks of 4 pixels, worked out by hand."""
    picture = torch.cat([_area(0.6)[..., :16, :12], _area(-0.9)[..., :16, :20]], dim=3)
    values = gate(picture.transpose(2, 3) if turned else picture)[0, 0]
    expected = torch.tensor([0, 1 / 3, 2 / 3, (1 + 1 + 0.25) / 3, (1 + 0.5) / 3, 0.25, 0.25, 0.25]).repeat_interleave(4)
    assert values.shape == ((32, 16) if turned else (16, 32))
    assert torch.allclose(values.T if turned else values, expected.expand(16, 32), atol=1e-5)


@pytest.mark.parametrize("bound", ["tanh", "clamp", "hinge-only"])
def test_gated_generator_weakens_that_of_the_same_weights(bound: Bound) -> None:
    torch.manual_seed(0)
    open_, gated = (Generator("s", bound=bound, gated=gated) for gated in (False, True))
    gated.load_state_dict(open_.state_dict())
    x = torch.cat([_area(0.6), _area(0.6, spots=0.4), _area(-0.9)])
    with torch.no_grad():
        assert torch.equal(gated(x), gate(x) * open_(x))


def test_an_unknown_preset_is_told() -> None:
    with pytest.raises(UsageError, match="Available: s, m, l"):
        Generator("xl")


def test_recognizer_judges_patches() -> None:
    logits = Recognizer()(torch.rand(2, 3, 64, 48))
    assert logits.shape == (2, 1, 8, 6)
