"""The hops of a photo, each a function from what the last one made to what the next one needs.

A fault inside a hop becomes `Failed` and flows on, as every other outcome does. Only faults of the whole run get
through.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dadfi_fast.errors import DiskError, PhotoError, UnsafePhoto
from dadfi_fast.faces.align import Square, whole
from dadfi_fast.faces.detector import Detector
from dadfi_fast.protect import exif, mark, xmp
from dadfi_fast.protect.blend import blend
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.crop import crops, squares
from dadfi_fast.protect.decode import HEAD, decode, open_picture, recognise
from dadfi_fast.protect.decode.base import Decoder
from dadfi_fast.protect.encode import encode, target_format
from dadfi_fast.protect.jpeg import XMP_ROOM, without_gps
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.naming import PICTURES
from dadfi_fast.protect.outcome import Copied, Entry, Failed, Skipped, Written
from dadfi_fast.protect.trailer import Trailer, find_trailer
from dadfi_fast.protect.verify import is_drawn, measure
from dadfi_fast.protect.write import OutFolder
from dadfi_fast.types import Budget, Face, Float32, Photo, Protected

T = TypeVar("T")
_NONE: Float32 = np.empty((0, 3, 1, 1), np.float32)
#: A file may take so many bytes a pixel of `--max-pixels`: four channels of 16 bits, uncompressed.
_BYTES_A_PIXEL = 8


@dataclass(frozen=True, eq=False)
class Loaded:
    """A picture file in memory, its header read."""

    entry: Entry
    data: bytes
    sha256: str
    decoder: Decoder

    @property
    def pixels(self) -> int:
        return self.decoder.width * self.decoder.height


@dataclass(frozen=True, eq=False)
class Seen:
    """A photo whose faces are known, and cut out."""

    loaded: Loaded
    photo: Photo
    faces: tuple[Face, ...]
    where: tuple[Square, ...]
    crops: Float32  # [B, 3, S, S] in [-1, 1]

    @property
    def entry(self) -> Entry:
        return self.loaded.entry

    @property
    def pixels(self) -> int:
        return self.loaded.pixels


@dataclass(frozen=True, eq=False)
class Marked:
    """A photo with the perturbations of its faces."""

    seen: Seen
    deltas: Float32  # [B, 3, S, S] on the same scale

    @property
    def entry(self) -> Entry:
        return self.seen.entry

    @property
    def pixels(self) -> int:
        return self.seen.pixels


@dataclass(frozen=True, eq=False)
class Encoded:
    """The bytes of the target, and what is to be said of it once it is there."""

    outcome: Written | Copied
    data: bytes

    @property
    def entry(self) -> Entry:
        return self.outcome.entry


@dataclass(frozen=True)
class Staged:
    """A whole file under a temporary name, on disk."""

    outcome: Written | Copied
    temporary: Path

    @property
    def entry(self) -> Entry:
        return self.outcome.entry


def hop(name: str, takes: type[T], work: Callable[[T], Any], meter: Meter | None = None) -> Callable[[Any], Any]:
    """``work`` for the items that are ``takes``; all others flow on, and what ``work`` raises becomes `Failed`.

    What it takes is added to the photo's clock, and to ``meter`` under the name of the stage.
    """

    def run(item: Any) -> Any:
        if not isinstance(item, takes):
            return item
        entry: Entry = item if isinstance(item, Entry) else item.entry  # type: ignore[attr-defined]
        start = time.perf_counter()
        try:
            return work(item)
        except DiskError:
            raise
        except Exception as error:
            return Failed(entry, name, error)
        finally:
            seconds = time.perf_counter() - start
            entry.clock.seconds += seconds
            if meter is not None:
                meter.add(name, seconds)

    return run


def chain(*hops: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One hop after the other, in one thread, while the pixels are in its caches."""

    def run(item: Any) -> Any:
        for each in hops:
            item = each(item)
        return item

    return run


