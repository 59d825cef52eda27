"""Tasks handed out and taken in: in order, with nothing lost and nothing twice, whoever goes when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.errors import BackendMissing, DadfiError, DiskError
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.discover import discover
from dadfi_fast.protect.distributed import chunker, scheduler
from dadfi_fast.protect.distributed.manifest_shards import leftover_shards
from dadfi_fast.protect.distributed.pool import Event, TaskFinished, WorkerLost, WorkerPool, WorkerReady, WorkerRefused
from dadfi_fast.protect.distributed.run import protect_distributed
from dadfi_fast.protect.distributed.worker import Task, TaskResult, Worker, WorkerContext
from dadfi_fast.protect.interrupt import Stop
from dadfi_fast.protect.manifest import NAME, Facts, Manifest
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.results import Entry, Failed, Written
from dadfi_fast.protect.summary import Summary

Make = Callable[..., bytes]
Fill = Callable[[dict[str, bytes | None]], Path]


class Here(WorkerPool):
    """Workers in this very thread, each task at once; ``gone`` says which of them go, and after how many inputs.

    Args:
        config: of the run.
        context: what they work with.
        gone: called with the worker, how many tasks were handed out before, and the task; gives how many inputs of it
            are done before the worker goes, or None.
        order: puts events into another order.
    """

    def __init__(
        self,
        config: ProtectConfig,
        context: WorkerContext,
        *,
        size: int = 2,
        gone: Callable[[int, int, Task], int | None] = lambda *_: None,
        order: Callable[[list[Event]], Iterable[Event]] = lambda events: events,
    ) -> None:
        super().__init__(size, threads=1)
        self.config, self.context, self.gone, self.order = config, context, gone, order
        self.workers: dict[int, Worker] = {}
        self.told = Stop()
        self.begun = self.given = 0
        self.done: Counter[str] = Counter()
        self.news: list[Event] = []
        self.at_once: list[int] = []

    def begin(self, worker: int) -> None:
        self.begun += 1
        self.workers[worker] = Worker(self.config, lambda _: self.context, NAME)
        self.news.append(WorkerReady(worker, "toys"))

    def give(self, worker: int, task: Task) -> None:
        after = self.gone(worker, self.given, task)
        self.given += 1
        self.at_once.append(len(task.items))
        if after is None:
            self.news.append(TaskFinished(worker, self._do(worker, task)))
        else:
            self._do(worker, replace(task, items=task.items[:after]))
            self.news.append(WorkerLost(worker, "shot"))

    def _do(self, worker: int, task: Task) -> TaskResult:
        report = self.workers[worker].do(task, self.told)
        self.done.update(each.entry.name for each in report.outcomes if isinstance(each, Written))
        return report

    def events(self, timeout: float) -> Iterable[Event]:
        news, self.news = list(self.order(self.news)), []
        yield from news

    def stop(self) -> None:
        self.told.set()

    def close(self) -> None:
        self.workers.clear()


@pytest.fixture
def context(stripes: Any) -> WorkerContext:
    """Toys."""
    from dadfi_fast.faces.none import Whole

    return WorkerContext(Whole(), stripes(during=lambda _: None), Facts("", "toy", "toy: for tests"))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of four inputs."""
    monkeypatch.setattr(chunker, "SIZES", (4, 4))


@pytest.fixture
def several(tmp_path: Path, context: WorkerContext) -> Callable[..., tuple[Summary, Here, list[str]]]:
    """Protects ``in`` by a pool; gives the summary, the pool and the outcomes as they came."""

    def go(
        *, out: Path | None = None, said: list[str] | None = None, **options: Any
    ) -> tuple[Summary, Here, list[str]]:
        crew_options = {name: options.pop(name) for name in ("gone", "order", "size") if name in options}
        config = ProtectConfig(
            sources=(str(tmp_path / "in"),), out=out or tmp_path / "out", detector="none", workers=1, **options
        )
        facts = Facts(config.fingerprint, "toy", "")
        pool = Here(config, replace(context, facts=replace(context.facts, config=config.fingerprint)), **crew_options)
        came: list[str] = []
        summary = protect_distributed(
            pool, config, facts=facts, meter=Meter(compute=2, disk=12, generators=2),
            tick=lambda outcome: came.append(outcome.entry.name), say=(said if said is not None else []).append,
        )  # fmt: skip
        pool.close()
        return summary, pool, came

    return go


