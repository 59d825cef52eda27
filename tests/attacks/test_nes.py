from __future__ import annotations

import torch

from dadfi_fast.attacks.nes import NES
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.types import Budget, Float32


def test_the_estimate_points_where_the_gradient_does(strong: Target, crops: Float32, labels: Float32) -> None:
    attack = NES([strong], Budget(), directions=400)
    x = torch.tensor(crops)
    question = attack.oracle.questions(x, torch.tensor(labels))[0][0]
    moved = x.clone()
    moved[..., :4] += 0.05
    truth, estimate = attack.oracle.gradient(question, moved), attack.slope(question, moved)
    likeness = torch.cosine_similarity(truth.flatten(1), estimate.flatten(1))
    assert (likeness > 0.75).all()  # sqrt(400 / (400 + 192)) = 0.82 is what so many directions of 192 values give
    torch.testing.assert_close(estimate.flatten(1).norm(dim=1), truth.flatten(1).norm(dim=1), rtol=0.5, atol=0)


def test_two_queries_a_direction(strong: Target, crops: Float32, labels: Float32) -> None:
    attack = NES([strong], Budget(), directions=5, steps=3, edits=1)
    attack.aim(labels)(crops)
    assert attack.calls.gradients == 0
    assert attack.calls.queries == len(crops) * (2 + 3 * 5 * 2)  # two clean fakes, then three steps
