from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.check import appearance
from dadfi_fast.check.appearance import NOT_ASKED, UNCHANGED, Appearance, look
from dadfi_fast.check.pairs import Pair
from dadfi_fast.metrics.visibility import as_jpeg
from dadfi_fast.types import Face, UInt8


def picture(seed: int) -> UInt8:
    rows, columns = np.mgrid[:96, :128] / 9.0
    shades = np.stack([128 + 50 * np.sin(rows + c + seed) + 20 * np.cos(2 * columns) for c in range(3)], axis=2)
    return np.clip(shades + np.random.default_rng(seed).normal(0, 5, shades.shape), 0, 255).astype(np.uint8)


def find(_pixels: UInt8) -> list[Face]:
    """Two faces; the square of the second reaches over the photo's edge."""
    return [Face(20, 20, 50, 50, 1.0), Face(100, 60, 130, 90, 1.0)]


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    """A photo that is as it was, one that is slightly changed, one that is badly changed in its second face."""
    result = []
    for number, quality in enumerate((None, 85, 15)):
        original, changed = picture(number), picture(number)
        if quality:
            where = np.s_[:, 80:] if quality == 15 else np.s_[:, :]
            changed[where] = as_jpeg(original, quality)[where]
        for name, pixels in (("original", original), ("protected", changed)):
            Image.fromarray(pixels).save(tmp_path / f"{name}-{number}.png")
        result.append(Pair(f"{number}.png", tmp_path / f"original-{number}.png", tmp_path / f"protected-{number}.png"))
    return result


def test_the_most_visible_face_of_each_changed_photo(pairs: list[Pair]) -> None:
    visibility = look(pairs, find, count=5)
    assert len(visibility.photos) == 2  # what was not changed is not looked at
    assert [pair.name for pair in visibility.photos] == ["1.png", "2.png"]
    slight, bad = (face.jpeg_equivalent for face in visibility.photos.values())
    assert slight > 60 > 30 > bad
    figures = visibility.to_dict()
    assert figures["jpeg_equivalent_worst"] == bad and figures["jpeg_equivalent"] == (slight + bad) / 2
    assert figures["n_visibility"] == 2 and figures["visibility_reason"] is None
    assert f"the worst {bad}" in visibility.sentence() and "the lower of SSIMULACRA2 and FLIP" in visibility.sentence()


def test_only_as_many_as_were_asked_for(pairs: list[Pair]) -> None:
    ticks: list[int] = []
    assert len(look(pairs, find, count=1, tick=lambda: ticks.append(1)).photos) == 1 == len(ticks)


@pytest.mark.parametrize(
    ("count", "faces", "reason"),
    [(0, find, NOT_ASKED), (3, lambda _: [], UNCHANGED)],
    ids=["not asked for", "no face"],
)
def test_why_there_are_no_figures(count: int, faces: object, reason: str, pairs: list[Pair]) -> None:
    visibility = look(pairs, faces, count=count)  # type: ignore[arg-type]
    assert visibility.to_dict()["jpeg_equivalent"] is None and visibility.to_dict()["visibility_reason"] == reason
    assert (reason in visibility.sentence()) == (reason != NOT_ASKED)


def test_what_to_install(pairs: list[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appearance.importlib.util, "find_spec", lambda name: None)
    visibility = look(pairs, find, count=3)
    assert "pip install 'dadfi-fast[evaluate]'" in visibility.sentence() and visibility.photos == {}


def test_nothing_asked_nothing_said() -> None:
    assert Appearance().sentence() == ""
