"""Shards of a manifest: taken over by the run, or by the next one where the run was killed."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.errors import UsageError
from dadfi_fast.protect.distributed import manifest_shards as module
from dadfi_fast.protect.distributed.manifest_shards import (
    FOLDER,
    drop_shard,
    leftover_shards,
    open_manifest,
    open_shard,
    read_shard,
)
from dadfi_fast.protect.manifest import Facts, Manifest, row_of
from dadfi_fast.protect.results import Entry, Written
from dadfi_fast.storage.paths import AnyPath, parse_path

FACTS = Facts("config", "generator", "toy: because")


@pytest.fixture(params=["disk", "memory"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> AnyPath:
    """An output folder."""
    return tmp_path if request.param == "disk" else parse_path(f"{request.getfixturevalue('memory')}/out")


def written(out: AnyPath, name: str, *, there: bool = True) -> dict[str, Any]:
    """A row, and its file."""
    if there and isinstance(out, Path):
        (out / name).write_bytes(b"x")
    elif there:
        out.store.system.pipe_file((out / name).key, b"x")  # type: ignore[union-attr]
    row = Written(Entry(Path(name), name, name, 7, 9), name, (), 6, "s", hashlib.sha256(b"x").hexdigest())
    return row_of(row, FACTS)


def sources(rows: Any) -> list[str]:
    """What they are about."""
    return [row["source"] for row in rows]


def test_a_part_is_read_and_dropped(out: AnyPath) -> None:
    with closing(open_manifest(out, FACTS)) as manifest:
        with closing(open_shard(out, FACTS, "1-000001")) as part:
            for name in ("a.jpg", "b.jpg"):
                part.append(written(out, name))
        with closing(open_shard(out, FACTS, "1-0000011")) as other:  # not the same, for all that its name begins so
            other.append(written(out, "other.jpg"))
        assert sources(read_shard(out, FACTS, "1-000001")) == ["a.jpg", "b.jpg"]
        assert read_shard(out, FACTS, "1-000002") == []
        for row in read_shard(out, FACTS, "1-000001"):
            manifest.merge(row)
        drop_shard(out, manifest, "1-000001")
    with closing(open_manifest(out, FACTS)) as manifest:
        assert all(manifest.find(name) for name in ("a.jpg", "b.jpg", "other.jpg"))


def test_the_last_row_of_a_worker_that_is_gone_may_be_without_its_file(out: AnyPath) -> None:
    with closing(open_shard(out, FACTS, "1-000001")) as part:
        part.append(written(out, "a.jpg"))
        part.append(written(out, "b.jpg", there=False))
    assert sources(read_shard(out, FACTS, "1-000001")) == ["a.jpg"]


def test_what_a_killed_run_left_is_taken_over(tmp_path: Path) -> None:
    with closing(Manifest(tmp_path, FACTS)) as manifest:
        manifest.append(written(tmp_path, "a.jpg"))
    for number, name in enumerate(("b.jpg", "a.jpg")):  # the run was killed after it had taken over the second one
        with closing(open_shard(tmp_path, FACTS, f"1-{number}")) as part:
            part.append(written(tmp_path, name))
    assert leftover_shards(tmp_path) == ["1-0", "1-1"]
    with closing(open_manifest(tmp_path, FACTS)) as manifest:
        assert manifest.find("a.jpg") and manifest.find("b.jpg")
    assert not (tmp_path / FOLDER).exists()
    with closing(Manifest(tmp_path, FACTS)) as manifest:
        assert sorted(sources(manifest.rows())) == ["a.jpg", "b.jpg"]


def test_looking_changes_nothing(tmp_path: Path) -> None:
    for number, name in enumerate(("a.jpg", "b.jpg")):
        with closing(open_shard(tmp_path, FACTS, f"1-{number}")) as part:
            part.append(written(tmp_path, name))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with closing(open_manifest(tmp_path, FACTS, read_only=True)) as reader:
        assert reader.find("a.jpg") and reader.find("b.jpg") and not reader.find("c.jpg")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_worker_that_outlives_its_run_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RELEASE_TIMEOUT", 0.3)
    with (
        closing(open_shard(tmp_path, FACTS, "1-0")) as part,
        pytest.raises(UsageError, match="a worker of an earlier run is still writing"),
    ):
        part.append(written(tmp_path, "a.jpg"))
        open_manifest(tmp_path, FACTS)
    with closing(open_manifest(tmp_path, FACTS)) as manifest:
        assert manifest.find("a.jpg") is not None
