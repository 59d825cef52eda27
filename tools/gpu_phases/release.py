"""Afterwards, where the extra `train` is installed: the weights of a run as ONNX files with their cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dadfi_fast.export.release import release_deepfake, release_generator
from dadfi_fast.models.generator import Generator
from dadfi_fast.training import checkpoint
from gpu_phases.families import network
from gpu_phases.plan import FAMILIES


def release(results: Path, out: Path) -> None:
    """Write every deepfake model in ``results`` and its snapshots, and the generator, to ``out``."""
    for family in FAMILIES:
        if (path := results / f"{family}.pt").exists():
            state = checkpoint.load(path)
            _deepfake(state, state["kept"], state["steps"], out, "")
            for step, weights in state["snapshots"].items():
                _deepfake(state, weights, step, out / "snapshots", f"-{step:06d}")
    if (path := results / "generator.pt").exists():
        state = checkpoint.load(path)
        generator = Generator(state["preset"], lim=state["lim"], gated=state.get("gated", False))
        generator.load_state_dict(state["weights"])
        facts = {"steps": state["steps"], "targets": state["targets"]}
        text = "A DADFI generator, trained by tools/gpu_run.py. Figures: run `dadfi-fast check` on what it protected."
        name, size = f"generator-{state['preset']}", state["config"]["image_size"]
        card = release_generator(generator, out, name=name, image_size=size, run=facts, text=text)
        print(card.file)


def _deepfake(state: dict[str, Any], weights: dict[str, Any], steps: int, out: Path, ending: str) -> None:
    family, size = state["family"], state["facts"]["image_size"]
    module = network(state, weights, size)
    facts = {key: value for key, value in state["facts"].items() if key != "image_size"}
    facts |= {"steps": steps, "minutes": round(state["minutes"], 1), "machine": state.get("machine", "")}
    edits = len(facts["styles"]) if family == "stargan2" else len(facts["labels"])
    out.mkdir(parents=True, exist_ok=True)
    card = release_deepfake(
        module, out, name=f"{family}-{size}{ending}", family=family, image_size=size, edit_size=edits, facts=facts,
        text="Trained by tools/gpu_run.py.",
    )  # fmt: skip
    print(card.file)
