from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dadfi_fast.attacks.adversary import ADVERSARIES, Adversary, cut, framing
from dadfi_fast.attacks.ceiling import EPS, Bound, JPEGBound, PSNRBound, ascend, distance, start
from dadfi_fast.deepfakes.base import Editor
from dadfi_fast.deepfakes.edits import ATTRIBUTES, Targets
from dadfi_fast.deepfakes.stargan import Generator
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.metrics.perceptual import flip, ssimulacra2
from dadfi_fast.metrics.visibility import as_jpeg


@pytest.fixture
def target() -> Target:
    torch.manual_seed(0)
    generator = Generator(conv_dim=4, repeat_num=1)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(3)  # so that its edits change something
    return Target("tiny", Editor(generator, image_size=32).eval().requires_grad_(False), "0" * 64, Targets(ATTRIBUTES))


@pytest.fixture
def pictures() -> Tensor:
    coarse = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0.05, 0.95) * 2 - 1


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("name", ADVERSARIES)
def test_the_ascent_gets_further_than_where_it_began(name: str, target: Target, pictures: Tensor) -> None:
    edit, bound = target.edits(torch.zeros(3, 5))[1], PSNRBound(36)
    question = distance(target, pictures, edit, ADVERSARIES[name], rng())
    first, told = start(pictures, rng()), list[int]()
    last = ascend(first, lambda _: (pictures, [question]), bound, steps=12, watch=lambda number, _: told.append(number))
    with torch.no_grad():
        before, after = (question(pictures + bound.fit(pictures, delta)) for delta in (first, last))
    assert (after > 2 * before).all() and told[-1] == 12 and len(told) == 8


def test_one_for_all_pictures(target: Target, pictures: Tensor) -> None:
    edit = target.edits(torch.zeros(3, 5))[1]
    question = distance(target, pictures, edit, ADVERSARIES["A0"], rng())
    mark = ascend(start(pictures[:1], rng()), lambda _: (pictures, [question]), PSNRBound(30), steps=12)
    assert mark.shape == (1, 3, 64, 64) and mark.abs().max() <= EPS
    noise = start(mark, rng(), bound=EPS)
    with torch.no_grad():
        assert question(pictures + mark).mean() > question(pictures + noise).mean()


@pytest.mark.parametrize("bound", [PSNRBound(39), PSNRBound(34), JPEGBound(50), JPEGBound(90)], ids=lambda b: b.name)
def test_bounds_hold(bound: Bound, pictures: Tensor) -> None:
    delta = bound.fit(pictures, 3 * start(pictures, rng(), bound=EPS))
    images = pictures + delta
    assert delta.abs().max() <= EPS + 1e-6 and images.abs().max() <= 1 + 1e-6
    assert (delta.abs().amax((1, 2, 3)) > 0.005).all()  # what is allowed is used
    if isinstance(bound, PSNRBound):
        psnr = 20 * torch.log10(2 / delta.square().mean((1, 2, 3)).sqrt())
        assert (psnr >= bound.decibels - 1e-3).all()
        return
    assert isinstance(bound, JPEGBound)
    for before, after in zip(pictures, images, strict=True):
        one, other = (((p + 1) * 127.5).round().byte().permute(1, 2, 0).numpy() for p in (before, after))
        coded = as_jpeg(one, bound.quality)
        assert flip(one, other) <= 1.1 * flip(one, coded)
        assert ssimulacra2(one, other) >= ssimulacra2(one, coded) - 2


def test_what_is_seen_is_paid_for(pictures: Tensor) -> None:
    bound, tint = JPEGBound(95), 2 * EPS * torch.tensor([0.5, -0.5, 1.0])[:, None, None].expand_as(pictures)
    costs = [bound.penalty(pictures, scale * tint).item() for scale in (0.05, 0.5, 1)]
    assert 0 == costs[0] < costs[1] < costs[2]


@pytest.mark.parametrize(
    ("adversary", "same"), [(Adversary("exact"), True), (Adversary("other", zoom=0.1, shift=0.05), False)]
)
def test_frames(adversary: Adversary, same: bool, pictures: Tensor) -> None:
    assert adversary.exact == same
    frames = [adversary.frames(3, generator) for generator in (rng(), rng())]
    assert torch.equal(*frames)
    assert torch.allclose(cut(pictures, frames[0], 64), pictures, atol=1e-5) == same


def test_mirrored_frames() -> None:
    frames = framing(64, rng(), zoom=0, shift=0, mirror=True)
    assert set(frames[:, 0, 0].tolist()) == {-1.0, 1.0} and (frames[:, 1, 1] == 1).all()
