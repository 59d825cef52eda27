"""Resume: skip inputs that an earlier run has finished, and handle targets that already exist."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final, TypeGuard

from dadfi_fast.errors import PhotoError
from dadfi_fast.files import sha256_of
from dadfi_fast.images.naming import candidates
from dadfi_fast.images.tag import ALREADY
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.manifest import Manifest, Row, is_result
from dadfi_fast.protect.results import Done, Entry, Failed, Input, Outcome, Skipped

#: Why a photo is skipped whose result would be another one today.
CHANGED: Final = "written with other settings or from another file"


def remaining(
    entries: Iterable[Entry | Failed], manifest: Manifest, config: ProtectConfig, *, renew: bool = False
) -> Iterator[Input]:
    """Yield each input that needs work, or its outcome if it needs none.

    With ``--on-exists overwrite`` all is done again. Else an input is done where its last row was made with the same
    settings and the same generator from the same file, and its target is there. ``renew``: where the file has changed
    since then, the result is replaced, also with ``--on-exists skip``.
    """
    for entry in entries:
        if isinstance(entry, Failed) or config.on_exists == "overwrite":
            yield entry
            continue
        try:
            yield _judged(entry, manifest, config, renew=renew)
        except OSError as error:  # a name that the output folder cannot have
            yield Failed(entry, "write", _unnameable(entry.target, error))


def _judged(entry: Entry, manifest: Manifest, config: ProtectConfig, *, renew: bool) -> Input:
    row = manifest.find(entry.name)
    if row is not None and _is_done(row, entry, manifest, config):
        return Done(entry, row["status"], row["target"])
    if renew and config.on_exists == "skip" and row is not None and _is_outdated(row, entry, config):
        return replace(entry, earlier=row["sha256_target"])
    return _by_policy(entry, row, config)


def _unnameable(target: str, error: OSError) -> PhotoError:
    return PhotoError(f"cannot write {target}: {error.strerror or error}. Give the photo a shorter name")


def _by_policy(entry: Entry, row: Row | None, config: ProtectConfig) -> Entry | Failed | Skipped:
    if config.on_exists == "rename" or not (config.out / entry.target).exists():
        return entry
    ours = row is not None and row["target"] == entry.target
    what = CHANGED if ours else "already exists"
    reason = f"{entry.target}: {what}; pass --on-exists overwrite or rename"
    if config.on_exists == "fail":
        return Failed(entry, "write", PhotoError(reason))
    # The row of the file that is there says what it is, and stays.
    return Skipped(entry, reason, recorded=row is not None and (ours or row["reason"] == reason))


def _is_done(row: Row, entry: Entry, manifest: Manifest, config: ProtectConfig) -> bool:
    facts = manifest.facts
    if row["status"] == "failed" or (row["config"], row["generator"]) != (facts.config, facts.generator):
        return False
    if row["status"] == "skipped":
        same = row["sha256_source"] is None and row["stat"] == [entry.size, entry.mtime_ns]
        return same and _is_final(row, config)
    return (config.out / row["target"]).is_file() and _is_same(row, entry)


def _is_final(row: Row, config: ProtectConfig) -> bool:
    """Whether a skipped photo would be skipped again; an existing target that was in the way may be gone."""
    if row["reason"] == ALREADY:
        return not config.again
    return "--on-exists" not in row["reason"]


def _is_same(row: Row, entry: Entry) -> bool:
    """Whether the source is unchanged since its row: by size and mtime; if only the mtime differs, by content."""
    size, mtime_ns = row["stat"]
    if size != entry.size:
        return False
    if mtime_ns == entry.mtime_ns:
        return True
    with entry.source.open("rb") as file:
        return sha256_of(file) == str(row["sha256_source"])


def _is_outdated(row: Row, entry: Entry, config: ProtectConfig) -> bool:
    """Whether the target is a result of ours, as it was written, and of what the source was before."""
    if row["target"] != entry.target or row["sha256_target"] is None:
        return False
    if row["status"] in ("written", "copied") and _is_same(row, entry):
        return False
    return is_result(row, config.out)


def free_target(target: str, config: ProtectConfig) -> str:
    """``target``, or with ``--on-exists rename`` the next free name.

    Raises:
        PhotoError: the output folder can have no such name, as it is too long.
    """
    if config.on_exists != "rename":
        return target
    folder, _, name = target.rpartition("/")
    try:
        return next(
            new_target
            for candidate in candidates(name)
            if not (config.out / (new_target := f"{folder}/{candidate}" if folder else candidate)).exists()
        )
    except OSError as error:
        raise _unnameable(target, error) from error


def is_recorded(item: Input | Outcome) -> TypeGuard[Skipped | Done]:
    """Whether it needs neither work nor a new row, because its row in the manifest remains."""
    return isinstance(item, Done) or (isinstance(item, Skipped) and item.recorded)
