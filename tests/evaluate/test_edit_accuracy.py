from __future__ import annotations

import numpy as np
import pytest

from dadfi_fast.evaluate.edit_accuracy import edit_accuracy
from dadfi_fast.types import Float32


class Model:
    """Paints the first label of the edit over the picture; ignores the second."""

    attributes, image_size = ("Black_Hair", "Male"), 4

    def edits(self, labels: Float32) -> Float32:
        return np.stack([1 - labels, 1 - labels])

    def fake(self, x: Float32, edit: Float32) -> Float32:
        return np.broadcast_to((2 * edit[:, :1] - 1)[:, :, None, None], x.shape)


class Judge:
    image_size = 4

    def labels(self, x: Float32, names: tuple[str, ...]) -> Float32:
        shown = (x[:, 0, 0, 0] > 0).astype(np.float32)
        return np.stack([shown, np.zeros_like(shown)], axis=1)


def test_counts_what_the_judge_sees() -> None:
    labels = np.array([[0, 0], [0, 1], [1, 1]], dtype=np.float32)
    pixels = np.zeros((3, 3, 4, 4), dtype=np.uint8)
    shares = edit_accuracy(Model(), Judge(), pixels, labels, batch=2)  # type: ignore[arg-type]
    assert shares["Black_Hair"] == 1.0  # always shown as asked
    assert shares["Male"] == pytest.approx(2 / 3, abs=1e-4)  # the judge always says no, which two of three asked for
