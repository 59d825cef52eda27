"""Training the attribute classifier: binary cross-entropy on flipped, shifted and recoloured faces."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dadfi_fast.deepfakes.attributes import AttributeClassifier
from dadfi_fast.deepfakes.edits import ATTRIBUTES
from dadfi_fast.training.data import Faces
from dadfi_fast.training.device import autocast, placed, sent, torch_device
from dadfi_fast.training.loop import Losses


@dataclass(frozen=True)
class AttributesConfig:
    """Sizes of a classifier's training run."""

    image_size: int = 64
    width: int = 24
    batch: int = 64
    lr: float = 2e-3
    weight_decay: float = 1e-2
    shift: int = 6  # pixels
    steps: int = 2000
    bf16: bool = True
    device: str = "auto"  # cpu, cuda, cuda:N; auto takes a GPU where there is one
    seed: int = 0


class AttributesTrainer:
    """See `dadfi_fast.training.loop.Trainer`."""

    def __init__(self, config: AttributesConfig, faces: Faces) -> None:
        assert faces.labels is not None
        self.config, self.faces, self.labels = config, faces, faces.labels
        self.device = torch_device(config.device)
        torch.manual_seed(config.seed)
        self.pictures = faces.on(self.device)
        self.model = AttributeClassifier(len(ATTRIBUTES), config.width)
        placed(self.model, self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), config.lr, weight_decay=config.weight_decay)

    def step(self, number: int, rng: torch.Generator) -> Losses:
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * (1 - number / config.steps)
        torch.manual_seed(int(torch.randint(2**31, (), generator=rng)))  # dropout draws from the global generator
        index = torch.randint(len(self.faces), (config.batch,), generator=rng)
        x = _jitter(self.pictures.batch(index), config.shift, rng)
        self.model.train()
        with autocast(self.device, bf16=config.bf16):
            logits = self.model(x)
        loss = F.binary_cross_entropy_with_logits(logits.float(), sent(self.labels[index], self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {"bce": loss.detach()}

    def state(self) -> dict[str, Any]:
        config = asdict(self.config)
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "config": config}

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def report(self, folder: Path, number: int) -> None:
        """A classifier makes no pictures."""

    def converged(self) -> bool:
        """Never: the steps are the schedule's."""
        return False


@torch.no_grad()
def accuracy(model: nn.Module, faces: Faces, *, batch: int = 256) -> Tensor:
    """Share of ``faces`` whose attribute i is told right, [A] in [0, 1]."""
    assert faces.labels is not None
    model.eval()
    device = next(model.parameters()).device
    right = torch.zeros(faces.labels.shape[1])
    for index in torch.arange(len(faces)).split(batch):
        told = (model(faces.batch(index).to(device)) > 0).float().cpu()
        right += (told == faces.labels[index]).float().sum(0)
    return right / len(faces)


def _jitter(x: Tensor, shift: int, rng: torch.Generator) -> Tensor:
    """Flip half of the pictures; shift all by up to ``shift`` pixels; change brightness and contrast a little."""
    flip = sent(torch.rand(len(x), 1, 1, 1, generator=rng) < 0.5, x.device)
    x = torch.where(flip, x.flip(3), x)
    dy, dx = torch.randint(0, 2 * shift + 1, (2,), generator=rng).tolist()
    side = x.shape[-1]
    x = F.pad(x, (shift, shift, shift, shift), mode="replicate")[:, :, dy : dy + side, dx : dx + side]
    gain = 1 + 0.15 * (2 * torch.rand(len(x), 1, 1, 1, generator=rng) - 1)
    offset = 0.1 * (2 * torch.rand(len(x), 1, 1, 1, generator=rng) - 1)
    return (x * sent(gain, x.device) + sent(offset, x.device)).clamp(-1, 1)
