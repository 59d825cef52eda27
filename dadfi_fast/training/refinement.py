"""What ``protect --refine`` is asked for, checked without torch; `dadfi_fast.training.refiner` does it."""

from __future__ import annotations

import functools
import importlib.util
from typing import Final

from dadfi_fast.attacks.base import Refinement, Refiner
from dadfi_fast.deepfakes.registry import load_attributes, target_cards
from dadfi_fast.errors import BackendMissing, UsageError

#: What it needs beyond the default install.
PACKAGES: Final = ("torch", "onnx", "ssimulacra2")


def need_packages() -> None:
    """Make sure that perturbations can be refined here.

    Raises:
        BackendMissing: a package is not installed.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendMissing(f"--refine needs {', '.join(missing)}. Run: pip install 'dadfi-fast[train]'")


@functools.lru_cache(maxsize=1)
def load_refiner(refinement: Refinement) -> Refiner:
    """What refines as ``refinement`` says, with its models loaded.

    Raises:
        BackendMissing: a package is not installed, or PyTorch does not see the device.
        UsageError: a model is not installed, or is another file than the one named.
        WeightsError: a model's file is damaged, or of a family that cannot be differentiated.
    """
    need_packages()
    from dadfi_fast.training.refiner import WhiteBoxRefiner

    known = target_cards()
    cards = [known[name] for name, _ in refinement.models]
    for card, (_, sha256) in zip(cards, refinement.models, strict=True):
        if card.sha256 != sha256:
            raise UsageError(
                f"{card.name} is a different file on this machine. Install the same models on all machines."
            )
    return WhiteBoxRefiner(cards, load_attributes(), refinement)
