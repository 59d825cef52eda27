"""``--visibility N``: how visible the change of some verified results is, in their manifest rows."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.errors import BackendMissing, UsageError
from dadfi_fast.faces.align import square
from dadfi_fast.metrics import perceptual, visibility
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.types import Face

FIELDS = ("jpeg_equivalent", "ssimulacra2", "flip")


def picture(seed: int) -> bytes:
    data = io.BytesIO()
    coarse = np.random.default_rng(seed).integers(60, 190, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC).save(data, "PNG")
    return data.getvalue()


def measured(rows: dict[str, Any]) -> list[dict[str, Any]]:
    return [row["written"] for row in rows.values() if row["written"]]


def test_nothing_is_measured_unless_asked_for(photos: Callable[..., Path], run: Callable[..., Any]) -> None:
    photos({"a.png": picture(0)})
    _, rows = run(verify=1.0)
    (written,) = measured(rows)
    assert written["linf"] > 0 and [written[name] for name in FIELDS] == [None] * 3


def test_figures_are_those_of_the_written_file(
    photos: Callable[..., Path], run: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("ssimulacra2")
    folder = photos({"a.png": picture(0), "b.png": picture(1), "c.png": picture(2)})
    _, rows = run(verify=1.0, visibility=2)
    looked = {name: row["written"] for name, row in rows.items() if row["written"]["flip"] is not None}
    assert len(looked) == 2 and len(measured(rows)) == 3
    for name, written in looked.items():
        (box,) = rows[name]["faces"]
        part = square(Face(*box)).inside(120, 160)[:2]
        pair = [np.asarray(Image.open(path / name).convert("RGB"))[part] for path in (folder, tmp_path / "out")]
        assert written["flip"] == pytest.approx(perceptual.flip(*pair))
        assert written["ssimulacra2"] == pytest.approx(perceptual.ssimulacra2(*pair))
        assert written["jpeg_equivalent"] == visibility.jpeg_equivalent(*pair) < visibility.BEST


def test_the_packages_are_missed_before_the_run(
    photos: Callable[..., Path], run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos({"a.png": picture(0)})
    monkeypatch.setitem(perceptual.PACKAGES, "no_such_module", "no-such-package")
    with pytest.raises(BackendMissing, match="no-such-package"):
        run(verify=1.0, visibility=1)


def test_a_count_below_0_is_refused() -> None:
    with pytest.raises(UsageError, match="--visibility"):
        ProtectConfig(sources=("x",), out=Path("y"), visibility=-1)
