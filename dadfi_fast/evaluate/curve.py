"""A deepfake model while it is trained: how its edits come on, step by step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dadfi_fast.deepfakes.edits import Aim
from dadfi_fast.deepfakes.onnx_model import AttributeModel
from dadfi_fast.evaluate.edit_accuracy import edit_accuracy
from dadfi_fast.training.data import Faces
from dadfi_fast.training.deepfakes.trainer import DeepfakeTrainer
from dadfi_fast.types import Float32


class InTraining:
    """A trainer's averaged generator, seen as `dadfi_fast.deepfakes.onnx_model.DeepfakeModel` is."""

    def __init__(self, trainer: DeepfakeTrainer) -> None:
        self.image_size, self._rule, self._device = trainer.config.image_size, trainer.rule, trainer.device
        self.attributes, self.edit_names = self._rule.attributes, self._rule.names
        self._generator = trainer.kept.eval()

    def edits(self, labels: Float32) -> Float32:
        """The edits [E, B, D] of pictures with ``labels`` [B, A]."""
        return self._rule(labels)

    def wanted(self, labels: Float32) -> list[Aim]:
        """What each of the E edits should show."""
        return self._rule.aims(labels)

    @torch.inference_mode()
    def fake(self, images: Float32, edit: Float32) -> Float32:
        """``images`` [B, 3, S, S] edited as ``edit`` [B, D] says; same shape, clamped to [-1, 1]."""
        sides = (torch.from_numpy(np.ascontiguousarray(a)).to(self._device) for a in (images, edit))
        return np.asarray(self._generator(*sides).clamp(-1, 1).cpu().numpy(), dtype=np.float32)


class Curve:
    """Edit accuracy over steps, kept in ``curve.jsonl`` of the run's folder.

    Args:
        faces: labelled pictures that are not trained on.
        judge: the attribute classifier.
    """

    def __init__(self, trainer: DeepfakeTrainer, faces: Faces, judge: AttributeModel, folder: Path) -> None:
        self._trainer, self._faces, self._judge, self._path = trainer, faces, judge, folder / "curve.jsonl"

    def point(self, number: int) -> dict[str, float]:
        """Measure after step ``number``, and write it down."""
        labels = self._faces.labels
        assert labels is not None
        shares = edit_accuracy(InTraining(self._trainer), self._judge, self._faces.pixels, labels.numpy())
        row: dict[str, Any] = {"step": number, "n": len(self._faces), **shares}
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        return shares

    def points(self) -> list[dict[str, Any]]:
        """What was measured so far, earlier processes included; of a step measured twice, the later."""
        if not self._path.exists():
            return []
        rows = [json.loads(line) for line in self._path.read_text().splitlines()]
        return sorted({row["step"]: row for row in rows}.values(), key=lambda row: row["step"])
