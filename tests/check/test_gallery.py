"""What the gallery keeps, and what it lets go."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.check import result
from dadfi_fast.check.conditions import parse
from dadfi_fast.check.gallery import BUDGET, FACES, GAIN, PLANNED, SIZES, Gallery, Size, plan
from dadfi_fast.check.pairs import Pair
from dadfi_fast.types import Face

Put = Callable[..., Pair]
Check = Callable[..., Any]

SMALL = Size(64, 16, 80, 0, 0)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_every_edit_of_every_model_has_its_pair(put: Put, check: Check) -> None:
    gallery, pair = Gallery(SMALL), put("a")
    check([pair], watchers=[gallery])
    (shots,) = gallery.of(pair)
    assert [(fake.model, fake.edit) for fake in shots.fakes] == [
        (m, e) for m in ("fragile", "sturdy") for e in range(5)
    ]
    assert all(pixels(fake.both).shape == (16, 32, 3) for fake in shots.fakes)


def test_the_pictures_are_what_they_are_called(put: Put, check: Check, toys: tuple[Any, Any]) -> None:
    gallery, pair = Gallery(Size(256, 32, 100, 0, 0)), put("a", level=60)
    check([pair], watchers=[gallery], models=toys[0][1:])
    (shots,) = gallery.of(pair)
    assert np.abs(pixels(shots.original) - 60).max() <= 3
    assert pixels(shots.protected).std() > 1  # the pattern
    assert pixels(shots.difference).mean() == pytest.approx(128, abs=4)
    assert pixels(shots.difference).max() == pytest.approx(128 + 6 * GAIN, abs=6)
    assert pixels(shots.difference).min() == pytest.approx(128 - 6 * GAIN, abs=6)
    left, right = np.split(pixels(shots.fakes[0].both), 2, axis=1)
    assert np.abs(left - (60 + 64)).max() <= 4  # this model adds 0.5, which is 64 levels
    assert right.std() > left.std() + 1


def test_a_fake_is_never_enlarged(put: Put, check: Check) -> None:
    gallery, pair = Gallery(Size(64, 128, 80, 0, 0)), put("a")
    check([pair], watchers=[gallery])
    assert pixels(gallery.of(pair)[0].fakes[0].both).shape == (32, 64, 3)  # the model works at 32 px


def test_only_the_picture_as_written_is_kept(put: Put, check: Check) -> None:
    gallery, pair = Gallery(SMALL), put("a")
    check([pair], watchers=[gallery], conditions=[parse("jpeg:50")])
    assert len(gallery.of(pair)) == 1
    assert len(gallery.of(pair)[0].fakes) == 10


def test_the_best_protected_lose_their_pictures_first(put: Put, check: Check) -> None:
    bare = {i for i in range(40) if i % 4 == 0}
    pairs = [put(f"{i:02}", safe=i not in bare) for i in range(40)]
    gallery = Gallery(SMALL, budget=100_000)
    check(pairs, watchers=[gallery])
    kept = {int(pair.name) for pair in pairs if gallery.of(pair)}
    assert bare <= kept
    assert len(kept) < 30
    assert sum(shots.weight for pair in pairs for shots in gallery.of(pair)) <= 100_000


def test_of_a_crowd_the_least_protected_faces_are_kept(put: Put, check: Check) -> None:
    gallery, pair = Gallery(SMALL), put("a")
    faces = [Face(8, 8, 24 - i * 0.4, 24 - i * 0.4, 0.9) for i in range(20)]  # more than a batch
    checked = check([pair], watchers=[gallery], find=lambda pixels: faces)
    every = np.concatenate([d.mask for d in checked.samples[0].looks["written"].distances.values()], axis=1).min(axis=1)
    kept = gallery.of(pair)
    assert [shots.weakest for shots in kept] == pytest.approx(sorted(every)[:FACES])
    assert all(every[shots.number - 1] == pytest.approx(shots.weakest) for shots in kept)


@pytest.mark.parametrize(
    ("n", "edits"),
    [
        (1, 5),
        (8, 40),
        (200, 5),  # one StarGAN
        (200, 40),  # all families
        (100_000, 5),
    ],
)
def test_a_plan_fits_the_page(n: int, edits: int) -> None:
    size = plan(n, edits)
    raw = size.bytes_photo + edits * size.bytes_fake
    assert min(n, PLANNED) * raw * 4 / 3 < BUDGET


def test_few_photos_are_shown_large() -> None:
    assert plan(8, 5) == SIZES[0]
    assert plan(200, 40).fake < SIZES[0].fake


def test_nobody_looks_on_unless_asked(put: Put, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    measure = result.measure

    def spy(crops: Any, **more: Any) -> Any:
        calls.append((more["see"], {size for crop in crops for size in crop.original}))
        return measure(crops, **more)

    monkeypatch.setattr(result, "measure", spy)
    check([put("a")])
    assert calls == [(None, {32})]  # no callback, and no crop beyond the models' own size
    check([put("a")], watchers=[Gallery(SMALL)])
    assert calls[1][0] is not None
    assert calls[1][1] == {32, Gallery.size}
