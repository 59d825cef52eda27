"""A folder of photos in, a folder of protected photos out: the hops, one after the other."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final

import cv2
from cv2.utils import logging
from PIL import Image

from dadfi_fast.attacks.base import Attack
from dadfi_fast.errors import DiskError, PhotoError
from dadfi_fast.faces.detector import Detector
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.find import find
from dadfi_fast.protect.hops import Encoded, Hops, Loaded, Marked, Seen, Staged, chain, hop
from dadfi_fast.protect.interrupt import interruptible
from dadfi_fast.protect.manifest import Facts, Manifest, row_of
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.outcome import Done, Entry, Failed, Outcome, Skipped
from dadfi_fast.protect.perturb import perturb
from dadfi_fast.protect.prefetch import Pools, pools, prefetch
from dadfi_fast.protect.resume import free, remaining
from dadfi_fast.protect.summary import Summary
from dadfi_fast.protect.write import OutFolder

#: Threads that read and flush files. A flush takes milliseconds of waiting, during which others get on.
DISK_THREADS: Final = 6
#: Pixels of photos under way in one stage, for every thread: enough for each to work on one of 24 million.
PIXELS_A_THREAD: Final = 24_000_000
#: Bytes of files that are read ahead.
BYTES_AHEAD: Final = 256 << 20


def protect(
    config: ProtectConfig,
    *,
    detector: Detector,
    attack: Attack,
    facts: Facts,
    tick: Callable[[Outcome], object] = lambda _: None,
    meter: Meter | None = None,
    only: Callable[[Entry | Failed], bool] = lambda _: True,
) -> Summary:
    """Protect every photo that ``config`` names.

    Memory is bounded by the number of threads and by `PIXELS_A_THREAD`, not by the folder. Ctrl-C lets the photos that
    are under way get finished and takes no more; a second one stops at once.

    Args:
        config: what is asked for.
        detector: finds faces; called from several threads.
        attack: perturbs crops; called from one.
        facts: what the rows of the manifest say of this run.
        tick: called with every outcome, in the order of the inputs.
        meter: adds up what the stages take, for whoever looks on; see `meter_for`.
        only: inputs for which this is False are passed over without a word.

    Raises:
        DiskError: the output folder cannot be written to, or the disk is full; what is written is kept.
        UsageError: a source does not exist, or lies in the output folder; or another run writes there.
        NothingToDo: a glob matches nothing.
    """
    entries = filter(only, find(config.sources, config.out, form=config.format))
    summary, meter = Summary(), meter or meter_for(config)
    with ExitStack() as stack:
        stack.enter_context(_quiet_codecs())
        out = OutFolder(config.out)
        manifest = Manifest(config.out, facts)
        stack.callback(manifest.close)
        out.remove_stale()
        stack.callback(out.close)
        stop = stack.enter_context(interruptible())
        left = remaining(_until(entries, stop), manifest, config)
        hops = Hops(config, detector, attack.budget, out)
        threads = stack.enter_context(pools(compute=config.threads, disk=DISK_THREADS))
        for item in _staged(left, hops, attack, threads, meter):
            outcome = _commit(item, manifest, out, config)
            summary.add(outcome)
            tick(outcome)
        summary.interrupted = stop.is_set()
        summary.stages = meter.stages()
    return summary


def meter_for(config: ProtectConfig) -> Meter:
    """A meter for the threads that a run has."""
    return Meter(compute=config.threads, disk=DISK_THREADS)


def _staged(entries: Iterable[Any], hops: Hops, attack: Attack, threads: Pools, meter: Meter) -> Iterator[Any]:
    """find -> read -> decode, detect, crop -> perturb -> blend, encode -> stage."""
    config = hops.config
    workers, batch = config.threads, config.crops_a_batch
    heaviest = PIXELS_A_THREAD * workers
    compute, disk = threads.compute, threads.disk

    def pixels(item: Any) -> int:
        return item.pixels if isinstance(item, Loaded | Marked) else 0

    read = hop("read", Entry, hops.read, meter)
    see = chain(
        hop("decode", Loaded, hops.decode, meter),
        hop("detect", Seen, hops.detect, meter),
        hop("crop", Seen, hops.crop, meter),
    )
    encode, stage = hop("encode", Marked, hops.encode, meter), hop("write", Encoded, hops.stage, meter)
    loaded = prefetch(entries, read, pool=disk, ahead=2 * workers, weight=_size, heaviest=BYTES_AHEAD)
    seen = prefetch(loaded, see, pool=compute, ahead=batch + 2 * workers, weight=pixels, heaviest=heaviest)
    marked = perturb(seen, attack, batch=batch, heaviest=heaviest, meter=meter)
    encoded = prefetch(marked, encode, pool=compute, ahead=batch + workers, weight=pixels, heaviest=heaviest)
    return prefetch(encoded, stage, pool=disk, ahead=DISK_THREADS)


def _size(item: Entry | Failed | Skipped | Done) -> int:
    return item.size if isinstance(item, Entry) else 0


def _commit(item: Staged | Outcome, manifest: Manifest, out: OutFolder, config: ProtectConfig) -> Outcome:
    """The row first, then the final name (see `dadfi_fast.protect.manifest`); what has its row needs none."""
    if isinstance(item, Done) or (isinstance(item, Skipped) and item.recorded):
        return item
    again = manifest.find(item.entry.name) is not None
    if not isinstance(item, Staged):
        manifest.append(row_of(item, manifest.facts), again=again)
        return item
    outcome = replace(item.outcome, target=free(item.outcome.target, config))
    row = row_of(outcome, manifest.facts)
    manifest.append(row, again=again)
    try:
        out.commit(item.temporary, outcome.target)
    except DiskError:
        manifest.take_back(row)
        raise
    except PhotoError as error:  # a folder has that name, for one
        manifest.take_back(row)
        out.discard(item.temporary)
        return _commit(Failed(item.entry, "write", error), manifest, out, config)
    return outcome


def _until(entries: Iterable[Any], stop: threading.Event) -> Iterator[Any]:
    for entry in entries:
        if stop.is_set():
            return
        yield entry


@contextmanager
def _quiet_codecs() -> Iterator[None]:
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
