"""`dadfi_fast.protect.pipeline.protect` by several workers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.discover import Originals, discover
from dadfi_fast.protect.distributed.manifest_shards import open_manifest
from dadfi_fast.protect.distributed.pool import WorkerPool
from dadfi_fast.protect.distributed.scheduler import Scheduler
from dadfi_fast.protect.interrupt import interruptible, until_stopped
from dadfi_fast.protect.manifest import Facts
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.results import Entry, Failed, Outcome
from dadfi_fast.protect.resume import remaining
from dadfi_fast.protect.summary import Summary
from dadfi_fast.storage.object_store import open_out


def protect_distributed(
    pool: WorkerPool,
    config: ProtectConfig,
    *,
    facts: Facts,
    meter: Meter,
    tick: Callable[[Outcome], object] = lambda _: None,
    say: Callable[[str], object] = lambda _: None,
    only: Callable[[Entry | Failed], bool] = lambda _: True,
    renew: bool = False,
) -> Summary:
    """Protect every photo that ``config`` names: the same rows and files as one process makes, but for ``seconds``.

    Ctrl-C lets the photos that are under way get finished and takes no more; a second one stops at once.

    Args:
        pool: who works; each worker is started at the first run.
        config: what is asked for.
        facts: what the manifest goes by to know what is done; what ran is known to the workers.
        meter: adds up what the stages take on all workers.
        tick: called with every outcome, in the order of the inputs.
        say: told of workers that are gone.
        only: inputs for which this is False are passed over without a word.
        renew: results of ours are replaced where their inputs have changed, also with ``--on-exists skip``.

    Raises:
        DiskError, UsageError, NothingToDo: as `protect` does.
        BackendMissing: a worker cannot run what is asked for.
        DadfiError: no worker comes up.
    """
    config = pool.config_for_workers(config)
    entries = filter(only, discover(config.sources, config.out, form=config.format))
    summary = Summary()
    with ExitStack() as stack:
        out = open_out(config.out, refuse=Originals(config.sources, config.out).refuse)
        manifest = open_manifest(config.out, facts)
        stack.callback(manifest.close)
        if manifest.note is not None:
            summary.notes.append(manifest.note)
        out.remove_stale()
        stop = stack.enter_context(interruptible())
        left = remaining(until_stopped(entries, stop), manifest, config, renew=renew)
        # Rows come before files, so workers may be ended at any moment; the next run takes over what they have done.
        stack.push(lambda kind, *_: pool.close() if kind else None)
        pool.start()
        scheduler = Scheduler(left, pool, manifest, config, meter=meter, stopped=stop.is_set, say=say)
        for outcome in scheduler.outcomes():
            summary.add(outcome)
            tick(outcome)
        if scheduler.lost:  # it may have left a file under a temporary name
            out.remove_stale()
        summary.interrupted = stop.is_set()
        summary.stages = meter.stages()
    return summary
