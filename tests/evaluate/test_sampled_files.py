from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from dadfi_fast.errors import DataError
from dadfi_fast.evaluate.experiment import Setup
from dadfi_fast.evaluate.sampled_files import SampledFiles


def drawn(*sources: Path, out: Path, **changes: Any) -> SampledFiles:
    return SampledFiles(Setup(sources, **changes), out)


def test_the_files_are_what_they_were(faces: Path, tmp_path: Path) -> None:
    sample = drawn(faces, out=tmp_path / "o")
    copied = sorted((tmp_path / "o").iterdir())
    assert len(sample) == 3
    assert [path.read_bytes() for path in copied] == [path.read_bytes() for path in sorted(faces.iterdir())]


def test_a_sample_is_drawn_from_an_archive(archive: Path, tmp_path: Path) -> None:
    assert len(drawn(archive, out=tmp_path / "o", sample=4)) == 4
    names = [path.name.partition("-")[2] for path in (tmp_path / "o").iterdir()]
    assert len(set(names)) == 4 and set(names) < {f"{level}.png" for level in (70, 80, 90, 200, 210, 220)}


def test_a_seed_draws_the_same_ones_again(archive: Path, tmp_path: Path) -> None:
    def names(out: str, seed: int) -> tuple[str, ...]:
        drawn(archive, out=tmp_path / out, sample=3, seed=seed)
        return tuple(sorted(path.name.partition("-")[2] for path in (tmp_path / out).iterdir()))

    assert names("a", 1) == names("b", 1)
    assert len({names(f"s{seed}", seed) for seed in range(6)}) > 1


def test_one_name_in_two_sources_is_two_pictures(faces: Path, archive: Path, tmp_path: Path) -> None:
    inner = faces / "inner"
    inner.mkdir()
    (inner / "60.png").write_bytes((faces / "90.png").read_bytes())
    assert len(drawn(faces, archive, out=tmp_path / "o")) == 4 + 6
    assert len(list((tmp_path / "o").iterdir())) == 10


def test_facts(archive: Path, faces: Path, table: Path, tmp_path: Path) -> None:
    facts = drawn(archive, out=tmp_path / "o", attributes=table).facts()
    assert (facts["n"], facts["split"]) == (6, "test, val")
    assert facts["data"][0]["archive"] == archive.name and len(facts["data"][0]["sha256"]) == 64
    assert drawn(faces, out=tmp_path / "p").facts() == {
        "data": [{"archive": "faces", "sha256": None}],
        "split": None,
        "n": 3,
    }


def test_what_is_no_data(tmp_path: Path, table: Path) -> None:
    with pytest.raises(DataError, match="neither a folder nor a tar archive"):
        drawn(table, out=tmp_path / "o")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no image found in "):
        drawn(empty, out=tmp_path / "p")