def files(folder: Path) -> dict[str, bytes]:
    """Everything but the manifest."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != NAME)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def manifest_rows(out: Path) -> list[dict[str, Any]]:
    """The manifest's rows, without what differs from run to run."""
    with closing(Manifest(out, Facts("", "", ""))) as manifest:
        return [{**row, "seconds": None} for row in manifest.rows()]


@pytest.fixture
def thirty(photos: Fill, encoded: Make) -> list[str]:
    """Thirty photos in folders of different sizes, a text and a damaged file; their names in order."""
    names = [f"{n % 3}/{n:02}.jpg" for n in range(30)]
    photos({**{name: encoded(size=(40 + n, 64)) for n, name in enumerate(names)}, "bad.jpg": b"hi", "n.txt": b"hi"})
    return ["bad.jpg", "n.txt", *sorted(names)]


REVERSED: Callable[[list[Event]], Iterable[Event]] = lambda events: reversed(events)  # noqa: E731


@pytest.mark.parametrize(("size", "order"), [(1, list), (2, REVERSED), (5, REVERSED)])
def test_the_same_as_by_one(
    thirty: list[str], several: Any, run: Any, context: WorkerContext, tmp_path: Path, size: int, order: Any
) -> None:
    from dadfi_fast.faces.none import Whole

    expected, _ = run(out=tmp_path / "one", detector=Whole(), workers=1)
    summary, pool, came = several(size=size, order=order)
    assert came == thirty == [row["source"] for row in manifest_rows(tmp_path / "out")]
    assert manifest_rows(tmp_path / "out") == manifest_rows(tmp_path / "one")
    assert files(tmp_path / "out") == files(tmp_path / "one")
    kinds = ("written", "copied", "skipped", "failed", "other", "faces", "linf", "interrupted")
    assert {kind: getattr(summary, kind) for kind in kinds} == {kind: getattr(expected, kind) for kind in kinds}
    assert max(pool.at_once) == 4 and pool.given == 8
    assert {stage.name: stage.photos for stage in summary.stages}["encode"] == 30
    again, pool, _ = several(size=size)
    assert (again.done, again.written, again.failed, pool.given) == (31, 0, 1, 1)  # only what failed is handed out


GONE: dict[str, Callable[[int, int, Task], int | None]] = {
    "once, before it began": lambda _, given, __: 0 if given == 2 else None,
    "once, in the middle": lambda _, given, __: 2 if given == 2 else None,
    "once, when all was written": lambda _, given, task: len(task.items) if given == 2 else None,
    "one of them always": lambda worker, _, __: 1 if worker == 1 else None,
    "again and again": lambda _, given, __: given % 4 if given % 3 == 1 else None,
}


@pytest.mark.parametrize("gone", GONE.values(), ids=GONE)
def test_workers_that_go_lose_nothing(thirty: list[str], several: Any, tmp_path: Path, gone: Any) -> None:
    said: list[str] = []
    summary, pool, came = several(gone=gone, said=said)
    assert (summary.written, summary.failed, summary.skipped) == (30, 1, 1)
    assert came == thirty == [row["source"] for row in manifest_rows(tmp_path / "out")]
    assert set(pool.done.values()) == {1} and len(pool.done) == 30  # nothing twice
    assert len(files(tmp_path / "out")) == 30 and leftover_shards(tmp_path / "out") == []
    assert pool.begun > 2 and any("was lost (shot)" in line for line in said)
    several(out=tmp_path / "unharmed")
    assert manifest_rows(tmp_path / "out") == manifest_rows(tmp_path / "unharmed")
    assert files(tmp_path / "out") == files(tmp_path / "unharmed")


def test_a_photo_that_ends_its_workers_is_found(thirty: list[str], several: Any, tmp_path: Path) -> None:
    def gone(_: int, __: int, task: Task) -> int | None:
        return next((n for n, item in enumerate(task.items) if _name(item) == "1/13.jpg"), None)

    summary, pool, came = several(gone=gone)
    assert (summary.written, summary.failed) == (29, 2) and came == thirty and set(pool.done.values()) == {1}
    [row] = [row for row in manifest_rows(tmp_path / "out") if row["source"] == "1/13.jpg"]
    assert row["error"]["hop"] == "worker" and "shot" in row["error"]["message"]
    again, _, _ = several()
    assert (again.written, again.done) == (1, 30)  # it is tried again


def _name(item: Any) -> str:
    return str((item if isinstance(item, Entry) else item.entry).name)


