"""One family's training beside the others', then what its edits show and how far white-box attacks break them."""

from __future__ import annotations

import math
import time
from typing import Any

import torch

from dadfi_fast.attacks.distortion import masked_distortion
from dadfi_fast.attacks.pgd import PGD
from dadfi_fast.deepfakes.base import Editor
from dadfi_fast.deepfakes.edits import ATTRIBUTES
from dadfi_fast.deepfakes.registry import load_attributes
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.device import cores
from dadfi_fast.evaluate.curve import Curve
from dadfi_fast.evaluate.edit_accuracy import scaled
from dadfi_fast.metrics.defence import SUCCESS
from dadfi_fast.training import checkpoint
from dadfi_fast.training.data import Faces
from dadfi_fast.training.deepfakes.snapshots import thinned
from dadfi_fast.training.deepfakes.trainer import DeepfakeTrainer
from dadfi_fast.training.loop import CHECKPOINT, Progress
from dadfi_fast.training.loop import run as run_training
from dadfi_fast.training.losses import rms_of_psnr
from dadfi_fast.types import Budget
from gpu_phases import Clock
from gpu_phases.data import faces
from gpu_phases.families import ENDLESS, LIMIT, fitted, halves, on_the_cpu, start_of, trainer_of
from gpu_phases.plan import FAMILIES, REHEARSED, Plan
from gpu_phases.results import Notes
from gpu_phases.steps import fastest

#: Checkpoints, sheets and snapshots in a training.
SAVES = 4
SNAPSHOTS = 4
#: Of the budget, for edit accuracy and ceiling.
EVALUATION = 0.12
#: Pictures and steps of the white-box attack.
ATTACKED, ATTACK_STEPS = 12, 40


class Keeper:
    """Writes the family's result file anew at each checkpoint."""

    def __init__(self, plan: Plan, family: str, trainer: DeepfakeTrainer, machine: str) -> None:
        self._plan, self._family, self._trainer, self._machine = plan, family, trainer, machine
        self._snapshots: dict[int, Any] = {}
        #: Minutes of training before this run, and when it began.
        self.minutes, self._begun = 0.0, time.monotonic()

    def save(self, step: int) -> None:
        """Write ``FAMILY.pt``: the averaged generator after ``step``, and as much beside it as fits."""
        minutes = self.minutes + (time.monotonic() - self._begun) / 60
        state = {"trainer": self._trainer.state(), "steps": step, "minutes": minutes}
        networks, kept = on_the_cpu(checkpoint.compact(state)), halves(self._trainer.kept)
        prefix = "generator." if self._family == "stargan2" else ""
        networks["mean"] = {name.removeprefix(prefix): kept[prefix + name] for name in networks["mean"]}
        limit = ENDLESS**2 if self._plan.sizes == "published" else LIMIT
        content = fitted(networks, self._snapshots, kept, limit)
        facts = self._trainer.facts() | {"seed": self._plan.seed, "image_size": self._plan.image_size}
        about = {"family": self._family, **{key: networks[key] for key in ("config", "steps", "minutes")}}
        about |= {"facts": facts, "machine": self._machine}
        checkpoint.save(self._plan.out / f"{self._family}.pt", content | about)
        self._snapshots[step] = kept
        stay = thinned(sorted(self._snapshots), SNAPSHOTS)
        self._snapshots = {number: self._snapshots[number] for number in stay}


