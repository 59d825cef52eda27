"""How far anybody gets (spec: "ceiling"): the limits that every generator's figures are a share of.

For a set of deepfake models: each model and edit alone, one perturbation of each picture against all of them, and one
perturbation for all pictures. Each for several adversaries and under several bounds on what is seen; in memory, on
pictures rounded to levels, the adversary's crop drawn anew for the evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from dadfi_fast.attacks.adversary import ADVERSARIES, Adversary, cut
from dadfi_fast.attacks.ceiling import EPS, Batch, Bound, JPEGBound, PSNRBound, ascend, distance, start
from dadfi_fast.attacks.distortion import distortion_of, edit_mask
from dadfi_fast.deepfakes.encoders import BROKEN, ENCODERS
from dadfi_fast.deepfakes.registry import deepfake_cards, load_attributes, target_cards
from dadfi_fast.deepfakes.torch_model import Target, load_targets
from dadfi_fast.errors import UsageError
from dadfi_fast.evaluate.experiment import Result, Row, Setup
from dadfi_fast.evaluate.methods import Method, generators
from dadfi_fast.evaluate.result_cache import Unit, measured
from dadfi_fast.evaluate.sampled_arrays import SampledArrays
from dadfi_fast.metrics.defence import SUCCESS
from dadfi_fast.metrics.visibility import jpeg_equivalent
from dadfi_fast.training.data import load_faces
from dadfi_fast.training.loop import step_rng

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The bound that a generator's perturbation has by itself.
OWN: Final = "its own"
COLUMNS: Final = {
    "made": "perturbation",
    "bound": "bound",
    "adversary": "adversary",
    "model": "model",
    "edit": "edit",
    "d_mask": "d_mask (encoders: d_code)",
    "sr_mask": "SR_mask",
    "share": "share of the joint ceiling",
}
TEXT: Final = f"""\
- perturbation: alone (made for each picture, against one model and edit), joint (made for each picture, against all
  models and edits at once), universal (one for all pictures, made on others), or a generator's.
- bound: the picture's PSNR, or the JPEG quality that looks alike by FLIP and SSIMULACRA2; in each case no value moves
  further than {EPS} of [-1, 1]. A generator is compared at the bound that its own perturbations have.
- adversary: A0, the picture itself is the model's input; A1, cropped anew by the same detector (zoom 2 %, shift 1 %);
  A2, by another (zoom 10 %, shift 5 %). All perturbations but a generator's are made for the adversary at hand.
- d_mask: mean squared difference of the two fakes where the edit changed the picture; SR_mask: share above {SUCCESS}.
  For encoders: d_code, the squared distance of the two codes over that of the first from 0; share above {BROKEN:g}.
