"""DADFI's training step: generator against two recognizers and the deepfake models (PeerJ CS 10:e2356, Fig. 2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from dadfi_fast.attacks.distortion import distortion_of
from dadfi_fast.attacks.pgd import Fake, per_image, universal
from dadfi_fast.deepfakes.encoders import ENCODERS
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.errors import DataError
from dadfi_fast.metrics.defence import SUCCESS
from dadfi_fast.metrics.differentiable import flip, ssimulacra2
from dadfi_fast.metrics.perceptual import PIXELS_A_DEGREE
from dadfi_fast.models.generator import Bound, Generator
from dadfi_fast.models.recognizer import Recognizer
from dadfi_fast.training import distributed, losses
from dadfi_fast.training.augment import framed, resized, rounded
from dadfi_fast.training.config import TrainConfig
from dadfi_fast.training.contact_sheet import save_sheet
from dadfi_fast.training.data import Faces
from dadfi_fast.training.device import autocast, placed, sent, torch_device
from dadfi_fast.training.loop import Losses, step_rng
from dadfi_fast.training.query_gradient import query_gradient
from dadfi_fast.training.recognition import Pair, recognize
from dadfi_fast.training.transforms import Transform, direct, draw
from dadfi_fast.training.validate import validate
from dadfi_fast.training.window import windowed

_PARTS = ("generator", "ide_x", "ide_y", "g_opt", "d_opt")


@dataclass(frozen=True)
class _Answer:
    """What one model makes of a batch."""

    broken: Tensor  # [B, 3, S, S], the fake of the protected pictures
    taught: Tensor | None  # [B, 3, S, S], that of the pictures with the basic perturbation; None where Ide_y is unused
    distortion: Tensor  # [B], d_mask


class DadfiTrainer:
    """Trains ``Gen`` with ``Ide_x`` and ``Ide_y``; see `dadfi_fast.training.loop.Trainer`.

    Args:
        config: the recipe.
        faces: training pictures with the labels that the models' edits are made from.
        targets: the deepfake models, frozen.
        validation: labelled pictures that are not trained on; their figures go to ``validation.jsonl``.
        pools: of each model the snapshots, one of which is drawn at each step; the model itself where None.
    """

    def __init__(
        self, config: TrainConfig, faces: Faces, targets: list[Target], *, validation: Faces | None = None,
        pools: Sequence[Sequence[Target]] | None = None,
    ) -> None:  # fmt: skip
        assert faces.labels is not None and targets
        self.config, self.faces, self.labels, self.targets = config, faces, faces.labels, targets
        self.pools = pools or [[target] for target in targets]
        self.validation = validation
        self.device = torch_device(config.device)
        for target in [*targets, *(member for pool in self.pools for member in pool)]:
            placed(target.model, self.device)
        self.pictures = faces.on(self.device)
        torch.manual_seed(config.seed)
        self.generator = Generator(
            config.preset, lim=config.lim, bound=cast(Bound, config.bound), gated=config.gated
        )  # fmt: skip
        placed(self.generator, self.device)
        self.ide_x, self.ide_y = Recognizer().to(self.device), Recognizer().to(self.device)
        betas, eps = (config.beta1, config.beta2), config.epsilon
        self.g_opt = torch.optim.Adam(self.generator.parameters(), config.lr, betas, eps)
        judges = [*self.ide_x.parameters(), *self.ide_y.parameters()]
        self.d_opt = torch.optim.Adam(judges, config.lr_recognizers, betas, eps)
        self.perturbations: list[Tensor] = []  # adv_i, one a model, [3, S, S]
        self.scores: list[float] = []  # at each checkpoint, of the model that is broken least
        self.shares = torch.full((len(targets),), 1 / len(targets))  # how often each model is trained against

    def prepare(self) -> None:
        """Compute the universal basic perturbations adv_i (Eq. 11), if the objective uses them and no checkpoint had
        them."""
        c = self.config
        if self.perturbations or not c.lambda_y or c.teacher != "universal":
            return
        for number, target in enumerate(self.targets):
            rng = step_rng(c.seed + 1, number)
            batches = (self._teacher_batch(target, rng) for _ in range(c.teacher_batches))
            self.perturbations.append(universal(batches, rng=rng, **self._climb()))

    def step(self, number: int, rng: torch.Generator) -> Losses:
        self._schedule(number)
        distributed.follow_first(self.shares)
        x, labels = self._draw(rng)
        edits = {model: self._one_edit_each(self.targets[model], labels, rng) for model in self._asked(rng)}
        transform = draw(self.config, x, rng, strength=self._strength(number))
        crop = transform.crop(x)
        with self._autocast():
            delta = self.generator(crop).float()
        answers = [self._answer(model, x, delta, edit, transform, rng) for model, edit in edits.items()]
        terms = recognize(self._pairs(crop, delta, answers), self.d_opt, half=self._autocast)
        weights = self.config.target_weights or (1.0,) * len(self.targets)
        short = [
            weights[model] * self._shortfall(answer.distortion, self.config.distortion_goal)
            for model, answer in zip(edits, answers, strict=True)
        ]
        distortion = torch.cat([answer.distortion for answer in answers])
        terms |= {
            "hinge": self.config.mu * losses.hinge(delta, self.config.lim),
            "distortion": self.config.lambda_distortion * torch.stack(short).sum(),
            "visible": self.config.lambda_visible * self._visibility(crop, delta),
            **self._contrast(crop, delta),
            **self._perceived(crop, delta, rng),
        }
        self.g_opt.zero_grad(set_to_none=True)
        torch.stack([t for k, t in terms.items() if not k.startswith("d_")]).sum().backward()
        distributed.average_gradients(self.generator.parameters())
        self.g_opt.step()
        rms, share = delta.square().mean().sqrt(), (distortion > SUCCESS).float().mean()
        terms |= {"d_mask": distortion.mean(), "sr_mask": share, "rms": rms}
        for model, answer in zip(edits, answers, strict=True):
            terms[f"d_{self.targets[model].name}"] = answer.distortion.mean()
        return {name: value.detach() for name, value in terms.items()}

    def state(self) -> dict[str, Any]:
        parts = {p: getattr(self, p).state_dict() for p in _PARTS}
        hashes = {t.name: t.sha256 for t in self.targets}
        progress = {"marks": self.perturbations, "shares": self.shares, "scores": self.scores}
        return parts | progress | {"config": asdict(self.config), "targets": hashes}

    def load(self, state: dict[str, Any]) -> None:
        if state["targets"] != {t.name: t.sha256 for t in self.targets}:
            raise DataError("the checkpoint was trained against other deepfake models. Choose another --out folder.")
        for key in ("preset", "lim", "bound", "gated"):
            before, now = state["config"].get(key, False), getattr(self.config, key)
            if before != now:
                raise DataError(
                    f"the checkpoint was trained with {key}={before}, not {now}. Choose another --out folder, or pass"
                    f" --set {key}={json.dumps(before)}."
                )
        for part in _PARTS:
            getattr(self, part).load_state_dict(state[part])
        self.perturbations = [perturbation.to(self.device) for perturbation in state["marks"]]
        self.shares, self.scores = state["shares"], state["scores"]

    @torch.no_grad()
    def report(self, folder: Path, number: int) -> None:
        index = torch.arange(min(6, len(self.faces)))
        x = resized(self.pictures.batch(index), self.config.image_size)
        delta = self.generator(x)
        columns, size = [x, (x + delta).clamp(-1, 1), 10 * delta], self.config.image_size
        for target in self.targets:
            if target.family in ENCODERS:  # codes are no pictures
                continue
            edit = target.edits(self.labels[index])[1].to(self.device)
            seen = direct(size).protected(x, delta)
            columns += [resized(target.fake(picture, edit), size) for picture in (x, seen)]
        save_sheet(folder / f"sheet-{number:06d}.png", [resized(c, 128) for c in columns])
        if self.validation is not None:
            share = self.config.crop_share
            figures = validate(self.generator, self.targets, self.validation, image_size=size, crop_share=share)
            self._prefer_laggards(figures)
            self.scores.append(min(figures[f"{target.name} a1"] for target in self.targets))
            with (folder / "validation.jsonl").open("a") as file:
                file.write(json.dumps({"step": number, **figures, "shares": self.shares.tolist()}) + "\n")

    def converged(self) -> bool:
        """Whether the model that is broken least by A1 was not broken more for ``patience`` checkpoints."""
        patience = self.config.patience
        return 0 < patience < len(self.scores) and max(self.scores[-patience:]) <= max(self.scores[:-patience])

    def _prefer_laggards(self, figures: dict[str, float]) -> None:
        """Dynamic strength: train more against the models that are broken less often when an adversary crops anew.

        The paper adjusts the strength by what the models answer to queries; here the answers on the validation split
        say how often each of them is asked.
        """
        if self.config.dynamic:
            missed = torch.tensor([1.1 - figures[f"{target.name} a1"] for target in self.targets])
            weight = missed**self.config.dynamic
            self.shares = weight / weight.sum()

    def _visibility(self, x: Tensor, delta: Tensor) -> Tensor:
        c = self.config
        seen = losses.sensitivity(x) if c.masking else None
        goal = losses.rms_of_psnr(c.psnr_goal)
        return losses.visibility(delta, goal, sensitivity=seen, axes=c.axis_weights)

    def _contrast(self, x: Tensor, delta: Tensor) -> dict[str, Tensor]:
        c = self.config
        if not c.lambda_contrast:
            return {}
        return {"contrast": c.lambda_contrast * F.relu(losses.contrast(x, delta) - c.contrast_goal).mean()}

    @property
    def _shortfall(self) -> Callable[[Tensor, float], Tensor]:
        if self.config.distortion_loss == "log":
            return partial(losses.log_shortfall, floor=self.config.distortion_floor)
        return losses.shortfall

    def _perceived(self, x: Tensor, delta: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """What two unlike metrics see of ``delta`` beyond their goals, on the first pictures of the batch."""
        c = self.config
        if not (c.lambda_flip or c.lambda_ssimulacra2):
            return {}
        one, other = (
            resized(p[: c.seen_count], c.seen_side).clamp(-1, 1) for p in (x, rounded((x + delta).clamp(-1, 1)))
        )
        if 0 < c.seen_window < c.seen_side:
            top, left = torch.randint(c.seen_side - c.seen_window + 1, (2,), generator=rng).tolist()
            rows, columns = slice(top, top + c.seen_window), slice(left, left + c.seen_window)
            one, other = one[:, :, rows, columns], other[:, :, rows, columns]
        away = flip(one, other, pixels_a_degree=PIXELS_A_DEGREE * c.seen_side / c.seen_as)
        return {
            "flip": c.lambda_flip * F.relu(away - c.flip_goal).mean(),
            "ssimulacra2": c.lambda_ssimulacra2 * F.relu(c.ssimulacra2_goal - ssimulacra2(one, other)).mean(),
        }

    def _asked(self, rng: torch.Generator) -> Sequence[int]:
        """The numbers of the models that this step is against."""
        if self.config.joint:
            return range(len(self.targets))
        return [int(torch.multinomial(self.shares, 1, generator=rng))]

    def _answer(
        self, model: int, x: Tensor, delta: Tensor, edit: Tensor, transform: Transform, rng: torch.Generator
    ) -> _Answer:
        """What model number ``model`` makes of the photo ``x`` protected by ``delta``."""
        target, clean = windowed(self._member(model, rng), self.config.latent_window, rng), transform.clean(x)
        broken = self._broken(target, transform.protected(x, delta), edit, rng)
        with torch.no_grad():
            fake = self._fake(target, clean, edit)
        distortion = distortion_of(target)(fake, broken, target.model.resize(clean))
        return _Answer(broken, self._taught(model, x, transform, edit, rng), distortion)

    def _member(self, model: int, rng: torch.Generator) -> Target:
        """Model number ``model``, or one of its snapshots, drawn anew."""
        pool = self.pools[model]
        return pool[int(torch.randint(len(pool), (), generator=rng))]

    def _pairs(self, x: Tensor, delta: Tensor, answers: Sequence[_Answer]) -> list[Pair]:
        """What the recognizers tell apart in this step."""
        c = self.config
        pairs = [Pair(c.lambda_x, "x", self.ide_x, x, (x + delta).clamp(-1, 1))] if c.lambda_x else []
        for answer in answers:
            if answer.taught is not None:
                pairs.append(Pair(c.lambda_y, "y", self.ide_y, answer.taught, answer.broken))
        return pairs

    def _taught(
        self, number: int, x: Tensor, transform: Transform, edit: Tensor, rng: torch.Generator
    ) -> Tensor | None:
        """mod_i(x + adv_i), the "real" side of Ide_y, on the same way as the protected picture."""
        target = self.targets[number]
        if not self.config.lambda_y:
            return None
        if self.config.teacher == "per-image":
            basic = per_image(x, partial(self._broken, target, edit=edit, rng=rng), rng=rng, **self._climb())
        else:
            basic = self.perturbations[number].expand_as(x)
        with torch.no_grad():
            return self._fake(target, transform.protected(x, basic), edit)

    def _teacher_batch(self, target: Target, rng: torch.Generator) -> tuple[Tensor, Fake]:
        x, labels = self._draw(rng)
        edit = self._one_edit_each(target, labels, rng)
        return x, partial(self._broken, target, edit=edit, rng=rng)

    def _climb(self) -> dict[str, Any]:
        """How the basic perturbations are made: the settings of `universal` and `per_image`."""
        c = self.config
        return {"eps": c.lim, "steps": c.teacher_steps, "step": c.teacher_step, "momentum": c.teacher_momentum}

    def _fake(self, target: Target, pictures: Tensor, edit: Tensor) -> Tensor:
        """The model's output; only the networks run in half precision, never a photo's way to them."""
        pictures = target.model.resize(pictures)
        with self._autocast():
            return target.fake(pictures, edit).float()

    def _broken(self, target: Target, pictures: Tensor, edit: Tensor, rng: torch.Generator) -> Tensor:
        """The model's output for protected pictures, with the gradient that the recipe allows."""
        c = self.config
        if c.gradient == "white-box":
            return self._fake(target, pictures, edit)
        pictures = target.model.resize(pictures)
        asked = partial(self._fake, target, edit=edit)
        return query_gradient(asked, pictures, directions=c.query_directions, sigma=c.query_sigma, rng=rng)

    def _draw(self, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        c, index = self.config, torch.randint(len(self.faces), (self.config.batch,), generator=rng)
        x = self.pictures.batch(index)
        return framed(x, c.image_size, rng, zoom=c.zoom, shift=c.shift), self.labels[index]

    def _one_edit_each(self, target: Target, labels: Tensor, rng: torch.Generator) -> Tensor:
        """Of all edits of pictures with ``labels`` [B, A] one for each picture, drawn anew: [B, D]."""
        edits = target.edits(labels)
        kinds, count = edits.shape[:2]
        return sent(edits[torch.randint(kinds, (count,), generator=rng), torch.arange(count)], self.device)

    def _strength(self, number: int) -> float:
        """How rough the way to the adversary is by now: from the direct one, without a start from which it learns."""
        c = self.config
        return min(1.0, number / (c.ease * c.steps)) if c.ease else 1.0

    def _schedule(self, number: int) -> None:
        c = self.config
        left = min(1.0, (1 - number / c.steps) / max(1 - c.decay_from, 1e-9)) if c.decay_from < 1 else 1.0
        for optimizer, rate in ((self.g_opt, c.lr), (self.d_opt, c.lr_recognizers)):
            for group in optimizer.param_groups:
                group["lr"] = rate * left

    def _autocast(self) -> torch.autocast:
        return autocast(self.device, bf16=self.config.bf16)
