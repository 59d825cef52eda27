"""Batches over photos: every photo gets its own perturbations back, in its place, whatever stands between."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dadfi_fast.attacks.base import Attack
from dadfi_fast.protect.batching import AHEAD, perturb
from dadfi_fast.protect.job import PhotoJob
from dadfi_fast.protect.prefetch import pools
from dadfi_fast.protect.results import Entry, Failed, Skipped
from dadfi_fast.types import Budget, Face, Float32


class Echo(Attack):
    """Gives the crops back, a thousandth of them; refuses crops whose first value is 0.5."""

    def __init__(self) -> None:
        super().__init__(Budget(1.0))
        self.calls: list[int] = []

    def run(self, crops: Float32) -> Float32:
        if (crops[:, 0, 0, 0] == 0.5).any():
            raise RuntimeError("this one is poisonous")
        self.calls.append(len(crops))
        return crops / 1000


class Decoder:
    """Has a size."""

    width = height = 10


def entry(name: str) -> Entry:
    """An input."""
    return Entry(Path(name), name, name, 1, 1)


def with_faces(name: str, *values: float) -> PhotoJob:
    """A photo with a crop of each value."""
    crops = np.stack([np.full((3, 16, 16), value, np.float32) for value in values])
    photo: Any = object()
    decoder: Any = Decoder()
    return PhotoJob(entry(name), decoder=decoder, photo=photo, faces=(Face(0, 0, 1, 1, 1),) * len(values), crops=crops)


def faceless(name: str) -> PhotoJob:
    """A photo that needs no work."""
    return PhotoJob.of(Skipped(entry(name), "no face"))


def perturbed(job: PhotoJob, *values: float) -> bool:
    """Whether it has the perturbations of crops of these values, and nothing else of them is kept."""
    assert job.deltas is not None and job.crops is None and job.next == "encode"
    return np.allclose(job.deltas[:, 0, 0, 0], np.array(values) / 1000) and len(job.deltas) == len(values)


def through(items: list[PhotoJob], **options: Any) -> tuple[list[PhotoJob], list[int]]:
    """What comes out, and the sizes of the calls."""
    attack = Echo()
    options = {"batch": 4, "heaviest": 10**9, **options}
    return list(perturb(items, attack, **options)), attack.calls


def test_every_photo_gets_its_own() -> None:
    photos = {"a": (0.1,), "b": (), "c": (0.2, 0.3, 0.4), "d": (0.6,), "e": (0.7,)}
    jobs, calls = through([with_faces(name, *values) if values else faceless(name) for name, values in photos.items()])
    assert [job.entry.name for job in jobs] == list(photos)
    assert all(perturbed(job, *values) for job, values in zip(jobs, photos.values(), strict=True) if values)
    assert isinstance(jobs[1].outcome, Skipped) and jobs[1].deltas is None
    assert calls == [4, 2]


@pytest.mark.parametrize(
    ("faces", "batch", "calls"),
    [
        (1, 8, [1]),
        (7, 8, [4, 2, 1]),  # halves: few sizes, as a backend compiles one network a size
        (20, 8, [8, 8, 4]),  # a crowd: more than a batch
        (5, 3, [3, 2]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_sizes_of_calls(faces: int, batch: int, calls: list[int]) -> None:
    assert through([with_faces("a", *[0.1] * faces)], batch=batch)[1] == calls


def test_large_photos_do_not_wait_for_a_batch() -> None:
    assert through([with_faces("a", 0.1), with_faces("b", 0.1), with_faces("c", 0.1)], heaviest=150)[1] == [2, 1]


def test_photos_without_faces_do_not_pile_up() -> None:
    pulled: list[int] = []

    def endless() -> Any:
        for number in range(1000):
            pulled.append(number)
            yield faceless(str(number))

    next(iter(perturb(endless(), Echo(), batch=4, heaviest=10**9)))
    assert len(pulled) == 8


def test_one_bad_photo_does_not_take_the_others_along() -> None:
    jobs, calls = through([with_faces("a", 0.1), with_faces("b", 0.5), with_faces("c", 0.2), with_faces("d", 0.3)])
    assert [job.next for job in jobs] == ["encode", None, "encode", "encode"]
    outcome = jobs[1].outcome
    assert isinstance(outcome, Failed) and outcome.stage == "perturb" and "poisonous" in str(outcome.error)
    assert jobs[1].crops is None
    assert calls == [1, 1, 1]


def test_the_time_is_shared_out() -> None:
    jobs, _ = through([with_faces("a", 0.1), with_faces("b", 0.1, 0.1, 0.1)])
    one, three = (job.entry.clock.seconds for job in jobs)
    assert one > 0 and three == pytest.approx(3 * one)


class Slow(Attack):
    """Says how many of its calls were under way at once, and waits in each for the next one, for a while."""

    def __init__(self) -> None:
        super().__init__(Budget(1.0))
        self.now = self.most = 0
        self.change = threading.Condition()

    def run(self, crops: Float32) -> Float32:
        with self.change:
            self.now += 1
            self.most = max(self.most, self.now)
            self.change.notify_all()
            self.change.wait_for(lambda: self.now > 1, timeout=0.3)
            self.now -= 1
        return crops / 1000


@pytest.mark.parametrize(("calls", "most"), [(1, 1), (2, 2)])
def test_a_batch_is_copied_while_another_is_worked_on(calls: int, most: int) -> None:
    attack = Slow()
    items = [with_faces(str(n), n / 100) for n in range(1, 9)]
    with pools(compute=1, disk=1, generator=calls) as threads:
        jobs = list(perturb(items, attack, batch=2, heaviest=10**9, pool=threads.generator))
    assert attack.most == most
    assert [job.entry.name for job in jobs] == [str(n) for n in range(1, 9)]  # in order all the same
    assert all(perturbed(job, n / 100) for n, job in enumerate(jobs, start=1))


def test_side_by_side_a_bad_photo_costs_itself_alone() -> None:
    items = [with_faces("a", 0.1), with_faces("b", 0.5), with_faces("c", 0.2), with_faces("d", 0.3)]
    with pools(compute=1, disk=1, generator=2) as threads:
        jobs = list(perturb(items, Echo(), batch=2, heaviest=10**9, pool=threads.generator))
    assert [job.next for job in jobs] == ["encode", None, "encode", "encode"]


def test_few_batches_are_pulled_ahead() -> None:
    pulled: list[int] = []

    def endless() -> Any:
        for number in range(1000):
            pulled.append(number)
            yield with_faces(str(number), 0.1)

    with pools(compute=1, disk=1, generator=2) as threads:
        next(iter(perturb(endless(), Echo(), batch=4, heaviest=10**9, pool=threads.generator)))
    assert len(pulled) == 4 * AHEAD
