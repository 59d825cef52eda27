"""The pipeline: a folder of photos in, a folder of protected photos out, stage by stage."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Final

import cv2
from cv2.utils import logging
from PIL import Image

from dadfi_fast.attacks.base import Attack
from dadfi_fast.faces.detector import Detector
from dadfi_fast.protect.batching import perturb
from dadfi_fast.protect.commit import Journal, committed
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.discover import Originals, discover
from dadfi_fast.protect.distributed.manifest_shards import open_manifest
from dadfi_fast.protect.gpu.stages import apply_gpu_stages
from dadfi_fast.protect.interrupt import Stop, interruptible, until_stopped
from dadfi_fast.protect.job import PhotoJob, Step, require
from dadfi_fast.protect.manifest import Facts
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.prefetch import Pools, pools, prefetch
from dadfi_fast.protect.results import Entry, Failed, Input, Outcome
from dadfi_fast.protect.resume import remaining
from dadfi_fast.protect.stages import MEMORY_A_PIXEL, Stage, Stages, chain, pixels_in_memory, stage
from dadfi_fast.protect.strength import Judges
from dadfi_fast.protect.summary import Summary
from dadfi_fast.protect.under_way import UnderWay
from dadfi_fast.storage.object_store import open_out

#: Threads that read and flush files. A flush waits for milliseconds, during which other threads proceed.
DISK_THREADS: Final = 6
#: Pixels in flight per stage and thread: enough for one photo of 24 megapixels each.
PIXELS_A_THREAD: Final = 24_000_000
#: Bytes of files to prefetch.
BYTES_AHEAD: Final = 256 << 20
#: Seconds more that a photo has to be encoded and written in, once a run that is to end has left others.
_ENCODE_GRACE: Final = 0.2
_WRITE_GRACE: Final = 0.4


def protect(
    config: ProtectConfig,
    *,
    detector: Detector,
    attack: Attack,
    facts: Facts,
    tick: Callable[[Outcome], object] = lambda _: None,
    meter: Meter | None = None,
    only: Callable[[Entry | Failed], bool] = lambda _: True,
    renew: bool = False,
    say: Callable[[str], object] = lambda _: None,
    judges: Judges | None = None,
) -> Summary:
    """Protect every photo in the sources of ``config``.

    Memory is bounded by the number of threads and by `PIXELS_A_THREAD`, not by the folder. Ctrl-C lets the photos that
    are under way get finished within a second and takes no more; a second one stops at once.

    Args:
        config: what is asked for.
        detector: finds faces; called from several threads.
        attack: perturbs crops; called from one, on a GPU from `ProtectConfig.generator_calls`.
        facts: what the rows of the manifest say of this run.
        tick: called with every outcome, in the order of the inputs.
        meter: adds up what the stages take, for whoever looks on; see `meter_for`.
        only: inputs for which this is False are passed over without a word.
        renew: results of ours are replaced where their inputs have changed, also with ``--on-exists skip``.
        say: told, before the first photo, at which photos the last run died.
        judges: choose the strength of each face, for ``--strength auto``.

    Raises:
        DiskError: the output folder cannot be written to, or the disk is full; what is written is kept.
        UsageError: a source does not exist, or lies in the output folder; or another run writes there.
        NothingToDo: a glob matches nothing.
    """
    entries = filter(only, discover(config.sources, config.out, form=config.format))
    summary, meter = Summary(), meter or meter_for(config)
    with ExitStack() as stack:
        stack.enter_context(quiet_codecs())
        out = open_out(config.out, refuse=Originals(config.sources, config.out).refuse)
        manifest = open_manifest(config.out, facts)
        stack.callback(manifest.close)
        if manifest.note is not None:
            summary.notes.append(manifest.note)
        out.remove_stale()
        stack.callback(out.close)
        stop = stack.enter_context(interruptible())
        under_way = UnderWay(config.out, again=config.again)
        stack.callback(under_way.close)
        if under_way.note is not None:
            say(under_way.note)
        left = under_way.judge(remaining(until_stopped(entries, stop), manifest, config, renew=renew))
        stages = Stages(config, detector, attack, out, under_way, judges)
        done = stack.enter_context(closing(_apart(left, stages, attack, journal=manifest, meter=meter, stop=stop)))
        for outcome in done:
            under_way.went_through(outcome)
            summary.add(outcome)
            tick(outcome)
        summary.interrupted = stop.is_set()
        if stop.left:
            summary.notes.append(_left(stop.left))
        summary.stages = meter.stages()
    return summary


def _apart(
    items: Iterable[Input], stages: Stages, attack: Attack, *, journal: Journal, meter: Meter, stop: Stop
) -> Generator[Outcome, None, None]:
    """`work`, with each photo at which a run has died alone."""
    for together in stages.under_way.apart(items):
        with closing(work(together, stages, attack, journal=journal, meter=meter, stop=stop)) as done:
            yield from done


def work(
    items: Iterable[Input], stages: Stages, attack: Attack, *, journal: Journal, meter: Meter, stop: Stop
) -> Generator[Outcome, None, None]:
    """Inputs through all stages, up to their rows in ``journal`` and their files; outcomes in the order of the inputs.

    Args:
        items: inputs, and outcomes of those that need no work.
        stages: of this run.
        attack: perturbs crops; called from this thread, on a GPU from `ProtectConfig.generator_calls` others.
        journal: where the rows go.
        meter: is told what the stages take.
        stop: the wish to finish; ``items`` end with it, and what is under way is left once it is late.

    Raises:
        DiskError: the output folder cannot be written to, or the disk is full; what is written is kept.
    """
    config = stages.config
    calls, apart = config.generator_calls, attack.refiner is not None
    with pools(compute=config.threads, disk=DISK_THREADS, generator=calls, apart=apart, stop=stop) as threads:
        staged = _staged(map(PhotoJob.of, items), stages, attack, threads, meter, stop)
        yield from committed(staged, journal=journal, out=stages.out, config=config, meter=meter)


def meter_for(config: ProtectConfig) -> Meter:
    """A meter for the threads of a run."""
    return Meter(compute=config.threads, disk=DISK_THREADS, generators=config.generator_calls)


def _staged(
    jobs: Iterable[PhotoJob], stages: Stages, attack: Attack, threads: Pools, meter: Meter, stop: Stop
) -> Iterator[PhotoJob]:
    """find -> read -> decode, detect, crop -> perturb -> choose the strength, blend, encode -> stage."""
    config = stages.config
    workers, batch = config.threads, config.crops_a_batch
    # Photos are under way in two stages at once: to the generator, and from it.
    heaviest = min(PIXELS_A_THREAD * workers, config.memory // (2 * MEMORY_A_PIXEL))
    compute, disk = threads.compute, threads.disk

    def noted(name: Step, work: Callable[[PhotoJob], None]) -> Stage:
        return stage(name, stages.under_way.during(name, work), meter)

    encode = noted("encode", stages.encode)
    see = chain(
        noted("decode", stages.decode),
        noted("detect", stages.detect),
        noted("crop", stages.crop),
        encode,  # what a GPU has perturbed
    )
    read, write = noted("read", stages.read), stage("write", stages.write, meter)
    jobs = prefetch(jobs, read, pool=disk, ahead=2 * workers, weight=_size, heaviest=BYTES_AHEAD, stop=stop)
    jobs = apply_gpu_stages(jobs, stages, attack, meter)
    jobs = prefetch(
        jobs, see, pool=compute, ahead=batch + 2 * workers, weight=_pixels_before(config, "decode"), heaviest=heaviest,
        stop=stop,
    )  # fmt: skip
    jobs = perturb(
        jobs, attack, batch=batch, heaviest=heaviest, pool=threads.generator, meter=meter, stop=stop, view=stages.views
    )
    finish = chain(noted("strength", stages.strength), encode)
    jobs = prefetch(
        jobs, finish, pool=compute, ahead=batch + workers, weight=_pixels_before(config, "strength", "encode"),
        heaviest=heaviest, stop=stop, grace=_ENCODE_GRACE,
    )  # fmt: skip
    return prefetch(
        jobs, write, pool=disk, ahead=DISK_THREADS, weight=_held, heaviest=BYTES_AHEAD, stop=stop, grace=_WRITE_GRACE
    )


def _left(count: int) -> str:
    photos = "1 photo that was under way was" if count == 1 else f"{count} photos that were under way were"
    return f"{photos} left, as the run was to end; run the same command again to resume"


def _size(job: PhotoJob) -> int:
    return job.entry.size if job.next == "read" else 0


def _held(job: PhotoJob) -> int:
    return job.held


def _pixels_before(config: ProtectConfig, *steps: Step) -> Callable[[PhotoJob], int]:
    """The pixels of a photo that one of ``steps`` is to work on, and what files in memory weigh, in pixels."""

    def weight(job: PhotoJob) -> int:
        files = job.held // MEMORY_A_PIXEL
        if job.next not in steps:
            return files
        decoder = require(job.decoder)
        return files + pixels_in_memory(decoder.width, decoder.height, config)

    return weight


@contextmanager
def quiet_codecs() -> Iterator[None]:
    """OpenCV on one thread, as photos run side by side; Pillow without its own bomb check, as ours comes first."""
    threads, largest = cv2.getNumThreads(), Image.MAX_IMAGE_PIXELS
    level = logging.getLogLevel()
    cv2.setNumThreads(1)
    # What OpenCV says of damaged files comes back as an error, too, which becomes the row's.
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\..*")
            yield
    finally:
        cv2.setNumThreads(threads)
        Image.MAX_IMAGE_PIXELS = largest
        logging.setLogLevel(level)
