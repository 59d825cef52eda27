from __future__ import annotations

import pytest
import torch

from dadfi_fast.attacks.base import Calls
from dadfi_fast.attacks.oracle import Oracle, turn
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.types import Float32


def test_asks_everything_of_every_model_once(strong: Target, weak: Target, crops: Float32, labels: Float32) -> None:
    calls = Calls()
    by_model = Oracle([strong, weak], calls).questions(torch.tensor(crops), torch.tensor(labels))
    assert [[question.target.name for question in questions] for questions in by_model] == [
        ["strong"] * 2,
        ["weak"] * 2,
    ]
    assert calls == Calls(queries=2 * 2 * 3)
    first, second = by_model[0]
    assert first.counts().all() and not second.counts().any()  # the second edit changes nothing
    torch.testing.assert_close(first.clean, torch.tensor(crops) + 0.5)


def test_gradients_and_answers_are_those_of_the_model(strong: Target, crops: Float32, labels: Float32) -> None:
    calls = Calls()
    oracle, x = Oracle([strong], calls), torch.tensor(crops)
    question = oracle.questions(x, torch.tensor(labels))[0][0]
    moved = x.clone()
    moved[..., :4] += 0.01  # tilts by 0.01, and moves every second pixel besides
    part = question.of(torch.tensor([2, 0]))
    expected = (8 * 0.01 + torch.tensor([0.01, 0.0])).square().mean().expand(2)
    torch.testing.assert_close(oracle.distance(part, moved[[2, 0]]), expected)
    slope = oracle.gradient(question, moved)
    assert (slope[..., :4] > 0).all() and (slope[..., 4:] < 0).all()
    assert calls == Calls(gradients=3, queries=2 * 3 + 2)


@pytest.mark.parametrize(
    ("number", "edits", "expected"),
    [
        (0, None, ["a0", "b0", "a1", "b1", "a2"]),  # models in turn, also where one has fewer edits
        (7, None, ["a0", "b0", "a1", "b1", "a2"]),
        (0, 1, ["a0", "b0"]),
        (2, 1, ["a2", "b0"]),  # every model goes round its own edits
        (1, 2, ["a2", "b0", "a0", "b1"]),
    ],
)
def test_goes_round(number: int, edits: int | None, expected: list[str]) -> None:
    questions = [["a0", "a1", "a2"], ["b0", "b1"]]
    assert turn(questions, number, edits) == expected  # type: ignore[arg-type,comparison-overlap]
