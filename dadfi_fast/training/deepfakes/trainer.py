"""What the trainers of all deepfake models share: networks, optimizers, averages, state, drawing of batches."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dadfi_fast.deepfakes.edits import Edits
from dadfi_fast.errors import DataError, UsageError
from dadfi_fast.training.checkpoint import AVERAGES
from dadfi_fast.training.contact_sheet import save_sheet
from dadfi_fast.training.data import Faces
from dadfi_fast.training.device import autocast, placed, sent, torch_device
from dadfi_fast.training.graphs import Graphs
from dadfi_fast.training.loop import Losses

#: Pictures on a contact sheet.
SHEET = 8
#: Settings that a card states elsewhere, or that change nothing but the time it takes.
_OF_THE_RUN = ("image_size", "steps", "seed", "device", "speedup")
#: What `DeepfakeConfig.speedup` may be.
SPEEDUPS = ("none", "eager", "graphs", "compile")


@dataclass(frozen=True)
class DeepfakeConfig:
    """Settings that every family has."""

    image_size: int = 64
    batch: int = 16
    ema: float = 0.998
    steps: int = 6000
    decay_from: float = 0.6  # share of the steps after which the learning rate falls linearly to 0
    bf16: bool = True
    device: str = "auto"  # cpu, cuda, cuda:N; auto takes a GPU where there is one
    # On a GPU: none; eager: channels last, fused Adam; graphs: and CUDA graphs of a step's parts; compile: and
    # torch.compile of the generator. On the CPU nothing of it.
    speedup: str = "eager"
    seed: int = 0


class DeepfakeTrainer(ABC):
    """A step at a time; see `dadfi_fast.training.loop.Trainer`.

    A subclass makes its networks and optimizers in ``__init__`` (seeded by the config), names them in `parts`, and
    fills in `step`, `kept` and `rule`.
    """

    #: Attributes that hold networks and optimizers; they make up the state.
    parts: Sequence[str] = ()

    def __init__(self, config: DeepfakeConfig, faces: Faces) -> None:
        assert faces.labels is not None
        self.config, self.faces, self.labels = config, faces, faces.labels
        if config.speedup not in SPEEDUPS:
            raise UsageError(f"speedup must be one of {', '.join(SPEEDUPS)}, not {config.speedup!r}")
        self.device = torch_device(config.device)
        self.pictures = faces.on(self.device)
        #: How many of `SPEEDUPS` there are: 1 is eager, 2 has graphs, 3 compiles.
        self.speedups = SPEEDUPS.index(config.speedup) if self.device.type == "cuda" else 0
        self.graphs = Graphs(enabled=self.speedups >= 2)
        if self.speedups:
            torch.backends.cudnn.benchmark = True  # every step has the same shapes
        torch.manual_seed(config.seed)

    @abstractmethod
    def step(self, number: int, rng: torch.Generator) -> Losses:
        """Do step ``number`` drawing only from ``rng``; returns the losses, detached and not waited for."""

    @property
    @abstractmethod
    def kept(self) -> nn.Module:
        """The averaged generator: called with pictures [B, 3, S, S] and edits [B, E]."""

    @property
    @abstractmethod
    def rule(self) -> Edits:
        """Which edits the model can be asked for."""

    def facts(self) -> dict[str, Any]:
        """What the card of the model says of its edits and sizes."""
        own = {name: value for name, value in asdict(self.config).items() if name not in _OF_THE_RUN}
        return {"labels": list(self.rule.attributes), "settings": own}

    def state(self) -> dict[str, Any]:
        return {part: getattr(self, part).state_dict() for part in self.parts} | {"config": asdict(self.config)}

    def load(self, state: dict[str, Any]) -> None:
        for part in self.parts:
            getattr(self, part).load_state_dict(state[part])
            if isinstance(optimizer := getattr(self, part), torch.optim.Optimizer):
                self._tune(optimizer)

    def start(self, networks: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over networks of another training, by the names in `parts`; optimizers stay fresh.

        A network that is not there begins as its average does; one that has neither stays as it was drawn.

        Raises:
            DataError: the networks are of other sizes.
        """
        for part in self.parts:
            weights = networks.get(part, networks.get(AVERAGES.get(part, "")))
            if weights is None or not isinstance(network := getattr(self, part), nn.Module):
                continue
            try:
                network.load_state_dict(network.state_dict() | dict(weights))
            except RuntimeError as error:
                raise DataError(
                    f"cannot start from these weights: {error}. Pass the sizes they were trained with."
                ) from error

    @torch.no_grad()
    def report(self, folder: Path, number: int) -> None:
        """Write a contact sheet: the first pictures, and each of their edits."""
        index = torch.arange(min(SHEET, len(self.faces)))
        x, kept = self.pictures.batch(index), self.kept.eval()
        edits = torch.from_numpy(self.rule(self.labels[index].numpy())).to(self.device)
        fakes = [kept(x, edit) for edit in edits]
        save_sheet(folder / f"sheet-{number:06d}.png", [x, *fakes])

    def converged(self) -> bool:
        """Never: the steps are the schedule's."""
        return False

    def optimizer(self, module: nn.Module, lr: float, **settings: Any) -> torch.optim.Adam:
        """Adam for ``module``, its rate scheduled by `schedule`."""
        adam = torch.optim.Adam(module.parameters(), lr, **settings)
        adam.param_groups[0]["initial_lr"] = lr
        self._tune(adam)
        return adam

    def _tune(self, optimizer: torch.optim.Optimizer) -> None:
        """Have ``optimizer`` work as the settings say, whatever device and settings its state comes from.

        The fused kernel wants its counts on the GPU and moments that lie as their weights do; a graph wants its rate
        there, too.
        """
        for group in optimizer.param_groups:
            rate = float(group["lr"])
            group["fused"], group["capturable"] = bool(self.speedups) or None, self.graphs.enabled
            group["lr"] = torch.tensor(rate, device=self.device) if self.graphs.enabled else rate
        for weight, state in optimizer.state.items():
            state["step"] = state["step"].to(self.device if self.speedups else "cpu")
            for moment in ("exp_avg", "exp_avg_sq"):
                state[moment] = torch.empty_like(weight, requires_grad=False).copy_(state[moment])

    def schedule(self, number: int, *optimizers: torch.optim.Optimizer) -> None:
        """Full rate until ``decay_from`` of the steps, then linearly to 0."""
        share = min(1.0, (1.0 - number / self.config.steps) / (1.0 - self.config.decay_from))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                rate = group["initial_lr"] * share
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def draw(self, rng: torch.Generator, index: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A batch of pictures, half of them flipped, and their labels; pictures ``index`` [B] where given."""
        if index is None:
            index = torch.randint(len(self.faces), (self.config.batch,), generator=rng)
        x = self.pictures.batch(index)
        flip = self.sent(torch.rand(len(index), 1, 1, 1, generator=rng) < 0.5)
        x = torch.where(flip, x.flip(3), x)
        x = x.contiguous(memory_format=torch.channels_last) if self.speedups else x
        return x, self.sent(self.labels[index])

    def sent(self, tensor: Tensor) -> Tensor:
        """``tensor`` on the device; nobody waits for the copy."""
        return sent(tensor, self.device)

    def placed(self, module: nn.Module) -> nn.Module:
        """``module`` on the device, channels last where the settings ask for that."""
        return placed(module, self.device) if self.speedups else module.to(self.device)

    def compiled(self, module: nn.Module) -> None:
        """Have calls of ``module`` go through torch.compile where the settings ask for that.

        What cannot be compiled runs as it is. Copies made before (averages) are not compiled.
        """
        if self.speedups >= 3:
            torch._dynamo.config.suppress_errors = True
            module.compile(dynamic=False)

    def autocast(self) -> torch.autocast:
        return autocast(self.device, bf16=self.config.bf16)

    @torch.no_grad()
    def average(self, number: int, mean: nn.Module, now: nn.Module) -> None:
        """Move the running average ``mean`` towards ``now``: weights, and the running statistics with them."""
        keep = min(self.config.ema, (1 + number) / (10 + number))
        pairs = list(zip(mean.state_dict().values(), now.state_dict().values(), strict=True))
        moving = [(old, new) for old, new in pairs if old.is_floating_point()]
        torch._foreach_lerp_([old for old, _ in moving], [new for _, new in moving], 1 - keep)
        for old, new in pairs:
            if not old.is_floating_point():
                old.copy_(new)


def averaged(module: nn.Module) -> nn.Module:
    """A copy of ``module`` to keep its running average in; it is in evaluation mode and has no gradient."""
    return copy.deepcopy(module).eval().requires_grad_(False)


def descend(loss: Tensor, *optimizers: torch.optim.Optimizer) -> None:
    """One step of ``optimizers`` down the gradient of ``loss``."""
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


def summed_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy summed over attributes, mean over the batch (StarGAN's official release)."""
    return F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="sum") / len(labels)


def mean_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy, mean over attributes and batch (STGAN's official release)."""
    return F.binary_cross_entropy_with_logits(logits.float(), labels)
