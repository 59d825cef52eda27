"""What a run would do, without doing it: nothing is decoded, nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from dadfi_fast.errors import PhotoError
from dadfi_fast.images.decode import HEAD, recognise
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.discover import discover
from dadfi_fast.protect.distributed.manifest_shards import open_manifest
from dadfi_fast.protect.manifest import Facts
from dadfi_fast.protect.results import NO_PICTURE, Done, Entry, Failed, Skipped
from dadfi_fast.protect.resume import free_target, remaining
from dadfi_fast.protect.under_way import UnderWay
from dadfi_fast.storage.paths import first_bytes


def dry_run(config: ProtectConfig, facts: Facts) -> Iterator[dict[str, str | None]]:
    """For every input its ``source``, ``target``, ``action`` (protect, skip, done or fail) and the ``reason``.

    A photo that would be protected may still turn out to be damaged, to be protected already, or to have no face.

    Raises:
        UsageError, NothingToDo: as `protect` does.
    """
    entries = discover(config.sources, config.out, form=config.format)
    return _planned(entries, config, facts)


def _planned(entries: Iterator[Entry | Failed], config: ProtectConfig, facts: Facts) -> Iterator[dict[str, str | None]]:
    under_way = UnderWay(config.out, again=config.again, read_only=True)
    with closing(open_manifest(config.out, facts, read_only=True)) as manifest:
        for item in under_way.judge(remaining(entries, manifest, config)):
            if isinstance(item, Entry):
                yield _row(item, *_read_only(item, config))
            elif isinstance(item, Done):
                yield _row(item.entry, "done", item.target, None)
            elif isinstance(item, Skipped):
                yield _row(item.entry, "skip", None, item.reason)
            else:
                yield _row(item.entry, "fail", None, str(item.error))


def _read_only(entry: Entry, config: ProtectConfig) -> tuple[str, str | None, str | None]:
    try:
        known = recognise(first_bytes(entry.source, HEAD)) is not None
        return ("protect", free_target(entry.target, config), None) if known else ("skip", None, NO_PICTURE)
    except (OSError, PhotoError) as error:
        return "fail", None, str(error)


def _row(entry: Entry, action: str, target: str | None, reason: str | None) -> dict[str, str | None]:
    return {"source": entry.name, "action": action, "target": target, "reason": reason}
