from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from dadfi_fast.attacks.cmua import Watermark
from dadfi_fast.attacks.registry import ATTACKS
from dadfi_fast.errors import DataError, UsageError
from dadfi_fast.evaluate.compared_methods import ComparedMethods, facts, gather, informed
from dadfi_fast.evaluate.protocol import open_protocol

MakeSetup = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("differentiable")
QUICK = {"cmua": {"steps": 1}, "moma": {"population": 2, "generations": 1}}


def gathered(setup: Any) -> ComparedMethods:
    with open_protocol(setup) as protocol:
        return gather(protocol)


def test_all_that_can_be_made_take_part(make_setup: MakeSetup) -> None:
    comparison = gathered(make_setup())
    names = [method.name for method in comparison.methods]
    made_beforehand = {"cmua", "moma", "initiative", "mse"}
    assert names[-1] == "stripes" and set(names[:-1]) == set(ATTACKS) - made_beforehand - {"dadfi"}
    assert set(comparison.absent) == made_beforehand
    assert "- cmua does not take part: attack cmua needs training images" in comparison.text


def test_what_is_made_beforehand_is_made_on_other_pictures(make_setup: MakeSetup, others: Path) -> None:
    comparison = gathered(make_setup(train=(others,), methods=("cmua", "moma"), options=QUICK))
    assert [method.name for method in comparison.methods] == ["cmua", "moma", "stripes"]
    mark = comparison.arrays["cmua"]
    assert list(comparison.arrays) == ["cmua"] and mark.shape == (3, 256, 256)
    assert 0 < np.abs(mark).max() <= np.float32(0.05)
    assert all(method.attack.spent.gradients > 0 for method in comparison.methods[:2])


def test_a_universal_perturbation_from_a_file(make_setup: MakeSetup, tmp_path: Path) -> None:
    path = tmp_path / "mark.npy"
    np.save(path, np.full((3, 8, 8), 0.01))
    comparison = gathered(make_setup(methods=("cmua",), watermark=path))
    attack = comparison.methods[0].attack
    assert not comparison.arrays  # already exists
    assert isinstance(attack, Watermark) and attack.pattern.dtype == np.float32
    assert attack(np.zeros((2, 3, 16, 16), np.float32)) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "array", [np.zeros((3, 8)), np.zeros((1, 8, 8)), np.zeros((3, 8, 9)), np.array([{}])], ids=lambda a: str(a.shape)
)
def test_a_file_that_is_none(make_setup: MakeSetup, tmp_path: Path, array: Any) -> None:
    path = tmp_path / "mark.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(DataError, match=r"mark\.npy"):
        gathered(make_setup(methods=("cmua",), watermark=path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("pdg",)}, "did you mean 'pgd'"),
        ({"options": {"pdg": {}}}, "did you mean 'pgd'"),
        ({"methods": ("cmua",)}, "needs training images"),
        ({"methods": ("mse",)}, "needs its generator"),
        ({"methods": ("pgd",), "options": {"pgd": {"stepps": 3}}}, "attack pgd does not accept stepps"),
    ],
)
def test_what_is_named_must_be_possible(make_setup: MakeSetup, changes: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        gathered(make_setup(**changes))


def test_a_generator_stands_for_the_attack_of_its_name(make_setup: MakeSetup, stripes: Path) -> None:
    comparison = gathered(make_setup(generators=(f"mse={stripes}",), methods=("mse", "dadfi", "noise")))
    assert [method.name for method in comparison.methods] == ["noise", "mse"]
    assert comparison.methods[-1].generator is not None


def test_pictures_that_are_judged_are_not_trained_on(make_setup: MakeSetup, faces: Path) -> None:
    with pytest.raises(UsageError, match="--train and --data overlap"):
        gathered(make_setup(train=(faces,)))


def test_an_attack_is_told_what_the_classifier_sees(make_setup: MakeSetup) -> None:
    setup = make_setup(methods=("pgd",), options={"pgd": {"steps": 1}})
    with open_protocol(setup) as protocol:
        comparison = gather(protocol)
        method = informed(protocol, comparison, comparison.methods[0])
        crops = protocol.crops()
        assert protocol.labels(crops, ["Black_Hair", "Blond_Hair"]).tolist() == [[0, 1], [1, 0], [1, 0]]
        delta = method.attack(crops)
    assert delta.shape == crops.shape and method.attack.attack.calls.gradients == 3 * 2 * 5  # type: ignore[attr-defined]


def test_facts_name_what_was_made_beforehand(make_setup: MakeSetup, others: Path) -> None:
    with open_protocol(make_setup(train=(others,), options=QUICK)) as protocol:
        named = facts(protocol)
    assert named["train"] == [{"archive": "others", "sha256": None}]
    assert named["options"] == QUICK and named["train_sample"] == 200
    assert list(named["attacked"]) == ["fragile", "sturdy"]
    with open_protocol(make_setup()) as protocol:
        assert facts(protocol)["train"] == [] and facts(protocol)["train_sample"] is None