def test_a_run_that_is_killed_is_taken_over(
    thirty: list[str], several: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports that were never taken in: the next run reads the parts."""
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(scheduler.Scheduler, "_completed", lambda self: 1 / 0 if len(self._chunks) > 5 else iter(()))
        several(size=3)
    left = files(tmp_path / "out")
    assert any(name.startswith(".dadfi-parts/") for name in left)
    summary, pool, _ = several()
    done = sum(name.endswith(".jpg") for name in left)
    assert done > 0 and (summary.done, summary.written) == (done + 1, 30 - done)  # the text is done as well
    assert len(manifest_rows(tmp_path / "out")) == 32 and len(files(tmp_path / "out")) == 30
    assert sum(pool.done.values()) == 30 - done


def test_interrupted_it_hands_out_no_more(thirty: list[str], several: Any, tmp_path: Path) -> None:
    import os
    import signal

    def interrupt(_: int, given: int, __: Task) -> None:
        if given == 2:
            os.kill(os.getpid(), signal.SIGINT)

    summary, pool, came = several(gone=interrupt)
    assert summary.interrupted and pool.told.is_set() and pool.given < 6
    assert len(files(tmp_path / "out")) == summary.written < 30 and leftover_shards(tmp_path / "out") == []
    assert came == thirty[: len(came)]
    again, _, _ = several()
    assert again.written == 30 - summary.written and not again.interrupted


def test_a_fault_of_the_run_ends_it(thirty: list[str], several: Any, tmp_path: Path, monkeypatch: Any) -> None:
    fault = DiskError("the disk is full")

    def full(self: Worker, task: Task, _stop: Stop) -> TaskResult:
        return TaskResult((), self._context.facts, {}, fault)

    with monkeypatch.context() as patch, pytest.raises(DiskError, match="the disk is full"):
        patch.setattr(Worker, "do", full)
        several()
    assert several()[0].written == 30


@pytest.mark.parametrize(
    ("event", "error", "words"),
    [
        (WorkerRefused(0, BackendMissing("there is no GPU")), BackendMissing, "there is no GPU"),
        (
            WorkerLost(0, "it ended with exit code 1"),
            DadfiError,
            "cannot start the workers: it ended with exit code 1",
        ),
    ],
)
def test_workers_that_do_not_start(
    thirty: list[str], several: Any, monkeypatch: pytest.MonkeyPatch, event: Event, error: type[Exception], words: str
) -> None:
    monkeypatch.setattr(Here, "begin", lambda self, worker: self.news.append(event))
    with pytest.raises(error, match=words):
        several()


def test_no_worker_at_all(thirty: list[str], several: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Here, "begin", lambda *_: None)
    monkeypatch.setattr(scheduler, "START_TIMEOUT", 0.05)
    with pytest.raises(DadfiError, match="no worker has started"):
        several()


def test_names_are_given_once(photos: Fill, several: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunker, "SIZES", (1, 1))
    photos({"a-2.jpg": None, "a-3.jpg": None, "a.jpg": None})
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a.jpg", "a-2.jpg"):
        (out / name).write_bytes(b"mine")
    summary, _, _ = several(on_exists="rename", size=3)
    targets = [row["target"] for row in manifest_rows(out)]
    assert summary.written == 3 and len(set(targets)) == 3 and not {"a.jpg", "a-2.jpg"} & set(targets)
    assert files(out).keys() == {"a.jpg", "a-2.jpg", *targets} and files(out)["a.jpg"] == b"mine"


def test_names_that_others_are_about_to_write_are_taken(photos: Fill, context: WorkerContext, tmp_path: Path) -> None:
    photos({"a-2.jpg": None, "a-3.jpg": None, "a.jpg": None})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.jpg").write_bytes(b"mine")
    config = ProtectConfig(sources=(str(tmp_path / "in"),), out=tmp_path / "out", detector="none", on_exists="rename")
    with closing(Manifest(tmp_path, Facts("", "", ""))) as manifest:
        planned = scheduler.Scheduler(
            iter(discover(config.sources, config.out)), Here(config, context), manifest, config,
            meter=Meter(compute=1, disk=1), stopped=lambda: False, say=lambda _: None,
        )  # fmt: skip
        subtasks = list(iter(planned._next_subtask, None))
    targets = [item.target for subtask in subtasks for item in subtask.task.items]
    assert targets == ["a-2.jpg", "a-3.jpg", "a-4.jpg"]


@pytest.mark.parametrize(
    ("seconds", "size"),
    [(0.0, 64), (4.0, 4), (0.5, 16)],  # bounded below and above; in between as many as take two seconds
)
def test_shares_grow_with_the_speed(seconds: float, size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(chunker, "SIZES", (4, 64))
    config = ProtectConfig(sources=("in",), out=tmp_path)
    entry = Entry(Path("a"), "a", "a", 1, 1)
    outcomes = tuple(Failed(entry, "read", ValueError("x")) for _ in range(4))
    with closing(Manifest(tmp_path, Facts("", "", ""))) as manifest:
        pool = Here(config, WorkerContext(None, None, Facts("", "", "")))  # type: ignore[arg-type]
        planned = scheduler.Scheduler(
            iter([entry] * 200), pool, manifest, config, meter=Meter(compute=1, disk=1),
            stopped=lambda: False, say=lambda _: None,
        )  # fmt: skip
        subtask = planned._next_subtask()
        assert subtask is not None and len(subtask.indices) == 4
        clock = scheduler.time.monotonic()
        monkeypatch.setattr(scheduler.time, "monotonic", lambda: clock + seconds)
        planned._report(replace(subtask, given=clock), TaskResult(outcomes, Facts("", "", ""), {}))
        following = planned._next_subtask()
    assert following is not None and len(following.indices) == size


def test_what_is_done_goes_by_without_waiting(several: Any, photos: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    photos({f"{n:03}.jpg": None for n in range(60)})
    several()
    waits: list[float] = []
    events = Here.events

    def noted(self: Here, timeout: float) -> Any:
        waits.append(timeout)
        return events(self, timeout)

    monkeypatch.setattr(Here, "events", noted)
    summary, pool, _ = several()
    assert summary.done == 60 and pool.given == 0
    assert sum(wait > 0 for wait in waits) <= 2  # for the workers to start, at most


def test_only_so_many_are_cut_ahead(thirty: list[str], context: WorkerContext, tmp_path: Path) -> None:
    """A task that takes long holds up those behind it; they must not fill the memory."""
    config = ProtectConfig(sources=("in",), out=tmp_path, detector="none")
    entry = Entry(Path("a"), "a", "a", 1, 1)
    with closing(Manifest(tmp_path, Facts("", "", ""))) as manifest:
        planned = scheduler.Scheduler(
            iter([entry] * 1000), Here(config, context, size=3), manifest, config,
            meter=Meter(compute=1, disk=1), stopped=lambda: False, say=lambda _: None,
        )  # fmt: skip
        assert len(list(iter(planned._next_subtask, None))) == 3 * scheduler.AHEAD


def test_a_worker_that_is_told_to_stop_may_leave_out_some(
    photos: Fill, context: WorkerContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{letter}.jpg" for letter in "abcde"]
    photos(dict.fromkeys(names))
    do = Worker.do

    def leaves(self: Worker, task: Task, stop: Stop) -> TaskResult:
        report = do(self, task, stop)
        left = tuple(each for each in report.outcomes if each.entry.name not in ("b.jpg", "c.jpg"))
        return replace(report, outcomes=left)

    monkeypatch.setattr(Worker, "do", leaves)
    config = ProtectConfig(sources=(str(tmp_path / "in"),), out=tmp_path / "out", detector="none", workers=1)
    (tmp_path / "out").mkdir()
    with closing(Manifest(tmp_path / "out", context.facts)) as manifest:
        planned = scheduler.Scheduler(
            iter(discover(config.sources, config.out)), Here(config, context), manifest, config,
            meter=Meter(compute=1, disk=1), stopped=lambda: False, say=lambda _: None,
        )  # fmt: skip
        planned._pool.start()
        assert [each.entry.name for each in planned.outcomes()] == ["a.jpg", "d.jpg", "e.jpg"]
    assert [row["source"] for row in manifest_rows(tmp_path / "out")] == ["a.jpg", "d.jpg", "e.jpg"]


def test_workers_that_do_not_report_in_time_are_left(photos: Fill, context: WorkerContext, tmp_path: Path) -> None:
    photos({"a.jpg": None})

    class Deaf(Here):
        grace = 0.0

        def give(self, worker: int, task: Task) -> None:
            self.told.set()

    config = ProtectConfig(sources=(str(tmp_path / "in"),), out=tmp_path / "out", detector="none", workers=1)
    (tmp_path / "out").mkdir()
    with closing(Manifest(tmp_path / "out", context.facts)) as manifest:
        pool = Deaf(config, context)
        planned = scheduler.Scheduler(
            iter(discover(config.sources, config.out)), pool, manifest, config,
            meter=Meter(compute=1, disk=1), stopped=pool.told.is_set, say=lambda _: None,
        )  # fmt: skip
        pool.start()
        with pytest.raises(KeyboardInterrupt):
            list(planned.outcomes())
