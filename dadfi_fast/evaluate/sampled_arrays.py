"""The pictures that an experiment draws, at any size, with their labels and what rows say of them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dadfi_fast.deepfakes.onnx_model import AttributeModel
from dadfi_fast.evaluate.edit_accuracy import scaled
from dadfi_fast.evaluate.experiment import Setup
from dadfi_fast.files import sha256
from dadfi_fast.training.data import Faces, load_faces
from dadfi_fast.types import Float32, UInt8


class SampledArrays:
    """The sample of ``setup``, in random order: the same for the same seed, whatever the size.

    Args:
        columns: the attributes that will be asked for.
        judge: names them where the setup has no table; one that it does not know counts as absent, as in ``check``.

    Raises:
        DataError: the pictures or their labels cannot be read.
    """

    def __init__(self, setup: Setup, *, columns: Sequence[str], judge: AttributeModel) -> None:
        self._setup, self._columns, self._judge = setup, tuple(dict.fromkeys(columns)), judge
        faces = self._read(judge.image_size)
        self._order = np.random.default_rng(setup.seed).permutation(len(faces))[: setup.sample]
        self._sizes = {judge.image_size: faces.pixels[self._order]}
        self._names = tuple(faces.names[i] for i in self._order)
        self._labels = faces.labels.numpy()[self._order] if faces.labels is not None else self._judged()

    def __len__(self) -> int:
        return len(self._names)

    def at(self, size: int) -> UInt8:
        """The pictures [N, 3, size, size], levels 0-255."""
        if size not in self._sizes:
            self._sizes[size] = self._read(size).pixels[self._order]
        return self._sizes[size]

    def labels(self, names: Sequence[str]) -> Float32:
        """Which of the attributes ``names`` [A] the pictures have: [N, A] in {0, 1}."""
        return self._labels[:, [self._columns.index(name) for name in names]]

    def facts(self) -> dict[str, Any]:
        """What every row says of them: archives with their hashes, split, where the labels come from, n."""
        table = self._setup.attributes
        return {
            "data": archives(self._setup.sources),
            "split": splits(table, self._names) if table else None,
            "labels": table.name if table else f"those that {self._judge.card.name} sees",
            "n": len(self),
        }

    def _read(self, size: int) -> Faces:
        table = self._setup.attributes
        return load_faces(
            self._setup.sources, image_size=size, attributes=table, columns=self._columns if table else ()
        )

    def _judged(self, batch: int = 64) -> Float32:
        pixels = self.at(self._judge.image_size)
        starts = range(0, len(pixels), batch)
        parts = [self._judge.labels(scaled(pixels[i : i + batch]), self._columns, unknown_as=0) for i in starts]
        return np.concatenate(parts)


def archives(sources: Sequence[Path]) -> list[dict[str, str | None]]:
    """The names of archives and folders, and the archives' hashes, as rows state them."""
    return [{"archive": path.name, "sha256": sha256(path) if path.is_file() else None} for path in sources]


def splits(table: Path, names: Sequence[str]) -> str | None:
    """What the table's column ``split`` says of the pictures ``names``; None where it has no such column."""
    known = set(names)
    with table.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if "split" not in (rows.fieldnames or ()):
            return None
        return ", ".join(sorted({row["split"] for row in rows if row["image"] in known}))
