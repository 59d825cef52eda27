from __future__ import annotations

import subprocess
import sys

import pytest

from dadfi_fast.attacks.pgd import PGD
from dadfi_fast.attacks.registry import ATTACKS, AttackInputs, make
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.errors import UsageError
from dadfi_fast.types import Budget


def test_the_names() -> None:
    expected = "noise fgsm i-fgsm pgd cmua anti-forgery initiative mse moma ats-o2a adv-bot dadfi"
    assert list(ATTACKS) == expected.split()


def test_a_wrong_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown attack 'anti-forgry' .did you mean 'anti-forgery'"):
        make("anti-forgry", AttackInputs(Budget()))


def test_options_go_to_the_attack(strong: Target) -> None:
    attack = make("pgd", AttackInputs(Budget(0.02), [strong], options={"steps": 3}))
    assert isinstance(attack, PGD) and attack.steps == 3 and attack.budget == Budget(0.02)


@pytest.mark.parametrize(("name", "recipe"), [("dadfi", "release"), ("mse", "mse"), ("initiative", "initiative")])
def test_the_recipe_of_a_missing_generator_is_named(name: str, recipe: str) -> None:
    with pytest.raises(UsageError, match=f"dadfi-fast train --recipe {recipe}"):
        make(name, AttackInputs(Budget()))


def test_listing_them_and_adding_a_watermark_load_no_torch() -> None:
    code = "import dadfi_fast.attacks.registry, dadfi_fast.attacks.cmua, sys; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