class Hops:
    """The hops of one run."""

    def __init__(self, config: ProtectConfig, detector: Detector, budget: Budget, out: OutFolder) -> None:
        self.config, self.detector, self.budget, self.out = config, detector, budget, out

    def read(self, entry: Entry) -> Loaded | Skipped:
        """The file, read once; what is no picture is not read beyond its first bytes."""
        with entry.source.open("rb") as file:
            head = file.read(HEAD)
            if recognise(head) is None:
                return _no_picture(entry, head)
            if entry.size > _BYTES_A_PIXEL * self.config.max_pixels:
                raise UnsafePhoto(f"{entry.size} bytes are more than a picture of --max-pixels can have")
            data = head + file.read()
        decoder = open_picture(data, max_pixels=self.config.max_pixels, animated=self.config.animated)
        if mark.is_marked(decoder.metadata.xmp) and not self.config.again:
            return Skipped(entry, mark.ALREADY)
        return Loaded(entry, data, hashlib.sha256(data).hexdigest(), decoder)

    def decode(self, loaded: Loaded) -> Seen:
        """The pixels, upright; faces are not known yet."""
        photo = decode(loaded.decoder, loaded.entry.source, strip_gps=self.config.strip_gps)
        return Seen(loaded, photo, (), (), _NONE)

    def detect(self, seen: Seen) -> Seen | Encoded | Skipped:
        """The faces; a photo without any goes the way that ``--no-face`` says."""
        faces = tuple(self.detector(seen.photo.pixels))
        if not faces and self.config.no_face == "skip":
            return Skipped(seen.entry, "no face found")
        if not faces and self.config.no_face == "copy":
            return self._copied(seen)
        return Seen(seen.loaded, seen.photo, faces or (whole(*seen.photo.pixels.shape[:2]),), (), _NONE)

    def crop(self, seen: Seen) -> Seen:
        """The faces, cut out for the generator."""
        where = squares(seen.faces)
        return Seen(seen.loaded, seen.photo, seen.faces, where, crops(seen.photo.pixels, where))

    def encode(self, marked: Marked) -> Encoded:
        """Perturbations blended in, and the photo encoded."""
        seen, config = marked.seen, self.config
        trailer = find_trailer(seen.loaded.data) if seen.photo.encoding.format == "JPEG" else None
        kept = trailer is not None and config.trailer == "keep" and self._target(seen) == "JPEG"
        photo = self._signed(seen.photo, followed=trailer is None or kept)
        protected = blend(photo, seen.faces, seen.where, marked.deltas, self.budget)
        data = encode(protected, form=config.format, quality=config.quality)
        if trailer is not None and kept:
            data = trailer.behind(data)
        entry, digest = marked.entry, hashlib.sha256(data).hexdigest()
        measured = None
        if is_drawn(entry.name, config.verify):
            measured = measure(entry, seen.loaded.data, data, max_pixels=config.max_pixels)
        notes = tuple(_notes(seen.loaded.decoder.frames, trailer, kept=kept))
        done = Written(entry, entry.target, seen.faces, protected.linf, seen.loaded.sha256, digest, measured, notes)
        return Encoded(done, data)

    def stage(self, encoded: Encoded) -> Staged:
        """The bytes on disk, under a temporary name beside the final one."""
        return Staged(encoded.outcome, self.out.stage(encoded.entry.target, encoded.data))

    def _target(self, seen: Seen) -> str:
        return target_format(seen.photo.encoding.format, self.config.format)

    def _signed(self, photo: Photo, *, followed: bool) -> Photo:
        """The photo with the mark in its metadata; ``followed``: what these say of a trailer stays true."""
        packet = photo.metadata.xmp if followed else xmp.without_trailer(photo.metadata.xmp)
        if self.config.mark:
            most = XMP_ROOM if target_format(photo.encoding.format, self.config.format) == "JPEG" else None
            packet = mark.marked(packet, strength=self.config.strength, most=most)
        return replace(photo, metadata=replace(photo.metadata, xmp=packet))

    def _copied(self, seen: Seen) -> Encoded:
        """A photo without a face: its own bytes, unless its format changes or a place has to go."""
        loaded, form = seen.loaded, seen.photo.encoding.format
        data, raw = loaded.data, loaded.decoder.metadata
        placed = self.config.strip_gps and (exif.has_gps(raw.exif) or xmp.has_gps(raw.xmp))
        trailer = find_trailer(data) if self.config.strip_gps and form == "JPEG" else None
        frames = 1
        if self._target(seen) != form or (placed and form != "JPEG"):
            data, frames = self._unchanged(seen), loaded.decoder.frames
        elif trailer is not None or placed:
            data = without_gps(data if trailer is None else data[: trailer.place])
        digest = loaded.sha256 if data is loaded.data else hashlib.sha256(data).hexdigest()
        notes = tuple(_notes(frames, trailer, kept=False))
        return Encoded(Copied(seen.entry, seen.entry.target, "no face found", loaded.sha256, digest, notes), data)

    def _unchanged(self, seen: Seen) -> bytes:
        untouched = Protected(seen.photo, seen.photo.pixels, (), 0, seen.photo.deep)
        return encode(untouched, form=self.config.format, quality=self.config.quality)


def _notes(frames: int, trailer: Trailer | None, *, kept: bool) -> Iterator[str]:
    """What the manifest says beside the status."""
    if frames > 1:
        yield f"the first of {frames} frames"
    if trailer is not None:
        yield f"{'kept' if kept else 'dropped'} {trailer.what} from behind the picture"


def _no_picture(entry: Entry, head: bytes) -> Skipped:
    """A file that is no picture: passed over, unless its name or the user says that it is one."""
    if entry.named or os.path.splitext(entry.name)[1].lower() in PICTURES:  # noqa: PTH122
        raise PhotoError(
            "the file is empty" if not head else "its content is not that of a picture, whatever its name says"
        )
    return Skipped(entry, "no picture", picture=False)
