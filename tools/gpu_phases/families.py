"""The four families' trainers by name and preset, and what comes back of a training: one file a family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from dadfi_fast.deepfakes import landmarks, stargan, stgan
from dadfi_fast.deepfakes.base import Editor
from dadfi_fast.deepfakes.edits import ATTRIBUTES, edits_of
from dadfi_fast.deepfakes.stgan_sac import AttentiveGenerator
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.errors import DataError
from dadfi_fast.training import checkpoint
from dadfi_fast.training.data import Faces
from dadfi_fast.training.deepfakes import stargan as stargan_trainer
from dadfi_fast.training.deepfakes import stargan2 as stargan2_trainer
from dadfi_fast.training.deepfakes import stgan as stgan_trainer
from dadfi_fast.training.deepfakes.trainer import DeepfakeTrainer
from gpu_phases.plan import SIZES, Plan

#: Steps of a training without an end: its rate stays what it is, as those do that are gone on with later.
ENDLESS: Final = 10_000_000
#: Bytes of weights that a file may hold; 16 MiB come back from a lent machine.
LIMIT: Final = 14 << 20
_TRAINERS: Final[Mapping[str, tuple[Any, Any]]] = {
    "stargan": (stargan_trainer.StarGANConfig, stargan_trainer.StarGANTrainer),
    "stgan": (stgan_trainer.STGANConfig, stgan_trainer.STGANTrainer),
    "stgan-sac": (stgan_trainer.STGANConfig, stgan_trainer.STGANSACTrainer),
    "stargan2": (stargan2_trainer.StarGAN2Config, stargan2_trainer.StarGAN2Trainer),
}


def trainer_of(plan: Plan, family: str, faces: Faces, speedup: str, sizes: Mapping[str, Any]) -> DeepfakeTrainer:
    """A trainer of ``family`` with the settings ``sizes``."""
    config, trainer = _TRAINERS[family]
    of_the_run = {"image_size": plan.image_size, "steps": ENDLESS, "seed": plan.seed, "device": plan.device}
    result: DeepfakeTrainer = trainer(config(**{**sizes, **of_the_run, "speedup": speedup}), faces)
    return result


def start_of(plan: Plan, family: str) -> tuple[dict[str, Any] | None, Mapping[str, Any]]:
    """The compact checkpoint that ``family`` starts from, if any, and the sizes of its networks."""
    for path in sorted(plan.start.glob("*.pt")) if plan.start else ():
        state = checkpoint.load(path)
        if "mean" in state and family_of(state) == family:
            fields = _TRAINERS[family][0].__dataclass_fields__
            return state, {key: value for key, value in state["config"].items() if key in fields}
    return None, SIZES[plan.sizes][family]


def family_of(state: Mapping[str, Any]) -> str:
    """Which family a compact checkpoint is of.

    Raises:
        DataError: of none.
    """
    if "family" in state:
        return str(state["family"])
    config = state.get("config", {})
    if "conv_dim" in config:
        return "stargan"
    if "style_dim" in config:
        return "stargan2"
    if "dim" in config:
        return "stgan-sac" if any(".attention." in name for name in state["mean"]) else "stgan"
    raise DataError("a file in the --start folder is no compact checkpoint of a deepfake model; take it out")


def halves(module: nn.Module) -> dict[str, Tensor]:
    """The state of ``module`` on the CPU, floating point as float16."""
    return {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in module.state_dict().items()
    }


def on_the_cpu(networks: Mapping[str, Any]) -> dict[str, Any]:
    """A compact checkpoint with its weights in the CPU's memory."""
    return {
        part: {name: value.cpu() if isinstance(value, Tensor) else value for name, value in weights.items()}
        if isinstance(weights, dict)
        else weights
        for part, weights in networks.items()
    }


def fitted(networks: Mapping[str, Any], snapshots: Mapping[int, Any], kept: Any, limit: int) -> dict[str, Any]:
    """As much of a training as ``limit`` bytes hold: what is kept, then averages, the critic, snapshots, latest first.

    Args:
        networks: of `dadfi_fast.training.checkpoint.compact`.
        snapshots: kept generators of earlier steps, by step.
        kept: the generator as it is now.
    """
    content: dict[str, Any] = {"kept": kept, "snapshots": {}}
    room = limit - _bytes(kept)
    shared = {tensor.data_ptr() for tensor in kept.values()}
    order = sorted((part for part in networks if isinstance(networks[part], dict) and part != "config"), key=_worth)
    for part in order:
        size = _bytes({k: v for k, v in networks[part].items() if v.data_ptr() not in shared})
        if size <= room:
            content[part], room = networks[part], room - size
    for step in sorted(snapshots, reverse=True):
        if (size := _bytes(snapshots[step])) <= room:
            content["snapshots"][step], room = snapshots[step], room - size
    return content


def _worth(part: str) -> tuple[int, str]:
    return (0 if part.startswith("mean") else 1), part


def _bytes(weights: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in weights.values())


def targets(paths: Sequence[Path], image_size: int) -> list[Target]:
    """The deepfake models in the result files ``paths``, frozen."""
    return [_target(checkpoint.load(path), image_size) for path in paths]


def network(state: Mapping[str, Any], weights: Mapping[str, Tensor], image_size: int) -> nn.Module:
    """The generator in a result file: ``kept``, or one of its snapshots."""
    wide = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    family = state["family"]
    if family == "stargan":
        return stargan.load_official(wide)
    if family == "stargan2":
        return landmarks.load(wide, image_size)
    return stgan.load(wide, stgan.Generator if family == "stgan" else AttentiveGenerator)


def _target(state: Mapping[str, Any], image_size: int) -> Target:
    editor = Editor(network(state, state["kept"], image_size), image_size).eval().requires_grad_(False)
    rule = edits_of(state["family"], state["facts"], where=f"the {state['family']} of this run")
    return Target(f"{state['family']}-{image_size}", editor, "", rule, columns=ATTRIBUTES)


def synchronize(device: str) -> None:
    """Wait for what ``device`` has been given."""
    if device != "cpu":
        torch.cuda.synchronize(device)