- steps (JSON): d_mask of the joint perturbations while they were made: whether they had converged.
"""


@dataclass(frozen=True)
class Limits:
    """What is measured, and how hard is tried: settings of ``--set ceiling.KEY=VALUE``."""

    crop: int = 256  # pixels a side of the face crop that is perturbed
    steps: int = 60  # of a perturbation made for each picture
    universal_steps: int = 400
    batch: int = 8  # pictures in a step
    draws: int = 4  # crops in which each picture is judged
    edits: tuple[str, ...] = ()  # only these; all where empty
    made: tuple[str, ...] = ("alone", "joint", "universal", "generator")
    bounds: tuple[str, ...] = ("39 dB", "JPEG 50")
    adversaries: tuple[str, ...] = tuple(ADVERSARIES)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Limits:
        """The settings ``values``, in place of the defaults.

        Raises:
            UsageError: there is no such setting, or it cannot have that value.
        """
        known = {field.name: field.default for field in fields(cls)}
        for key, value in values.items():
            if key not in known:
                raise UsageError(f"unknown setting ceiling.{key}. Available: {', '.join(known)}")
            if not isinstance(value, list if isinstance(known[key], tuple) else int):
                raise UsageError(f"ceiling.{key} cannot be {value!r}; the default is {known[key]!r}")
        chosen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        limits = replace(cls(), **chosen)
        for bound in limits.bounds:
            bound_of(bound)
        for name in limits.adversaries:
            if name not in ADVERSARIES:
                raise UsageError(f"unknown adversary {name!r}. Available: {', '.join(ADVERSARIES)}")
        return limits


def bound_of(name: str) -> Bound:
    """The bound called ``name``: "39 dB", or "JPEG 50".

    Raises:
        UsageError: it is neither.
    """
    try:
        if name.startswith("JPEG "):
            return JPEGBound(int(name.removeprefix("JPEG ")))
        return PSNRBound(float(name.removesuffix(" dB")))
    except ValueError:
        raise UsageError(f"invalid bound {name!r}. Write '39 dB' or 'JPEG 50'") from None


def run(setup: Setup) -> Result:
    """Measure the ceilings of the models of ``setup``, and the share of them that its generators reach.

    Raises:
        UsageError: a model, a generator or a setting is unknown, or there are no pictures to make universal
            perturbations on.
        DataError: the pictures cannot be read.
    """
    study = _Study(setup, Limits.of(dict(setup.options.get("ceiling", {}))))
    rows = measured("ceiling", list(study.units()), setup, pictures=len(study.x))
    return Result("ceiling", rows, COLUMNS, TEXT, partial(draw, rows=rows), answer(rows))


class _Study:
    """The pictures and models of one run."""

    def __init__(self, setup: Setup, limits: Limits) -> None:
        self.setup, self.limits = setup, limits
        known, models = target_cards(setup.models_dir), deepfake_cards(setup.models_dir)
        self.cards = [known[name] for name in dict.fromkeys(setup.models or models)]
        self.targets = load_targets(self.cards)
        columns = self.targets[0].columns
        self.pictures = SampledArrays(setup, columns=columns, judge=load_attributes())
        self.x = torch.from_numpy(self.pictures.at(limits.crop)).float() / 127.5 - 1
        self.labels = torch.from_numpy(self.pictures.labels(columns))
        self.edits = {target.name: self._chosen(target) for target in self.targets}
        self.methods = generators(setup) if "generator" in limits.made else []
        if "universal" in limits.made and not setup.train:
            raise UsageError(
                "universal perturbations need training images. Pass some with --train, or skip them: "
                """--set 'ceiling.made=["alone", "joint", "generator"]'"""
            )

    def units(self) -> Iterator[Unit]:
        """All that is measured, in the order of the table."""
        for adversary in (ADVERSARIES[name] for name in self.limits.adversaries):
            for bound in self.limits.bounds:
                if "alone" in self.limits.made:
                    for target in self.targets:
                        yield self._piece(f"alone {target.name}", adversary, bound, self._alone, target)
                for kind in ("joint", "universal"):
                    if kind in self.limits.made:
                        yield self._piece(kind, adversary, bound, getattr(self, f"_{kind}"))
            for method in self.methods:
                yield self._piece(method.name, adversary, OWN, self._generator, method)

    def _piece(
        self, name: str, adversary: Adversary, bound: str, measure: Callable[..., Iterator[Row]], *arguments: Any
    ) -> Unit:
        facts = self._facts() | {"adversary": adversary.name, "bound": bound, "limits": vars(self.limits)}
        if bound == OWN:
            facts |= {"generator": arguments[0].generator, "strength": self.setup.strength}

        def rows() -> Iterator[Row]:
            yield from measure(adversary, bound, *arguments)
            self.setup.progress.tick(2 * len(self.x))

        return Unit(f"{name}, {bound}, {adversary.name}", facts, rows)

    def _alone(self, adversary: Adversary, bound: str, target: Target) -> Iterator[Row]:
        for index, edit in self.edits[target.name].items():
            parts = []
            for x, labels, rng in self._batches():
                question = distance(target, x, self._edit(target, labels, index), adversary, rng)
                parts.append(self._made(x, lambda _, x=x, question=question: (x, [question]), bound, rng))  # type: ignore[misc]
            yield self._row(
                "alone", bound, adversary, target, edit, self._judged(torch.cat(parts), target, index, adversary)
            )

    def _joint(self, adversary: Adversary, bound: str) -> Iterator[Row]:
        parts, seen = [], _Seen(self)
        for x, labels, rng in self._batches():
            batch = partial(self._asked, x, labels, adversary, rng)
            watch = seen.of(x, labels, bound, adversary)
            parts.append(self._made(x, batch, bound, rng, watch=watch))
        yield from self._rows("joint", bound, adversary, torch.cat(parts), {"steps": seen.means()})

    def _universal(self, adversary: Adversary, bound: str) -> Iterator[Row]:
        limits, rng = self.limits, step_rng(self.setup.seed, 2**20)
        columns = self.targets[0].columns
        kind: dict[str, Any] = {"image_size": limits.crop, "attributes": self.setup.attributes, "columns": columns}
        if not self.setup.attributes:
            raise UsageError(
                "universal perturbations need the labels of the images they are made on. Pass --attributes."
            )
        others = load_faces(self.setup.train, limit=self.setup.train_sample, **kind)
        assert others.labels is not None
        labels = others.labels

        def batch(number: int) -> Batch:
            index = torch.randint(len(others), (limits.batch,), generator=rng)
            return self._asked(others.batch(index), labels[index], adversary, rng, number)

        seen = _Seen(self)
        watch = seen.of(self.x, self.labels, bound, adversary)
        first = start(self.x[:1], rng)
        mark = ascend(first, batch, bound_of(bound), steps=limits.universal_steps, watch=watch)
        deltas = torch.cat([bound_of(bound).fit(x, mark.expand_as(x)) for x in self.x.split(limits.batch)])
        facts = {"steps": seen.means(), "train": [path.name for path in self.setup.train], "train_n": len(others)}
        yield from self._rows("universal", bound, adversary, deltas, facts)

    def _generator(self, adversary: Adversary, _bound: str, method: Method) -> Iterator[Row]:
        """A generator's rows, and those of the joint ceiling where it is seen as much."""
        deltas = torch.from_numpy(np.concatenate([method.attack(x.numpy()) for x in self.x.split(self.limits.batch)]))
        looks = f"JPEG {int(np.median(self._equivalents(deltas)))}"
        joint = list(self._joint(adversary, looks))
        yield from joint
        known = {(row["model"], row["edit"]): row["d_mask"] for row in joint}
        for row in self._rows(method.name, looks, adversary, deltas, {"generator": method.generator}):
            yield {**row, "share": row["d_mask"] / max(known[row["model"], row["edit"]], 1e-9)}

    def _equivalents(self, deltas: Tensor) -> list[int]:
        pictures = [_levels(x).permute(0, 2, 3, 1).numpy() for x in (self.x, self.x + deltas)]
        return [jpeg_equivalent(one, other) for one, other in zip(*pictures, strict=True)]

    def _made(self, x: Tensor, batch: Callable[[int], Batch], bound: str, rng: torch.Generator, **watch: Any) -> Tensor:
        limit = bound_of(bound)
        return limit.fit(x, ascend(start(x, rng), batch, limit, steps=self.limits.steps, **watch))

    def _asked(self, x: Tensor, labels: Tensor, adversary: Adversary, rng: torch.Generator, number: int) -> Batch:
        """Of every model one edit, going round, each asked about all pictures."""
        questions = []
        for target in self.targets:
            indices = list(self.edits[target.name])
            edit = self._edit(target, labels, indices[number % len(indices)])
            questions.append(distance(target, x, edit, adversary, rng))
        return x, questions

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, torch.Generator]]:
        parts = zip(self.x.split(self.limits.batch), self.labels.split(self.limits.batch), strict=True)
        for number, (x, labels) in enumerate(parts):
            yield x, labels, step_rng(self.setup.seed, number)

    def _rows(
        self, kind: str, bound: str, adversary: Adversary, deltas: Tensor, facts: dict[str, Any]
    ) -> Iterator[Row]:
        for target in self.targets:
            for index, edit in self.edits[target.name].items():
                figures = self._judged(deltas, target, index, adversary)
                yield self._row(kind, bound, adversary, target, edit, figures) | facts

    def _row(
        self, kind: str, bound: str, adversary: Adversary, target: Target, edit: str, figures: dict[str, Any]
    ) -> dict[str, Any]:
        card = next(card for card in self.cards if card.name == target.name)
        return {
            "made": kind, "bound": bound, "adversary": adversary.name, "model": target.name, "edit": edit, **figures,
            "share": float("nan"), "trained": card.extra.get("steps"), **self._facts(), "crop": self.limits.crop,
        }  # fmt: skip

    def _facts(self) -> dict[str, Any]:
        models = {card.name: card.sha256 for card in self.cards}
        return {"models": models, "generator": None, **self.pictures.facts(), **self.setup.facts()}

    @torch.no_grad()
    def _judged(self, deltas: Tensor, target: Target, index: int, adversary: Adversary) -> dict[str, Any]:
        """d_mask and SR_mask of pictures rounded to levels, over new crops of each; empty masks are no success."""
        values, empty = [], []
        for draw in range(1 if adversary.exact else self.limits.draws):
            rng = step_rng(self.setup.seed + 1, draw)
            parts = (part.split(self.limits.batch) for part in (self.x, deltas, self.labels))
            for x, delta, labels in zip(*parts, strict=True):
                moved = _levels(x + delta).float() / 127.5 - 1
                frames = None if adversary.exact else adversary.frames(len(x), rng)
                one, other = (p if frames is None else cut(p, frames, p.shape[-1]) for p in (x, moved))
                edit = self._edit(target, labels, index)
                clean, source = target.fake(one, edit), target.model.resize(one)
                values.append(distortion_of(target)(clean, target.fake(other, edit), source))
                changed = torch.ones(len(one), dtype=torch.bool)  # a code is never the picture itself
                if target.family not in ENCODERS:
                    changed = edit_mask(clean, source).flatten(1).any(1)
                empty.append(~changed)
        distances, without = torch.cat(values), torch.cat(empty)
        counted = distances[~without]
        broken = (distances > SUCCESS).float().mean().item()
        return {
            "d_mask": _unit(target) * counted.mean().item() if len(counted) else float("nan"),
            "sr_mask": broken,
            "n_empty": int(without.sum()),
        }

    def _edit(self, target: Target, labels: Tensor, index: int) -> Tensor:
        return target.edits(labels)[index]

    def _chosen(self, target: Target) -> dict[int, str]:
        names = target.rule.names
        if target.family in ENCODERS:  # they have no edits to choose from
            return dict(enumerate(names))
        wanted = [name for name in names if not self.limits.edits or name in self.limits.edits]
        if not wanted:
            raise UsageError(f"{target.name} has none of the edits {', '.join(self.limits.edits)}: {', '.join(names)}")
        return {names.index(name): name for name in wanted}


