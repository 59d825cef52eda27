"""How CMUA-Watermark (Huang et al., AAAI 2022) makes one pattern of many pictures and several models.

Theirs, as the paper's Algorithm 1 and the release have it: the models one after the other, each starting from the
watermark as the last one left it; ten steps of 0.01 for every edit; fusion of the pictures by averaging the signs of
their gradients over the batch; fusion of the models by keeping a share of the watermark (0.5) when a step's result
comes in; a step of its own for each model.

Simplified: their steps are found by a tree-structured Parzen estimator on factors of 0 to 10, here (`tune`) by one
round of trying a few factors for one model after the other; the random start is drawn once, not before every model.
Ours: the masked distance in place of that over the whole picture (``loss="pixel"`` is theirs), and the momentum of
MI-FGSM (Dong et al. 2018), off unless asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from dadfi_fast.attacks.aimed import uniform
from dadfi_fast.attacks.base import Calls
from dadfi_fast.attacks.distortion import DISTORTIONS
from dadfi_fast.attacks.oracle import Asked, Oracle
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.metrics.defence import SUCCESS
from dadfi_fast.types import Float32

#: Pictures [B, 3, S, S] in [-1, 1], S the same in all batches, and their labels [B, A] in {0, 1}.
Batch: TypeAlias = tuple[Float32, Float32]
#: What `tune` multiplies the common length of a step with; the first wins where others do no better.
FACTORS = (1.0, 0.3, 3.0)


def fuse(
    targets: Sequence[Target],
    batches: Sequence[Batch],
    *,
    eps: float,
    steps: int = 10,
    step: float | Sequence[float] = 0.01,
    share: float = 0.5,
    momentum: float = 0.0,
    loss: str = "masked",
    seed: int = 0,
    calls: Calls | None = None,
) -> Float32:
    """A watermark [3, S, S] within [-eps, eps] against ``targets``.

    Args:
        steps: gradient steps for each batch, model and edit.
        step: their length on the [-1, 1] scale, for all models or one for each.
        share: of the watermark that is kept when a step's result comes in.
        momentum: share of the last direction that is kept.
        calls: where the calls are counted.

    Raises:
        ValueError: there is no batch.
    """
    if not batches:
        raise ValueError("cannot make a universal perturbation: at least one batch of images is needed")
    oracle, rng = Oracle(targets, calls or Calls()), torch.Generator().manual_seed(seed)
    lengths = [step] * len(oracle.targets) if isinstance(step, float | int) else list(step)
    assert len(lengths) == len(oracle.targets), "one length of step for each model"
    mark = None
    for x, asked in (_asked(oracle, batch) for batch in batches):
        mark = uniform(x[0], eps, rng) if mark is None else mark
        for length, questions in zip(lengths, asked, strict=True):
            for question in questions:
                direction = torch.zeros_like(mark)
                for _ in range(steps):
                    slope = oracle.gradient(question, (x + mark).clamp(-1, 1), loss=DISTORTIONS[loss])
                    direction = momentum * direction + slope.sign().mean(0)
                    mark = share * mark + (1 - share) * (mark + length * direction).clamp(-eps, eps)
    assert mark is not None
    pattern: Float32 = mark.cpu().numpy()
    return pattern


def tune(
    targets: Sequence[Target],
    batches: Sequence[Batch],
    *,
    eps: float,
    step: float = 0.01,
    calls: Calls | None = None,
    loss: str = "masked",
    seed: int = 0,
    **options: float,
) -> tuple[float, ...]:
    """For each of ``targets`` the length of step with which the watermark breaks the models most, on average.

    The other arguments are those of `fuse`.
    """
    calls = calls or Calls()
    lengths = [step] * len(targets)
    for number in range(len(targets)):
        worth = {}
        for factor in FACTORS:
            tried = [*lengths[:number], step * factor, *lengths[number + 1 :]]
            mark = fuse(
                targets, batches, eps=eps, step=tried, calls=calls, loss=loss, seed=seed, **options  # type: ignore[arg-type]
            )  # fmt: skip
            worth[step * factor] = _success(Oracle(targets, calls), batches, torch.from_numpy(mark))
        lengths[number] = max(worth, key=lambda length: worth[length])
    return tuple(lengths)


def _success(oracle: Oracle, batches: Sequence[Batch], mark: Tensor) -> float:
    """The share of the fakes that are broken, the mean over the models."""
    broken: list[list[Tensor]] = [[] for _ in oracle.targets]
    for x, asked in (_asked(oracle, batch) for batch in batches):
        moved = (x + mark.to(x)).clamp(-1, 1)
        for hits, questions in zip(broken, asked, strict=True):
            hits += [oracle.distance(question, moved) > SUCCESS for question in questions]
    return sum(torch.cat(hits).float().mean().item() for hits in broken) / len(broken)


def _asked(oracle: Oracle, batch: Batch) -> tuple[Tensor, Asked]:
    x = torch.tensor(batch[0], device=oracle.device)
    return x, oracle.questions(x, torch.tensor(batch[1], dtype=torch.float32))
