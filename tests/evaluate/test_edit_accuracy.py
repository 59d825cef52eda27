from __future__ import annotations

import math

import numpy as np
import pytest

from dadfi_fast.check.fake_sets import levels
from dadfi_fast.deepfakes.edits import Aim
from dadfi_fast.evaluate.edit_accuracy import Hits, asks, edit_accuracy, hits, scaled
from dadfi_fast.types import Float32


class Model:
    """Paints what the first label is to become over the picture; ignores the others."""

    attributes, image_size = ("Black_Hair", "Male", "Bald"), 4
    edit_names = ("Black_Hair", "Male latent 1", "Bald", "Smiling")

    def edits(self, labels: Float32) -> Float32:
        return np.stack([1 - labels] * 4)

    def wanted(self, labels: Float32) -> list[Aim]:
        inverted = 1 - labels
        smiling = np.ones(len(labels), np.float32)
        return [
            ("Black_Hair", inverted[:, 0]),
            ("Male", inverted[:, 1]),
            ("Bald", inverted[:, 2]),
            ("Smiling", smiling),
        ]

    def fake(self, x: Float32, edit: Float32) -> Float32:
        return np.broadcast_to((2 * edit[:, :1] - 1)[:, :, None, None], x.shape)


class Judge:
    """Knows two attributes: the first pixel shows Black_Hair, nothing shows Male."""

    attributes = ("Black_Hair", "Male")

    def __init__(self, image_size: int = 4) -> None:
        self.image_size = image_size

    def labels(self, x: Float32, names: list[str]) -> Float32:
        assert x.shape[1:] == (3, self.image_size, self.image_size)
        shown = {"Black_Hair": x[:, 0, 0, 0] > 0, "Male": np.zeros(len(x))}
        return np.stack([shown[name] for name in names], axis=1).astype(np.float32)


LABELS = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1]], dtype=np.float32)


@pytest.mark.parametrize("judge_size", [4, 2, 8])  # fakes are resized for a judge of another size
def test_counts_what_the_judge_sees(judge_size: int) -> None:
    pixels = np.zeros((3, 3, 4, 4), dtype=np.uint8)
    shares = edit_accuracy(Model(), Judge(judge_size), pixels, LABELS, batch=2)  # type: ignore[arg-type]
    assert list(shares) == list(Model.edit_names)
    assert shares["Black_Hair"] == 1.0  # always shown as asked
    assert shares["Male latent 1"] == pytest.approx(2 / 3, abs=1e-4)  # the judge says no, which two of three asked for
    assert math.isnan(shares["Bald"])  # the judge does not know it
    assert math.isnan(shares["Smiling"])  # the pictures' labels do not say who smiles already


@pytest.mark.parametrize(
    ("attribute", "own", "target", "counts"),
    [
        ("Male", [0, 0, 1, 1], [1, 0, 1, 0], [True, False, False, True]),  # whatever the edit changes
        ("Blond_Hair", [0, 0, 1, 1], [1, 0, 1, 0], [True, False, False, False]),  # only where a colour is added
    ],
)
def test_which_pictures_count(attribute: str, own: list[int], target: list[int], counts: list[bool]) -> None:
    mask = asks((attribute, np.array(target, np.float32)), np.array(own, np.float32))
    assert mask.tolist() == counts


def test_pictures_that_do_not_count_are_not_judged() -> None:
    pictures = np.stack([np.full((3, 4, 4), value, np.float32) for value in (1, 1, -1)])
    aim = ("Black_Hair", np.array([1, 1, 1], np.float32))
    accuracy = hits(Judge(), pictures, aim, np.array([1, 0, 0], np.float32))  # type: ignore[arg-type]
    assert (accuracy.shown, accuracy.asked, accuracy.share) == (1, 2, 0.5)
    nobody = hits(Judge(), pictures, aim, np.ones(3, np.float32))  # type: ignore[arg-type]
    assert nobody == Hits() and math.isnan(nobody.share)


def test_levels_and_back() -> None:
    every = np.arange(256, dtype=np.uint8)
    assert np.array_equal(levels(scaled(every)), every)
    assert levels(np.array([-1.5, -1, 0.001, 1, 2], np.float32)).tolist() == [0, 0, 128, 255, 255]
