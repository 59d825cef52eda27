"""What every attack promises: its budget, the same result from the same seed, and that its calls are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dadfi_fast.attacks.base import Attack, Calls
from dadfi_fast.attacks.cmua import Watermark
from dadfi_fast.attacks.distortion import masked_distortion
from dadfi_fast.attacks.generator import GeneratorAttack
from dadfi_fast.attacks.moma import Moma, MomaStage
from dadfi_fast.attacks.nes import NES
from dadfi_fast.attacks.noise import Noise
from dadfi_fast.attacks.registry import ATTACKS, AttackInputs, make
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.torch import Torch
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.errors import UsageError
from dadfi_fast.protect.blend import limit
from dadfi_fast.types import LEVELS, Budget, Float32

pytestmark = pytest.mark.slow

SIZE = 32
LABELS = np.eye(5, dtype=np.float32)[:2]
PATTERN = np.random.default_rng(7).normal(0, 1, (3, 48, 48)).astype(np.float32)  # far beyond any budget
STAGES = (MomaStage("pgd", "pixel", 8, 3), MomaStage("mi-fgsm", "absolute", 4, 0), MomaStage("i-fgsm", "masked", 8, 3))


@dataclass(frozen=True)
class Case:
    """How to make an attack, and what it may ask of deepfake models when it perturbs."""

    name: str
    gradients: bool = False
    queries: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    own: Callable[[AttackInputs], Attack] | None = None  # for what is in no table

    def make(self, means: AttackInputs) -> Attack:
        return self.own(means) if self.own else make(self.name, means)


WHITE = {"gradients": True, "queries": True}  # the clean fakes are asked for in any case
CASES = [
    Case("noise"),
    Case("watermark", own=lambda means: Watermark(means.budget, PATTERN)),
    Case("cmua", options={"steps": 3}),  # its calls are made beforehand
    Case("fgsm", **WHITE),
    Case("i-fgsm", **WHITE, options={"steps": 6}),
    Case("pgd", **WHITE, options={"steps": 6}),
    Case("nes", queries=True, own=lambda means: NES(means.targets, means.budget, steps=2, directions=2)),
    Case("anti-forgery", **WHITE, options={"steps": 20, "rate": 0.005}),
    Case("moma", **WHITE, options={"population": 2, "generations": 1}),
    Case("stages", **WHITE, own=lambda means: Moma(means.targets, means.budget, STAGES, seed=means.seed)),
    Case("ats-o2a", **WHITE, options={"steps": 5}),
    Case("adv-bot", queries=True, options={"rounds": 3}),
    Case("initiative"),
    Case("mse"),
    Case("dadfi"),
]
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def crops(seed: int = 0, size: int = SIZE) -> Float32:
    """Coarse pictures of whole levels."""
    coarse = np.random.default_rng(seed).integers(0, 256, (2, 3, 8, 8)).astype(np.float32) / LEVELS - 1
    return coarse.repeat(size // 8, axis=2).repeat(size // 8, axis=3).astype(np.float32)


@contextmanager
def passes(targets: list[Target]) -> Iterator[Calls]:
    """Counts the pictures that go through the models, by whether they are differentiated."""
    calls = Calls()

    def count(_module: object, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        if inputs[0].requires_grad:
            calls.gradients += len(inputs[0])
        else:
            calls.queries += len(inputs[0])

    hooks = [target.model.generator.register_forward_hook(count) for target in targets]
    yield calls
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def disturbed(targets: list[Target], x: Float32, delta: Float32) -> float:
    """The mean masked distance over models, edits and pictures."""
    clean, moved = torch.tensor(x), torch.tensor(np.clip(x + delta, -1, 1))
    distances = []
    for target in targets:
        source = target.model.resize(clean)
        for edit in target.edits(torch.tensor(LABELS)):
            distances.append(masked_distortion(target.fake(clean, edit), target.fake(moved, edit), source))
    return torch.cat(distances).mean().item()


@pytest.fixture
def means(targets: list[Target], generator_file: GeneratorFile) -> Callable[..., AttackInputs]:
    """What a case is made from, at a strength."""
    backend = Torch(generator_file)

    def inputs(case: Case, eps: float = 0.05) -> AttackInputs:
        generators = dict.fromkeys(("initiative", "mse", "dadfi"), backend)
        return AttackInputs(Budget(eps), targets, [(crops(1), LABELS)], generators, seed=1, options=case.options)

    return inputs


def test_every_attack_is_in_the_table() -> None:
    assert {case.name for case in CASES if case.own is None} == set(ATTACKS)


@each
@pytest.mark.parametrize("eps", [0.01, 0.1])
def test_stays_within_the_budget_and_uses_it(case: Case, eps: float, means: Callable[..., AttackInputs]) -> None:
    x = crops()
    delta = case.make(means(case, eps)).aim(LABELS)(x)
    assert delta.shape == x.shape and delta.dtype == np.float32
    assert 0.5 * eps < np.abs(delta).max() <= np.float32(eps)
    written, before = (np.rint((np.clip(picture, -1, 1) + 1) * LEVELS) for picture in (x + delta, x))
    assert np.abs(written - before).max() <= limit(Budget(eps))  # as `protect` rounds


@each
def test_the_same_seed_gives_the_same_result_and_leaves_the_pictures_alone(
    case: Case, means: Callable[..., AttackInputs]
) -> None:
    x, labels = crops(), LABELS.copy()
    one, two = (case.make(means(case)).aim(labels)(x) for _ in range(2))
    assert np.array_equal(one, two)
    assert np.array_equal(x, crops()) and np.array_equal(labels, LABELS)


@each
def test_is_finite_at_the_ends_of_the_range(case: Case, means: Callable[..., AttackInputs]) -> None:
    x = np.stack([np.full((3, SIZE, SIZE), value, np.float32) for value in (-1, 1)])
    assert np.isfinite(case.make(means(case)).aim(LABELS)(x)).all()


@each
def test_a_picture_of_another_size_is_taken(case: Case, means: Callable[..., AttackInputs]) -> None:
    x = crops(size=40)
    assert case.make(means(case)).aim(LABELS)(x).shape == x.shape


@each
def test_calls_are_counted(case: Case, means: Callable[..., AttackInputs]) -> None:
    inputs = means(case)
    with passes(inputs.targets) as making:
        attack = case.make(inputs)
    with passes(inputs.targets) as running:
        for _ in range(2):
            attack.aim(LABELS)(crops())
    assert attack.spent == making
    assert attack.calls == running
    assert (running.gradients > 0, running.queries > 0) == (case.gradients, case.queries)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.gradients or case.name == "cmua"], ids=lambda case: case.name
)
def test_what_follows_gradients_disturbs_more_than_noise(case: Case, means: Callable[..., AttackInputs]) -> None:
    inputs, x = means(case), crops()
    control = Noise(inputs.budget, seed=1)(x)
    assert disturbed(inputs.targets, x, case.make(inputs).aim(LABELS)(x)) > 1.5 * disturbed(inputs.targets, x, control)


@pytest.mark.parametrize("name", ["pgd", "cmua", "moma", "mse"])
def test_says_what_is_missing(name: str) -> None:
    with pytest.raises(UsageError, match=rf"attack {name} needs"):
        make(name, AttackInputs(Budget()))


def test_says_that_pictures_are_missing(targets: list[Target]) -> None:
    with pytest.raises(UsageError, match="needs training images"):
        make("cmua", AttackInputs(Budget(), targets))


def test_strength_scales_the_perturbation(generator_file: GeneratorFile) -> None:
    x = crops()
    weak, trained = (GeneratorAttack(Torch(generator_file), Budget(eps))(x) for eps in (0.02, generator_file.lim))
    np.testing.assert_allclose(weak, trained * 0.02 / generator_file.lim, atol=1e-7)
