"""A photo's job: which stage is next, and that nothing large is kept once it is of no more use."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dadfi_fast.images.blocks import missing
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.job import PhotoJob, require
from dadfi_fast.protect.results import Copied, Done, Entry, Failed, Skipped, Written
from dadfi_fast.protect.stages import Stages, chain, stage
from dadfi_fast.storage.disk import OutFolder
from dadfi_fast.storage.object_store import open_out
from dadfi_fast.storage.paths import parse_path
from dadfi_fast.types import Budget, UInt8
from tests.protect.conftest import MIDDLE, Boxes, Run, Stripes

ENTRY = Entry(Path("a.jpg"), "a.jpg", "a.jpg", 1, 1)
FACELESS = Boxes()
#: Slots that say what became of a photo, and take little memory.
SMALL = {"entry", "sha256", "outcome"}


def held(job: PhotoJob) -> set[str]:
    """The slots that are filled, but for small ones."""
    empty = PhotoJob(ENTRY)
    names = {field.name for field in dataclasses.fields(job)} - SMALL
    return {name for name in names if getattr(job, name) is not getattr(empty, name)}


@pytest.fixture
def stages(tmp_path: Path, encoded: Callable[..., bytes]) -> Callable[..., tuple[Stages, PhotoJob]]:
    """Makes the stages of a run on one photo, and its job."""

    def make(detector: Boxes = MIDDLE, **options: Any) -> tuple[Stages, PhotoJob]:
        data = encoded()
        (tmp_path / "a.jpg").write_bytes(data)
        config = ProtectConfig(sources=(str(tmp_path),), out=tmp_path / "out", verify=1.0, **options)
        entry = Entry(tmp_path / "a.jpg", "a.jpg", "a.jpg", len(data), 1)
        return Stages(config, detector, Stripes(Budget()), OutFolder(tmp_path / "out")), PhotoJob(entry)

    return make


@pytest.mark.parametrize(
    ("outcome", "step"),
    [
        (Skipped(ENTRY, "not an image"), None),
        (Failed(ENTRY, "find", OSError()), None),
        (Done(ENTRY, "written", "a.jpg"), None),
    ],
)
def test_what_needs_no_work_is_at_its_end(outcome: Any, step: str | None) -> None:
    job = PhotoJob.of(outcome)
    assert (job.entry, job.outcome, job.next) == (ENTRY, outcome, step)
    assert PhotoJob.of(ENTRY).next == "read"


def test_each_stage_leads_to_the_next_and_releases_what_is_of_no_more_use(stages: Any) -> None:
    its, job = stages()
    read, blocks = {"data", "decoder"}, {"writable"} if missing() is None else set()
    assert (job.next, held(job)) == ("read", set())
    for work, step, kept in (
        (its.read, "decode", read),
        (its.decode, "detect", read | {"photo"}),
        (its.detect, "crop", read | {"photo", "faces", "pyramid"}),
        (its.crop, "perturb", read | {"photo", "faces", "squares", "crops"} | blocks),
    ):
        work(job)
        assert (job.next, held(job)) == (step, kept)
    job.crops, job.deltas = None, np.zeros_like(job.crops)  # what `batching.perturb` does
    assert job.next == "encode"
    its.encode(job)
    assert (job.next, held(job)) == ("write", {"encoded"}) and isinstance(job.outcome, Written)
    its.write(job)
    assert (job.next, held(job)) == (None, {"staged"}) and require(job.staged).is_file()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("no_face", "outcome", "kept"), [("copy", Copied, {"encoded"}), ("skip", Skipped, set()), ("whole", None, None)]
)
def test_a_photo_without_a_face(stages: Any, no_face: str, outcome: type | None, kept: set[str] | None) -> None:
    its, job = stages(FACELESS, no_face=no_face)
    for work in (its.read, its.decode, its.detect):
        work(job)
    if outcome is None:
        assert job.next == "crop" and len(job.faces) == 1
    else:
        assert isinstance(job.outcome, outcome) and held(job) == kept


@pytest.mark.parametrize("step", ["read", "decode", "detect", "crop", "encode", "write"])
def test_a_fault_ends_a_job_and_releases_all_of_it(stages: Any, step: Any) -> None:
    its, job = stages()

    def fail(_: PhotoJob) -> None:
        raise ValueError("no")

    works = {"read": its.read, "decode": its.decode, "detect": its.detect, "crop": its.crop}
    works |= {"perturb": perturb, "encode": its.encode, "write": its.write}
    order: list[Any] = list(works)
    job = chain(*(stage(name, fail if name == step else works[name]) for name in order))(job)
    assert isinstance(job.outcome, Failed) and (job.outcome.stage, job.next) == (step, None)
    assert held(job) == set()


def perturb(job: PhotoJob) -> None:
    """No change, in the place of the generator's."""
    job.crops, job.deltas = None, np.zeros_like(require(job.crops))


def test_a_stage_leaves_jobs_alone_that_are_elsewhere() -> None:
    touched: list[PhotoJob] = []
    for job in (PhotoJob(ENTRY), PhotoJob.of(Skipped(ENTRY, "not an image"))):
        assert stage("decode", touched.append)(job) is job
    assert touched == []


def test_a_store_is_handed_the_bytes(stages: Any) -> None:
    its, job = stages()
    its.out = open_out(parse_path("memory://jobs/out"))
    job.settle(Skipped(ENTRY, "no face found"), b"the file")
    its.write(job)
    assert job.staged == b"the file" and held(job) == {"staged"}


@pytest.mark.parametrize("out", [None, "memory://jobs/run"])
def test_no_pixels_outlive_the_encoding_of_their_photo(
    photos: Callable[..., Path], run: Run, monkeypatch: pytest.MonkeyPatch, out: str | None
) -> None:
    photos({f"{n}.jpg": None for n in range(12)} | {"5-bad.jpg": b"\xff\xd8\xff damaged"})
    alive: list[weakref.ref[UInt8]] = []
    before: list[int] = []
    encode, write = Stages.encode, Stages.write

    def encoding(self: Stages, job: PhotoJob) -> None:
        alive.append(weakref.ref(require(job.photo).pixels))
        alive.append(weakref.ref(require(job.deltas)))
        encode(self, job)

    def writing(self: Stages, job: PhotoJob) -> None:
        before.append(sum(ref() is not None for ref in alive))
        write(self, job)

    monkeypatch.setattr(Stages, "encode", encoding)
    monkeypatch.setattr(Stages, "write", writing)
    summary, _ = run(workers=1, batch=1, **({} if out is None else {"out": parse_path(out)}))
    assert (summary.written, summary.failed) == (12, 1)
    assert not any(ref() is not None for ref in alive) and len(before) == 12
    assert max(before) <= 2  # of the photo that is being encoded meanwhile