def _unit(target: Target) -> float:
    """What one of `distance` stands for: d_code of encoders is scaled there, so that all thresholds are one."""
    return BROKEN / SUCCESS if target.family in ENCODERS else 1.0


class _Seen:
    """d_mask of a joint perturbation while it is made, by model: whether it converges."""

    def __init__(self, study: _Study) -> None:
        self._study, self._found = study, dict[int, list[dict[str, float]]]()

    def of(self, x: Tensor, labels: Tensor, bound: str, adversary: Adversary) -> Callable[[int, Tensor], None]:
        """What `ascend` tells how it gets on with ``x``."""
        limit = bound_of(bound)

        @torch.no_grad()
        def watch(number: int, delta: Tensor) -> None:
            seen, rng = x + limit.fit(x, delta.expand_as(x)), step_rng(self._study.setup.seed + 2, 0)
            means = {}
            for target in self._study.targets:
                questions = [
                    distance(target, x, self._study._edit(target, labels, index), adversary, rng)
                    for index in self._study.edits[target.name]
                ]
                distances = torch.cat([question(seen) for question in questions])
                means[target.name] = _unit(target) * distances.mean().item()
            self._found.setdefault(number, []).append(means)

        return watch

    def means(self) -> dict[str, dict[str, float]]:
        """By step, then by model."""
        return {
            str(number): {name: float(np.mean([means[name] for means in batches])) for name in batches[0]}
            for number, batches in sorted(self._found.items())
        }


