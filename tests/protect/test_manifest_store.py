"""The manifest in a store: parts before files, merged at the end, and read again where a run was killed."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from typing import Any

import pytest

from dadfi_fast.errors import DiskError, UsageError
from dadfi_fast.protect.distributed.manifest_shards import open_manifest
from dadfi_fast.protect.manifest import NAME, Facts, Manifest, row_of
from dadfi_fast.protect.manifest_store import SHARDS, StoreManifest, StoreShard, new_run, recovered, shards
from dadfi_fast.protect.results import Entry, Failed, Skipped, Written
from dadfi_fast.storage.lease import BEAT, DEAD, Lease
from dadfi_fast.storage.lease import NAME as LOCK
from dadfi_fast.storage.paths import RemotePath, parse_url

FACTS = Facts("config", "generator", "toy: because")


@pytest.fixture
def out(memory: str) -> RemotePath:
    """An empty folder."""
    return parse_url(f"{memory}/out")


def row(name: str, content: bytes = b"x") -> dict[str, Any]:
    """A row of a written file."""
    entry = Entry(parse_url(f"memory:///in/{name}"), name, name, 7, 9)
    return row_of(Written(entry, name, (), 6, "s", hashlib.sha256(content).hexdigest()), FACTS)


def put(out: RemotePath, name: str, content: bytes = b"x") -> None:
    """A file."""
    out.store.system.pipe_file((out / name).key, content)


def files(out: RemotePath) -> list[str]:
    """All files, relative."""
    return sorted(name[len(out.key) + 1 :] for name in out.store.system.find(out.key))


def sources(out: RemotePath) -> list[str]:
    """The inputs that the manifest knows."""
    return [json.loads(line)["source"] for line in (out / NAME).read_bytes().splitlines()]


def test_rows_go_up_in_parts_and_become_one_file(out: RemotePath) -> None:
    with closing(open_manifest(out, FACTS)) as manifest:
        assert isinstance(manifest, StoreManifest)
        for group in (("a.jpg", "b.jpg"), ("c.jpg",)):
            for name in group:
                manifest.append(row(name))
            manifest.flush()
            for name in group:
                put(out, name)
        assert len(shards(out)) == 2 and not (out / NAME).exists()
        manifest.append(row("d.jpg"))  # a part of its own at the end
        put(out, "d.jpg")
    assert sources(out) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert files(out) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", NAME]
    with closing(StoreManifest(out, FACTS)) as again:
        assert again.find("c.jpg") == row("c.jpg") and again.find("e.jpg") is None


def killed(out: RemotePath, *groups: dict[str, bool]) -> None:
    """What a killed run leaves: parts, and those files that had gone up."""
    part = StoreShard(out, FACTS, name=f"{new_run()}-main")
    for group in groups:
        for name, there in group.items():
            part.append(row(name))
            if there:
                put(out, name)
        part.flush()


def test_a_killed_run_is_taken_over(out: RemotePath) -> None:
    killed(out, {"a.jpg": True, "b.jpg": True}, {"c.jpg": False, "d.jpg": True})
    with closing(StoreManifest(out, FACTS)) as manifest:
        assert [manifest.find(name) is not None for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg")] == [
            True,
            True,
            False,
            True,
        ]
        assert len(shards(out)) == 2  # until the manifest is there
    assert sources(out) == ["a.jpg", "b.jpg", "d.jpg"] and shards(out) == []


def test_a_strangers_file_is_not_taken_for_ours(out: RemotePath) -> None:
    killed(out, {"a.jpg": False})
    put(out, "a.jpg", b"another one")
    with closing(StoreManifest(out, FACTS)) as manifest:
        assert manifest.find("a.jpg") is None


def test_rows_of_both_kinds_are_known(out: RemotePath) -> None:
    with closing(StoreManifest(out, FACTS)) as first:
        first.append(row("a.jpg"))
        put(out, "a.jpg")
    killed(out, {"b.jpg": True})
    with closing(open_manifest(out, FACTS, read_only=True)) as reader:
        assert reader.find("a.jpg") and reader.find("b.jpg")
    assert len(shards(out)) == 1 and sources(out) == ["a.jpg"] and LOCK not in files(out)  # looking changes nothing


def test_the_last_row_of_an_input_stays(out: RemotePath) -> None:
    entry = Entry(parse_url("memory:///in/a.jpg"), "a.jpg", "a.jpg", 7, 9)
    with closing(StoreManifest(out, FACTS)) as first:
        first.append(row_of(Failed(entry, "read", OSError("gone")), FACTS))
    with closing(StoreManifest(out, FACTS)) as second:
        second.append(row("a.jpg"), again=True)
        put(out, "a.jpg")
    assert sources(out) == ["a.jpg"] and json.loads((out / NAME).read_bytes())["status"] == "written"


def test_other_runs_parts_stay(out: RemotePath) -> None:
    """Of a worker that outlives its run: the next one reads them."""
    with closing(StoreManifest(out, FACTS)) as manifest:
        manifest.append(row_of(Skipped(Entry(parse_url("memory:///n"), "n", "n", 1, 1), "not an image"), FACTS))
        killed(out, {"late.jpg": True})
    assert len(shards(out)) == 1 and (out / SHARDS).name == SHARDS
    with closing(StoreManifest(out, FACTS)) as manifest:
        assert manifest.find("late.jpg") is not None


def test_parts_that_were_not_taken_over_stay(out: RemotePath) -> None:
    """The run ended by a fault while workers had reported, or not yet."""
    with closing(StoreManifest(out, FACTS)) as manifest:
        for number, name in enumerate(("a.jpg", "b.jpg")):
            with closing(StoreShard(out, FACTS, name=f"{manifest.run}-00000{number}")) as part:
                part.append(row(name))
                put(out, name)
        manifest.merge(row("a.jpg"))
        manifest.merged(f"{manifest.run}-000000")
    assert sources(out) == ["a.jpg"] and [part.name for part in shards(out)] == [f"{manifest.run}-000001-000000.jsonl"]
    with closing(StoreManifest(out, FACTS)) as manifest:
        assert manifest.find("b.jpg") is not None


def test_what_was_given_up_is_left_to_the_next_run(out: RemotePath) -> None:
    with closing(StoreManifest(out, FACTS)) as manifest:
        manifest.append(row("a.jpg"))
        manifest.append(row("b.jpg"))
        manifest.flush()
        put(out, "a.jpg")
        manifest.rollback()  # the store was gone before b.jpg was there
    assert not (out / NAME).exists() and len(shards(out)) == 1
    assert [each["source"] for each in recovered(out, shards(out))] == ["a.jpg"]


def test_nothing_to_say_writes_nothing(out: RemotePath) -> None:
    put(out, "other")
    StoreManifest(out, FACTS).close()
    assert files(out) == ["other"]


def test_one_run_at_a_time(out: RemotePath) -> None:
    with (
        closing(StoreManifest(out, FACTS)),
        pytest.raises(UsageError, match=r"another run is writing to memory:///shop/out: process \d+ on "),
    ):
        StoreManifest(out, FACTS)
    StoreManifest(out, FACTS).close()


@pytest.mark.parametrize(
    ("holder", "may"),
    [
        ({"host": "elsewhere", "process": 1, "beat": 0.0}, False),
        ({"host": "elsewhere", "process": 1, "beat": -DEAD - 1}, True),  # silent for too long
        ({"host": None, "process": 2**22 + 1, "beat": 0.0}, True),  # here, and no such process
        ({"host": None, "process": None, "beat": 0.0}, False),  # here, and alive
    ],
)
def test_runs_that_are_dead_do_not_count(out: RemotePath, holder: dict[str, Any], may: bool) -> None:
    import os
    import socket
    import time

    sign = {
        "host": holder["host"] or socket.gethostname(),
        "process": holder["process"] or os.getpid(),
        "beat": time.time() + holder["beat"],
    }
    put(out, LOCK, json.dumps(sign).encode())
    if may:
        Lease(out).close()
        assert files(out) == []
    else:
        with pytest.raises(UsageError, match="If it was killed, wait"):
            Lease(out)


def test_a_run_gives_signs_of_life(out: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr("dadfi_fast.storage.lease.BEAT", 0.01)
    with closing(Lease(out)):
        first = (out / LOCK).read_bytes()
        end = time.monotonic() + 5
        while (out / LOCK).read_bytes() == first:
            assert time.monotonic() < end, "no sign of life"
            time.sleep(0.01)
    assert DEAD > 3 * BEAT  # one sign that gets lost does no harm


def test_a_store_that_is_gone_is_told(out: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = StoreManifest(out, FACTS)
    manifest.append(row("a.jpg"))

    def gone(*_: Any, **__: Any) -> None:
        raise RuntimeError("no route")

    with monkeypatch.context() as patch, pytest.raises(DiskError, match="no route"):
        patch.setattr(out.store.system, "pipe_file", gone, raising=False)
        manifest.close()
    assert isinstance(manifest, Manifest) and not manifest.path.exists()  # the copy on this machine is gone
