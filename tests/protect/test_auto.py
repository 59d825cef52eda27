"""Numbers that are ``auto``: tried where it pays, and the same files whatever is chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.attacks.generator import GeneratorAttack
from dadfi_fast.backends.generator_file import load_generator_file
from dadfi_fast.backends.registry import choose
from dadfi_fast.protect import auto
from dadfi_fast.protect.auto import FEWEST, Settings, Trial, faster, settle
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.discover import discover
from dadfi_fast.protect.stages import Stages
from dadfi_fast.storage.disk import OutFolder
from dadfi_fast.types import Budget, Float32
from tests.protect.conftest import MIDDLE, Boxes, Stripes

Fill = Callable[[dict[str, bytes | None]], Path]


class Cramped(Stripes):
    """Has memory for four crops."""

    def run(self, crops: Float32) -> Float32:
        if len(crops) > 4:
            raise MemoryError("out of memory")
        return super().run(crops)


def settled(folder: Path, *, left: int = FEWEST, detector: Boxes = MIDDLE, **options: Any) -> Settings:
    """The settings for a run on ``folder``."""
    config = ProtectConfig(sources=(str(folder),), out=folder.parent / "out", **options)
    attack = Stripes(Budget(config.strength))
    return settle(
        config, left=left, first=lambda: discover(config.sources, config.out), detector=detector, attack=attack
    )


def trial(tmp_path: Path, *, attack: Stripes | None = None, until: float = float("inf"), **options: Any) -> Trial:
    """A trial on the pictures in the folder ``in``."""
    config = ProtectConfig(sources=(str(tmp_path / "in"),), out=tmp_path / "out", **options)
    attack = attack or Stripes(Budget())
    made = Trial(Stages(config, MIDDLE, attack, OutFolder(tmp_path / "scratch")), attack, until)
    assert made.read(discover(config.sources, config.out))
    return made


def test_what_the_user_names_stays(photos: Fill) -> None:
    found = settled(photos({"a.jpg": None}), batch=7, workers=3)
    assert (found.batch, found.workers, found.why) == (7, 3, "named by the user")
    assert settled(photos({}), batch=7).batch == 7 and settled(photos({}), workers=3).workers == 3


def test_a_short_run_is_not_worth_a_trial(photos: Fill) -> None:
    found = settled(photos({"a.jpg": None}), left=FEWEST - 1, workers=5)
    assert (found.batch, found.workers) == (4, 5) and "defaults: " in found.why
    assert str(found) == f"4 faces a call, 5 workers ({found.why})"


def test_a_trial_writes_nothing(photos: Fill, encoded: Callable[..., bytes]) -> None:
    folder = photos({"0.txt": b"no picture", "1.jpg": b"\xff\xd8\xff damaged", "2.png": encoded("PNG"), "3.jpg": None})
    found = settled(folder)
    assert "in a benchmark of" in found.why and not (folder.parent / "out").exists()
    assert found.batch >= 4 and found.workers >= 1


def test_named_numbers_stay_in_a_trial(photos: Fill) -> None:
    assert settled(photos({"a.jpg": None}), batch=7).batch == 7
    assert settled(photos({"a.jpg": None}), workers=3).workers == 3


def test_without_faces_there_is_nothing_to_try(photos: Fill) -> None:
    found = settled(photos({"a.jpg": None}), detector=Boxes())
    assert found.batch == 4 and "no face" in found.why


@pytest.mark.parametrize(
    ("ones", "others", "expected"),
    [
        ([110.0, 120.0], [90.0, 100.0], True),
        ([104.0, 120.0], [90.0, 100.0], False),  # its worst is not so much better than their best
        ([120.0, 80.0], [90.0, 85.0], False),  # once it was slower
        ([0.0], [50.0], False),  # it failed
    ],
)
def test_only_what_is_plainly_faster_replaces_the_usual(ones: list[float], others: list[float], expected: bool) -> None:
    assert faster(ones, others) is expected


@pytest.mark.parametrize(
    ("device", "rates", "expected"),
    [
        ("cpu", {4: 100, 8: 101}, 4),
        ("cpu", {4: 100, 8: 120, 16: 121}, 8),
        ("cuda", {4: 100, 8: 150, 16: 220, 32: 300, 64: 310}, 32),
        ("cuda:1", {4: 100, 8: 150, 16: 0}, 8),  # no memory for 16
    ],
)
def test_batches_grow_while_it_pays(
    photos: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, rates: dict[int, float], expected: int
) -> None:
    photos({"a.jpg": None})
    tried: list[int] = []

    def crops_a_second(_: Trial, size: int) -> list[float]:
        tried.append(size)
        return [rates[size]] * 3

    monkeypatch.setattr(Trial, "_crops_a_second", crops_a_second)
    assert trial(tmp_path, device=device).batch(4) == expected
    assert tried == list(rates)  # and no larger ones


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({4: 100, 6: 103, 2: 80}, 4),
        ({4: 100, 6: 90, 2: 140}, 2),  # memory, or the detector, serves two best
        ({4: 100, 6: 130, 2: 60}, 6),
    ],
)
def test_workers(
    photos: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rates: dict[int, float], expected: int
) -> None:
    photos({"a.jpg": None})
    monkeypatch.setattr(Trial, "_photos_a_second", lambda _, photos, workers, batch: rates[workers])
    assert trial(tmp_path).workers(4, 4) == expected


def test_a_batch_without_memory_is_not_chosen(photos: Fill, tmp_path: Path) -> None:
    photos({"a.jpg": None})
    assert trial(tmp_path, attack=Cramped(Budget())).batch(4) == 4


def test_when_the_time_is_over_nothing_new_is_tried(
    photos: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos({f"{n}.jpg": None for n in range(9)})
    tried: list[int] = []

    def crops_a_second(_: Trial, size: int) -> list[float]:
        tried.append(size)
        return [1.0]

    def photos_a_second(_: Trial, photos: int, workers: int, batch: int) -> float:
        tried.append(-workers)
        return 1.0

    monkeypatch.setattr(Trial, "_crops_a_second", crops_a_second)
    monkeypatch.setattr(Trial, "_photos_a_second", photos_a_second)
    late = trial(tmp_path, until=0.0)
    assert late.batch(4) == 4 and late.workers(2, 4) == 2
    assert tried == [4]


def test_what_an_earlier_run_has_done_is_not_left(photos: Fill, run: Callable[..., Any], tmp_path: Path) -> None:
    photos({f"{n}.jpg": None for n in range(5)})
    config = ProtectConfig(sources=("in",), out=tmp_path / "out")
    assert auto.left(config, 5) == 5
    run()
    assert auto.left(config, 7) == 2
    assert auto.left(replace(config, out=tmp_path / "other"), 7) == 7


def test_files_are_the_same_whatever_is_chosen(
    photos: Fill, run: Callable[..., Any], encoded: Callable[..., bytes], tmp_path: Path
) -> None:
    files: dict[str, bytes | None] = {f"{n}.jpg": encoded(size=(40 + 9 * n, 60), quality=90) for n in range(7)}
    photos(files | {"x.png": encoded("PNG")})
    generator = load_generator_file()
    found = []
    for batch, workers, threads in ((1, 1, 1), (3, 2, 2), (4, 3, 1), (8, 2, 1)):
        attack = GeneratorAttack(choose()[0](generator, threads=threads), Budget())
        out = tmp_path / f"out-{batch}"
        summary, _ = run(out=out, attack=attack, batch=batch, workers=workers)
        assert summary.written == 8
        found.append({path.name: path.read_bytes() for path in out.iterdir() if path.suffix in (".jpg", ".png")})
    assert len(found[0]) == 8 and all(each == found[0] for each in found)
