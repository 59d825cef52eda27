"""How well photos are defended: rows of the generator and of noise, on toy models whose answers are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.attacks.generator import GeneratorAttack
from dadfi_fast.backends.base import Backend
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.bench.defence import CONTROL, Setup, files, measure
from dadfi_fast.bench.photos import gather
from dadfi_fast.bench.rows import Row
from dadfi_fast.bench.setup import BenchSetup
from dadfi_fast.check.conditions import parse
from dadfi_fast.deepfakes.registry import load_attributes, load_models
from dadfi_fast.errors import NothingToDo
from dadfi_fast.faces.detector import choose_detector
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.types import Budget, Float32, UInt8

Prepare = Callable[..., Setup]


class Checker(Backend):
    """Changes every crop by the same checkerboard, whose cells are some pixels of the toy models' pictures."""

    name = "checker"

    @classmethod
    def missing(cls) -> str | None:
        return None

    def run(self, crops: Float32) -> Float32:
        rows, columns = np.indices(crops.shape[2:]) // 16
        sign = np.where((rows + columns) % 2, 1, -1)
        return np.broadcast_to(0.05 * sign, crops.shape).astype(np.float32)


@pytest.fixture
def prepare(
    tmp_path: Path, toy_generator: GeneratorFile, toy_weights: Path, smooth: Callable[[int, int], UInt8]
) -> Prepare:
    """Two smooth photos, the models ``fragile`` and ``sturdy``, and a generator of checkerboards."""
    source = tmp_path / "source"
    source.mkdir()
    for name, level in (("dark", -60), ("bright", 60)):
        moved = np.clip(smooth(96, 96).astype(int) // 2 + 64 + level, 0, 255).astype(np.uint8)
        Image.fromarray(moved).save(source / f"{name}.png")
    (source / "notes.txt").write_text("not an image")

    def make(*, detector: str = "none") -> Setup:
        photos = gather(source, tmp_path / "photos", count=8, repeat=False)
        find, _ = choose_detector(detector)
        config = ProtectConfig(
            sources=(str(photos.folder),), out=tmp_path / "out", detector=find.name, no_face="skip", verify=0.0
        )
        bench_setup = BenchSetup(config, find, GeneratorAttack(Checker(toy_generator), Budget()))
        models = load_models(("fragile", "sturdy"), folder=toy_weights, threads=1)
        classifier = load_attributes(folder=toy_weights, threads=1)
        return Setup(photos, bench_setup, models, classifier, [parse("blur:31")])

    return make


def named(rows: list[Row]) -> dict[tuple[str, str, str], Row]:
    return {(row.case, CONTROL if row.provider == CONTROL else "generator", row.unit): row for row in rows}


def test_the_pattern_breaks_the_fragile_model_until_it_is_blurred_and_noise_breaks_none(prepare: Prepare) -> None:
    rows = named(measure(prepare()))
    shares = {key[:2]: row.config["sr_mask"] for key, row in rows.items() if key[2] == "d_mask"}
    broken = [key for key, share in shares.items() if share]
    assert broken == [("fragile written", "generator")], "blur takes the pattern away, and sturdy has no gain"
    assert len(shares) == 8
    assert rows["fragile written", "generator", "d_mask"].p20 > 0.05
    assert rows["fragile written", CONTROL, "d_mask"].p80 < 0.05


def test_the_rows_say_what_they_are_of(prepare: Prepare, toy_generator: GeneratorFile) -> None:
    setup, ticks = prepare(), []
    rows = named(measure(setup, tick=lambda: ticks.append(None)))
    assert len(ticks) == files(setup.photos) == 4
    row = rows["sturdy blur:31", "generator", "d_mask"]
    edits = setup.models[1].edits(np.zeros((1, len(setup.models[1].attributes)), np.float32)).shape[0]
    assert row.n + row.config["n_empty"] == 2 * edits, "every fake of both photos"
    assert row.config["generator"] == toy_generator.sha256
    assert rows["sturdy blur:31", CONTROL, "d_mask"].config["generator"] is None
    assert row.config["model"] == setup.models[1].card.sha256
    assert row.config["distinct"] == row.config["files"] == 2, "photos are not repeated to fill the count"


def test_what_can_be_seen_stays_within_the_strength(prepare: Prepare) -> None:
    rows = named(measure(prepare()))
    for who in ("generator", CONTROL):
        assert 0 < rows["seen written", who, "Linf"].p80 <= 6
        assert rows["seen written", who, "PSNR (dB)"].p20 > 30


def test_photos_without_a_face_are_said_to_be_none(prepare: Prepare) -> None:
    with pytest.raises(NothingToDo, match="no face found in the 2 photos"):
        measure(prepare(detector="libfacedetection"))
