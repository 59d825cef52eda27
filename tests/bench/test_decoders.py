"""The decoders side by side: every one that is there gets a case, and each decodes every JPEG."""

from __future__ import annotations

from pathlib import Path

import pytest

from dadfi_fast.bench.decoders import cases, ratios
from dadfi_fast.bench.photos import gather
from dadfi_fast.bench.timing import run_rounds
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.gpu import dali
from dadfi_fast.protect.prefetch import pools


def config(folder: Path) -> ProtectConfig:
    """With one thread."""
    return ProtectConfig(sources=(str(folder),), out=folder / "out", workers=1)


def test_all_decode_the_same_files(folder: Path, tmp_path: Path) -> None:
    photos = gather(folder, tmp_path / "in", count=9)  # three of each: two JPEGs and a PNG
    with pools(compute=1, disk=1) as threads:
        timed = cases(photos, config(tmp_path), threads)
        assert [case.work() for case in timed] == [6] * len(timed)
        rates = run_rounds(timed, repeats=2)
    there = [] if dali.missing() else ["dali-cpu"]
    assert [case.provider for case in timed] == ["simplejpeg", "pillow", *there]
    assert all(case.config == {"photos": 6, "megapixels": photos.facts()["megapixels"], "workers": 1} for case in timed)
    rows = list(ratios(rates, timed))
    assert len(rows) == len(timed) * (len(timed) - 1) // 2
    assert all(row.unit == "ratio" and row.n == 2 for row in rows)


def test_no_jpeg_no_case(folder: Path, tmp_path: Path) -> None:
    photos = gather(folder / "below", tmp_path / "in", count=2)
    with pools(compute=1, disk=1) as threads:
        assert cases(photos, config(tmp_path), threads) == []


def test_without_dali_there_are_two(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dali, "missing", lambda device: "it is not installed")
    photos = gather(folder, tmp_path / "in", count=3)
    with pools(compute=1, disk=1) as threads:
        assert [case.provider for case in cases(photos, config(tmp_path), threads)] == ["simplejpeg", "pillow"]
