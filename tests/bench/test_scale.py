"""Very many photos: what is seen of a run, and that no wrong row gets by."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.bench import scale
from dadfi_fast.bench.scale import MemorySample, memory, protect_command, rates, start_up, thinned, watch, wrong
from dadfi_fast.bench.synthetic import DAMAGES, SyntheticPhotos, make
from dadfi_fast.errors import DadfiError
from dadfi_fast.protect.manifest import NAME

linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system has no /proc")
Rows = list[dict[str, Any]]


@pytest.fixture
def ran(tmp_path: Path) -> tuple[SyntheticPhotos, Path, Rows]:
    """What was made, the output of a faultless run on it, and its rows."""
    photos = SyntheticPhotos(tmp_path / "in", 10, 2, 32, 0)
    out = tmp_path / "out"
    (out / "0000").mkdir(parents=True)
    rows: Rows = []
    for name, damage in photos.names():
        row: dict[str, Any] = {"source": name, "status": "failed", "error": {"hop": "decode"}, "reason": None}
        if damage is None:
            (out / name).write_bytes(name.encode())
            digest = hashlib.sha256(name.encode()).hexdigest()
            row |= {"status": "written", "error": None, "target": name, "sha256_target": digest}
        rows.append(row)
    return photos, out, rows


def judged(photos: SyntheticPhotos, out: Path, rows: Rows) -> list[str]:
    """Why which rows are wrong."""
    (out / NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [f"{each.name[-9:]}: {each.why}" for each in wrong(photos, out)]


def test_a_faultless_run(ran: tuple[SyntheticPhotos, Path, Rows]) -> None:
    assert judged(*ran) == []


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda rows, _: rows.pop(0), "00000.jpg: no row"),
        (lambda rows, _: rows.append(rows[0]), "00000.jpg: a second row"),
        (lambda rows, _: rows.append(rows[0] | {"source": "strange"}), "strange: a row about a file that was not made"),
        (lambda rows, _: rows[0].update(status="copied", reason="no face"), "00000.jpg: a photo, and copied: no face"),
        (lambda rows, _: rows[4].update(status="written"), "00004.jpg: cut off, and written (decode)"),
        (lambda rows, _: rows[4].update(error={"hop": "encode"}), "00004.jpg: cut off, and failed (encode)"),
        (lambda rows, _: rows[0].update(sha256_target="0"), "00000.jpg: its target has another hash"),
        (lambda _, out: (out / "0000" / "0000000.jpg").unlink(), "00000.jpg: its target is missing"),
        (lambda _, out: (out / "0000" / "0000004.jpg").touch(), "00004.jpg: a file that must not be there"),
        (lambda _, out: (out / "a.partial").touch(), "a.partial: a file that must not be there"),
    ],
)
def test_whatever_is_wrong_is_found(
    ran: tuple[SyntheticPhotos, Path, Rows], spoil: Callable[[Rows, Path], object], expected: str
) -> None:
    photos, out, rows = ran
    spoil(rows, out)
    assert judged(photos, out, rows) == [expected]


#: A run of 100 s that writes 10 rows a second from the tenth second on.
STEADY = [MemorySample(float(t), max(0, 10 * (t - 10)), 100.0) for t in range(0, 111)]


def test_rates_and_start_up() -> None:
    assert start_up(STEADY) == 11.0
    assert rates(STEADY) == pytest.approx([10.0] * scale.PARTS)
    assert rates([MemorySample(1.0, 0, 9.0), MemorySample(4.0, 20, 9.0)]) == [5.0]  # too short for parts


@pytest.mark.parametrize("growth", [0.0, 2.5, -1.0])
def test_growth_of_memory(growth: float) -> None:
    samples = [MemorySample(each.seconds, each.rows * 100, 100 + growth * each.rows * 100 / 10_000) for each in STEADY]
    figures = memory([MemorySample(0.0, 0, 50.0), *samples])
    assert figures["growth_mib_per_10000"] == pytest.approx(growth)
    assert figures["rss_mib_end"] == pytest.approx(100 + 10 * growth) and figures["rss_mib_peak"] >= 100


def test_a_start_is_no_growth() -> None:
    warm = [MemorySample(each.seconds, each.rows, min(100.0, 20 + each.rows)) for each in STEADY]
    assert memory(warm)["growth_mib_per_10000"] == pytest.approx(0)


def test_thinned_keeps_both_ends() -> None:
    points = thinned(STEADY * 3)
    assert len(points) == scale.POINTS and (points[0], points[-1]) == (STEADY[0], STEADY[-1])
    assert thinned(STEADY[:3]) == STEADY[:3]


@linux
def test_a_run_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "EVERY", 0.02)
    (tmp_path / NAME).touch()
    code = f"""
import time
held = []
with open({str(tmp_path / NAME)!r}, "a") as file:
    for _ in range(10):
        held.append(bytearray(4 << 20))
        file.write("{{}}\\n"), file.flush(), time.sleep(0.05)
"""
    ticks: list[int] = []
    samples = watch([sys.executable, "-c", code], tmp_path, tick=ticks.append)
    assert sum(ticks) == samples[-1].rows == 10
    assert samples[-1].rss_mib - samples[0].rss_mib > 20
    assert all(a.seconds < b.seconds and a.rows <= b.rows for a, b in pairwise(samples))


@linux
def test_a_run_that_breaks_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DadfiError, match=r"exit code 2: .*what happened"):
        watch([sys.executable, "-c", "import sys; print('what happened', file=sys.stderr); sys.exit(2)"], tmp_path)


@linux
@pytest.mark.slow
def test_a_real_run(tmp_path: Path, examples: Path) -> None:
    photos = make(examples, tmp_path / "in", count=40, size=48, damaged=0.25)
    out = tmp_path / "out"
    samples = watch(protect_command(photos, out, "--detector", "none"), out)
    assert samples[-1].rows == 40 and wrong(photos, out) == []
    assert len([damage for _, damage in photos.names() if damage]) == 2 * len(DAMAGES)
    row = scale.row_of(photos, samples, [], provider="openvino-cpu bf16")
    assert row.config["wrong_rows"] == 0 and row.p50 > 0 and row.driver.startswith("openvino 2")
    (tmp_path / "row.json").write_text(json.dumps(row.to_dict()))
