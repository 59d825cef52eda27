"""Traces: every span of work with its thread, readable by Chrome's viewers, in bounded memory."""

from __future__ import annotations

import itertools
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dadfi_fast.errors import DiskError
from dadfi_fast.protect import trace as module
from dadfi_fast.protect.job import PhotoJob
from dadfi_fast.protect.meter import STAGES, Meter
from dadfi_fast.protect.results import Entry, Failed
from dadfi_fast.protect.stages import stage
from dadfi_fast.protect.trace import Trace

Events = list[dict[str, Any]]


def entry(name: str) -> Entry:
    """An input."""
    return Entry(Path(name), name, name, 1, 1)


def nothing(_: PhotoJob) -> None:
    """Work that is done at once."""


def events(path: Path) -> Events:
    """What a viewer reads."""
    content: Events = json.loads(path.read_text(encoding="utf-8"))
    return content


def spans(path: Path) -> Events:
    """The work alone."""
    return [event for event in events(path) if event["ph"] == "X"]


def test_a_span_has_its_time_thread_and_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    with Trace(tmp_path / "t.json") as trace:
        meter = Meter(compute=1, disk=1, trace=trace)
        now[0] = 100.5
        meter.end("decode", 0.25, of="a/ü\n.jpg")
        meter.add("perturb", 0.125, photos=4)
    decode, perturb = spans(tmp_path / "t.json")
    assert (decode["name"], decode["cat"], decode["args"]) == ("decode", "compute", {"photo": "a/ü\n.jpg"})
    assert (decode["ts"], decode["dur"]) == (250_000.0, 250_000.0)  # microseconds since the trace began
    assert (perturb["cat"], perturb["args"], perturb["ts"]) == ("generator", {"photos": 4}, 375_000.0)
    assert decode["tid"] == perturb["tid"] and decode["pid"] == perturb["pid"]


def test_threads_have_their_names(tmp_path: Path) -> None:
    meet = threading.Barrier(2)

    def work() -> None:
        meet.wait()
        trace.span("decode", 0.1, kind="compute", begun=False)
        meet.wait()  # a number of a thread may be given again once it has ended

    with Trace(tmp_path / "t.json") as trace:
        both = [threading.Thread(target=work, name=f"dadfi-{n}") for n in range(2)]
        for each in both:
            each.start()
        for each in both:
            each.join()
    names = {
        event["tid"]: event["args"]["name"] for event in events(tmp_path / "t.json") if event["name"] == "thread_name"
    }
    assert sorted(names.values()) == ["dadfi-0", "dadfi-1"]
    assert {event["tid"] for event in spans(tmp_path / "t.json")} == set(names)


def test_what_is_too_much_is_counted(tmp_path: Path) -> None:
    with Trace(tmp_path / "t.json", most=3) as trace:
        for _ in range(10):
            trace.span("decode", 0.1, kind="compute", begun=False)
    assert len(spans(tmp_path / "t.json")) == 3
    assert events(tmp_path / "t.json")[-1]["name"] == "7 spans more were left out"


def test_spans_are_on_disk_and_not_in_memory(tmp_path: Path) -> None:
    trace = Trace(tmp_path / "t.json")
    for number in range(5000):
        trace.span("decode", 0.1, kind="compute", begun=False, photo=f"{number}.jpg")
    torn = (tmp_path / "t.json").read_text(encoding="utf-8")  # what a run leaves that is killed now
    trace.close()
    assert torn.count('"ph": "X"') > 4000
    assert len(spans(tmp_path / "t.json")) == 5000


def test_a_fault_ends_its_span(tmp_path: Path) -> None:
    def fail(_: PhotoJob) -> None:
        raise ValueError("no")

    with Trace(tmp_path / "t.json") as trace:
        meter = Meter(compute=1, disk=1, trace=trace)
        assert isinstance(stage("read", fail, meter)(PhotoJob(entry("a.jpg"))).outcome, Failed)
    assert [event["name"] for event in spans(tmp_path / "t.json")] == ["read"]


def test_ranges_for_nvidias_profilers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []
    stand_in = SimpleNamespace(
        push_range=lambda name, domain: calls.append(("push", name, domain)),
        pop_range=lambda domain: calls.append(("pop", domain)),
    )
    monkeypatch.setitem(sys.modules, "nvtx", stand_in)
    with Trace(tmp_path / "t.json", ranges=True) as trace:
        meter = Meter(compute=1, disk=1, trace=trace)
        stage("read", nothing, meter)(PhotoJob(entry("a.jpg")))
        meter.add("decode", 0.1)  # nothing was begun, so nothing ends
    assert calls == [("push", "read", "dadfi-fast"), ("pop", "dadfi-fast")]
    assert len(spans(tmp_path / "t.json")) == 2


def test_without_nvtx_there_are_no_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvtx", None)
    with Trace(tmp_path / "t.json", ranges=True) as trace:
        stage("read", nothing, Meter(compute=1, disk=1, trace=trace))(PhotoJob(entry("a.jpg")))
    assert len(spans(tmp_path / "t.json")) == 1


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"cannot write --profile .*: No such file or directory. Choose another"):
        Trace(tmp_path / "missing" / "t.json")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk to offer")
def test_a_full_disk_ends_the_run_and_is_no_photos_fault() -> None:
    trace = Trace(Path("/dev/full"))
    work = stage("read", nothing, Meter(compute=1, disk=1, trace=trace))
    with pytest.raises(DiskError, match="No space left on device"):
        for number in range(5000):
            assert work(PhotoJob(entry(f"{number}.jpg"))).outcome is None
    with pytest.raises(DiskError):
        trace.close()


def test_a_run_leaves_a_span_for_every_stage_of_every_photo(
    photos: Callable[[dict[str, bytes | None]], Path], run: Callable[..., Any], tmp_path: Path
) -> None:
    photos({f"{n}.jpg": None for n in range(9)})
    with Trace(tmp_path / "t.json") as trace:
        run(meter=Meter(compute=2, disk=6, trace=trace))
    all_spans = spans(tmp_path / "t.json")
    single = {(event["name"], event["args"]["photo"]) for event in all_spans if event["name"] != "perturb"}
    assert single == {(stage, f"{n}.jpg") for stage in STAGES if stage not in ("perturb", "strength") for n in range(9)}
    assert sum(event["args"]["photos"] for event in all_spans if event["name"] == "perturb") == 9
    for tid in {event["tid"] for event in all_spans}:  # a thread does one thing at a time
        own = sorted((event["ts"], event["ts"] + event["dur"]) for event in all_spans if event["tid"] == tid)
        assert all(end <= start + 1 for (_, end), (start, _) in itertools.pairwise(own))
