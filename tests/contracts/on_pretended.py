"""Attacks against deepfake models on another device than the CPU; `tests.test_pretend` runs this."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from dadfi_fast.attacks.registry import AttackInputs
from dadfi_fast.backends.generator_file import GeneratorFile, load_generator_file
from dadfi_fast.deepfakes.torch_model import Target
from tests.contracts.test_attacks import CASES, LABELS, Case, crops, means
from tests.pretend import pretend_device

__all__ = ["means"]


@pytest.fixture
def generator_file() -> GeneratorFile:
    """The one that ships, in place of one that is exported first: none of these attacks asks a generator."""
    return load_generator_file()


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.queries or case.name == "cmua"], ids=lambda case: case.name
)
def test_the_models_may_be_elsewhere(case: Case, means: Callable[..., AttackInputs]) -> None:
    if case.options.get("steps", 0) > 2:  # each step does the same on the device
        case = replace(case, options=case.options | {"steps": 2})
    here = case.make(means(case)).aim(LABELS)(crops())
    with pretend_device() as device:
        away = replace(means(case), targets=[_moved(target, device) for target in means(case).targets])
        there = case.make(away).aim(LABELS)(crops())
    assert type(there) is np.ndarray and there.shape == here.shape
    # Where a gradient is next to nothing its sign may be another one.
    assert (np.abs(there - here) < 1e-3).mean() > 0.99, np.abs(there - here).max()


def _moved(target: Target, device: str) -> Target:
    return replace(target, model=deepcopy(target.model).to(device))
