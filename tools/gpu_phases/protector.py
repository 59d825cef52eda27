"""The generator that protects, trained against the deepfake models of this run, or else those that ship."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from typing import Any

from dadfi_fast.deepfakes.torch_model import Target, load_targets
from dadfi_fast.model_card import find_card
from dadfi_fast.training import checkpoint
from dadfi_fast.training.config import TrainConfig, load_config
from dadfi_fast.training.loop import run as run_training
from dadfi_fast.training.loop import step_rng
from dadfi_fast.training.trainer import DadfiTrainer
from gpu_phases import Clock
from gpu_phases.data import faces
from gpu_phases.families import ENDLESS, synchronize, targets
from gpu_phases.plan import FAMILIES, REHEARSED, Plan
from gpu_phases.results import Notes

#: Steps that the rate is estimated from, after as many that are not counted.
PROBE = 5
#: Of the time that is left: the rest is for checkpoints and figures.
SHARE = 0.85
#: Held-out pictures that the result is judged on.
JUDGED = 200
FILE = "generator.pt"
#: Settings of the recipe that are small in a rehearsal.
_SMALL = {"batch": 2, "teacher_batches": 1, "teacher_steps": 1}


def run(plan: Plan, clock: Clock) -> None:
    """Train for as many steps as the time allows, so that the rate has fallen to 0 when it ends."""
    notes = Notes(plan)
    train, held_out = faces(plan)
    attacked = _targets(plan)
    settings: dict[str, Any] = {"image_size": plan.image_size, "stored_size": plan.image_size, "joint": True}
    settings |= {"device": plan.device, "seed": plan.seed, "models": [target.name for target in attacked]}
    config = load_config(plan.recipe, settings | (_SMALL if plan.rehearse else {}))
    probe = DadfiTrainer(replace(config, steps=ENDLESS), train, attacked)
    probe.prepare()
    rate = _rate(probe, plan)
    steps = REHEARSED if plan.rehearse else max(2, int(SHARE * clock.left() * rate))
    validation = held_out.first(JUDGED if plan.on_gpu else 1)
    trainer = DadfiTrainer(replace(config, steps=steps), train, attacked, validation=validation)
    trainer.perturbations = probe.perturbations  # the universal perturbations, which depend on the models alone
    folder = plan.work / "protector"
    for old in folder.glob("*"):
        old.unlink()  # of a call before this one, against other models
    print(f"{steps} steps of {config.batch}, {rate:.2f} a second, against {[t.name for t in attacked]}", flush=True)

    def log(step: int, losses: dict[str, float], per_second: float) -> None:
        print(f"generator {step} {per_second:.2f}/s {losses}", flush=True)

    def saved(step: int) -> None:
        _write(plan, trainer, trainer.config, step, attacked)

    try:
        progress = run_training(
            trainer, steps=steps, seed=plan.seed, folder=folder, log=log, saved=saved,
            save_every=max(1, steps // (3 if plan.on_gpu else 2)), max_minutes=0.95 * clock.left() / 60,
        )  # fmt: skip
    except KeyboardInterrupt:
        print("stopped, what there is is put away", flush=True)
        return
    facts = {"recipe": plan.recipe, "steps_per_second": rate, "targets": [target.name for target in attacked]}
    notes.figure("training generator", progress.steps, "steps", minutes=progress.minutes, **facts)
    last = json.loads((folder / "validation.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    for name, value in last.items():
        if isinstance(value, float):
            unit = "dB" if name == "psnr" else "share"
            case = f"generator {'PSNR' if name == 'psnr' else 'SR_mask ' + name}"
            notes.figure(case, value, unit, n=len(validation), **facts)


def _targets(plan: Plan) -> list[Target]:
    """The models of this run; those that ship where it has none."""
    paths = [path for family in FAMILIES if (path := plan.out / f"{family}.pt").exists()]
    if paths:
        return targets(paths, plan.image_size)
    print("no deepfake model of this run; training against those that ship", flush=True)
    return load_targets([find_card(f"{family}-64") for family in FAMILIES])


def _rate(trainer: DadfiTrainer, plan: Plan) -> float:
    """Steps a second."""
    count = PROBE if plan.on_gpu else 1
    for part in range(2):
        synchronize(plan.device)
        start = time.perf_counter()
        for number in range(count):
            trainer.step(part * count + number, step_rng(plan.seed, number))
        synchronize(plan.device)
    return count / (time.perf_counter() - start)


def _write(plan: Plan, trainer: DadfiTrainer, config: TrainConfig, step: int, attacked: list[Target]) -> None:
    weights = {name: value.detach().cpu() for name, value in trainer.generator.state_dict().items()}
    about = {"preset": config.preset, "lim": config.lim, "gated": config.gated, "steps": step, "config": asdict(config)}
    checkpoint.save(plan.out / FILE, {"weights": weights, "targets": [t.name for t in attacked]} | about)