def _levels(x: Tensor) -> Tensor:
    """``x`` in [-1, 1] as a file has it, uint8."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().byte()


def answer(rows: Sequence[Row]) -> str:
    """The joint ceiling and the generators in words, Markdown."""
    lines = []
    for kind in dict.fromkeys(row["made"] for row in rows if row["made"] != "alone"):
        for bound, adversary in dict.fromkeys((r["bound"], r["adversary"]) for r in rows if r["made"] == kind):
            here = [r for r in rows if (r["made"], r["bound"], r["adversary"]) == (kind, bound, adversary)]
            models = {r["model"]: [q for q in here if q["model"] == r["model"]] for r in here}
            told = [
                f"{name} {np.nanmean([r['d_mask'] for r in own]):.3f} ({np.mean([r['sr_mask'] for r in own]):.2f})"
                for name, own in models.items()
            ]
            lines.append(f"- {kind}, {bound}, {adversary}: {', '.join(told)}")
    head = "**How far does one perturbation get against all models?** d_mask (SR_mask), means over the edits:"
    return "\n".join([head, "", *lines]) if lines else ""


def draw(figure: Figure, rows: Sequence[Row]) -> None:
    """d_mask by model, a line for each kind of perturbation and bound, a panel for each adversary; of several states of
    one training, over its steps."""
    adversaries = list(dict.fromkeys(row["adversary"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    trained = {row["model"]: row["trained"] for row in rows}
    over_steps = len({steps for steps in trained.values() if steps}) == len(models) > 2
    figure.set_size_inches(4.2 * len(adversaries), 4.6)
    axes = figure.subplots(1, len(adversaries), sharey=True, squeeze=False)[0]
    for axis, adversary in zip(axes, adversaries, strict=True):
        here = [row for row in rows if row["adversary"] == adversary]
        for kind, bound in dict.fromkeys((row["made"], row["bound"]) for row in here):
            means = [
                np.nanmean([r["d_mask"] for r in here if (r["made"], r["bound"], r["model"]) == (kind, bound, name)])
                if any((r["made"], r["bound"], r["model"]) == (kind, bound, name) for r in here) else np.nan
                for name in models
            ]  # fmt: skip
            xs = [trained[name] for name in models] if over_steps else range(len(models))
            axis.plot(xs, means, "o-" if over_steps else "o", label=f"{kind}, {bound}")
        axis.axhline(SUCCESS, color="grey", linewidth=0.8, linestyle="--")
        axis.set_yscale("log")
        axis.set_title(adversary, fontsize="medium")
        axis.set_xlabel("steps of training" if over_steps else "")
        if not over_steps:
            axis.set_xticks(range(len(models)), models, rotation=30, ha="right")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("d_mask, mean over edits")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