def run(plan: Plan, clock: Clock, family: str, speedup: str | None) -> None:
    """Train ``family`` until its time is up, from where the last call or the --start folder left it."""
    notes, seconds = Notes(plan), clock.left()
    torch.set_num_threads(max(1, cores() // len(FAMILIES)))
    train, held_out = faces(plan)
    chosen, rate = fastest(plan, family)
    state, sizes = start_of(plan, family)
    trainer = trainer_of(plan, family, train, speedup or chosen, sizes)
    past = None
    if state is not None:
        trainer.start(state)
        past = Progress(state["steps"], state.get("minutes", 0.0))
    machine = f"{notes.gpu.get('gpu', 'CPU')}, {notes.driver}"
    keeper, last = Keeper(plan, family, trainer, machine), dict[str, Any]()
    if (path := plan.folder(family) / CHECKPOINT).exists():  # of a call before this one
        keeper.minutes = checkpoint.load(path)["minutes"]
    elif past is not None:
        keeper.minutes = past.minutes

    def log(step: int, losses: dict[str, float], per_second: float) -> None:
        last.update(step=step, losses=losses, rate=per_second)
        print(f"{family} {step} {per_second:.2f}/s {losses}", flush=True)

    steps = REHEARSED if plan.rehearse else ENDLESS
    each = 2 if plan.rehearse else max(1, int(rate / len(FAMILIES) * seconds / SAVES)) if rate else 200
    try:
        progress = run_training(
            trainer, steps=steps, seed=plan.seed, folder=plan.folder(family), log=log, saved=keeper.save, past=past,
            save_every=each, max_minutes=(1 - EVALUATION) * clock.left() / 60,
        )  # fmt: skip
    except KeyboardInterrupt:
        print(f"{family}: stopped, its state is put away", flush=True)
        return
    case = f"training {family}-{plan.image_size}"
    facts = {"speedup": speedup or chosen, "sizes": plan.sizes, **last}
    notes.figure(case, progress.steps, "steps", minutes=progress.minutes, **facts)
    _accuracy(plan, notes, trainer, held_out, family)
    _ceiling(plan, notes, trainer, held_out, family)


def _accuracy(plan: Plan, notes: Notes, trainer: DeepfakeTrainer, held_out: Faces, family: str) -> None:
    """Whether the edits show what was asked for, says the classifier that ships."""
    judge = load_attributes(threads=max(1, cores() // len(FAMILIES)))
    shares = Curve(trainer, held_out, judge, plan.folder(family)).point(0)
    for edit, share in shares.items():
        if math.isfinite(share):
            notes.figure(f"edit accuracy {family}-{plan.image_size} {edit}", share, "share", n=len(held_out))


def _ceiling(plan: Plan, notes: Notes, trainer: DeepfakeTrainer, held_out: Faces, family: str) -> None:
    """How far PGD with full access gets, one perturbation of a picture for all edits, at its own crop (A0)."""
    kept = Editor(trainer.kept.eval(), plan.image_size).requires_grad_(False)
    target = Target(family, kept, "", trainer.rule)
    assert held_out.labels is not None
    count = ATTACKED if plan.on_gpu else 2
    x, labels = scaled(held_out.pixels[:count]), held_out.labels[:count]
    steps = ATTACK_STEPS if plan.on_gpu else 1
    attack = PGD([target], Budget(0.05), steps=steps, step=0.005, edits=1)
    full = torch.from_numpy(attack.aim(labels.numpy())(x)).to(plan.device)
    pictures = torch.from_numpy(x).to(plan.device)
    quiet = full * (rms_of_psnr(39.0) / full.square().mean((1, 2, 3), keepdim=True).sqrt()).clamp(max=1)
    for name, delta in (("Linf 0.05", full), ("39 dB", quiet)):
        moved = _distances(target, pictures, delta, labels)
        facts = {"steps": steps, "adversary": "A0"}
        case = f"white-box {family}-{plan.image_size} {name}"
        notes.figure(f"{case} d_mask", float(moved.mean()), "d_mask", n=len(x), **facts)
        notes.figure(f"{case} SR_mask", float((moved > SUCCESS).float().mean()), "share", n=len(x), **facts)


@torch.no_grad()
def _distances(target: Target, x: torch.Tensor, delta: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """d_mask of every edit of every picture."""
    distances = []
    for edit in target.edits(labels[:, : len(ATTRIBUTES)]).to(x.device):
        clean, moved = (target.fake(picture, edit).clamp(-1, 1) for picture in (x, (x + delta).clamp(-1, 1)))
        distances.append(masked_distortion(clean, moved, x))
    return torch.cat(distances)
