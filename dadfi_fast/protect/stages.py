"""The stages of a photo, each a function from what the last one made to what the next one needs.

A fault inside a stage becomes `Failed` and flows on, as every other outcome does. Only faults of the whole run get
through.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from dadfi_fast.attacks.base import Attack
from dadfi_fast.errors import DiskError, PhotoError, UnsafePhoto
from dadfi_fast.faces.align import Square, whole
from dadfi_fast.faces.detector import Detector
from dadfi_fast.images import strip, tag
from dadfi_fast.images.carried import carried
from dadfi_fast.images.decode import HEAD, decode, open_picture, orientation, recognise
from dadfi_fast.images.decode.base import Decoder
from dadfi_fast.images.encode import encode, is_grey, target_format
from dadfi_fast.images.guard import check_lengths
from dadfi_fast.images.jpeg import with_metadata
from dadfi_fast.images.naming import PICTURES
from dadfi_fast.images.trailer import Trailer, find_trailer
from dadfi_fast.protect.blend import blend
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.crop import crops, squares
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.output_metadata import OutputMetadata, notes, output_metadata
from dadfi_fast.protect.results import NO_PICTURE, Copied, Entry, Failed, Skipped, Written
from dadfi_fast.protect.verify import is_drawn, measure
from dadfi_fast.storage.disk import OutFolder
from dadfi_fast.storage.object_store import OutStore
from dadfi_fast.types import Face, Float32, Photo, Protected

T = TypeVar("T")
_NONE: Float32 = np.empty((0, 3, 1, 1), np.float32)
#: A file may take so many bytes a pixel of `--max-pixels`: four channels of 16 bits, uncompressed.
_BYTES_A_PIXEL = 8
#: Bytes of memory a pixel at the most, from decoding to encoding, with 8 and with 16 bits a sample: measured on PNG and
#: TIFF with 12 million pixels 18.7, 20.3 (alpha) and 28.4; JPEG takes 8.7.
MEMORY_A_PIXEL: Final = 21
MEMORY_A_DEEP_PIXEL: Final = 32


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
class Ready:
    """A protected photo that comes from a GPU: as a JPEG stream without metadata, or as pixels for our own codecs."""

    loaded: Loaded
    photo: Photo  # with the protected pixels, where there is no stream; else with none
    faces: tuple[Face, ...]
    linf: int
    stream: bytes | None

    @property
    def entry(self) -> Entry:
        return self.loaded.entry


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
    """A whole file under a temporary name, on disk; or its bytes, for a store that takes them in one step."""

    outcome: Written | Copied
    temporary: Any  # what `stage` of the output folder gave

    @property
    def entry(self) -> Entry:
        return self.outcome.entry


def stage(name: str, takes: type[T], work: Callable[[T], Any], meter: Meter | None = None) -> Callable[[Any], Any]:
    """``work`` for the items that are ``takes``; all others flow on, and what ``work`` raises becomes `Failed`.

    What it takes is added to the photo's clock, and to ``meter`` under the name of the stage.
    """

    def run(item: Any) -> Any:
        if not isinstance(item, takes):
            return item
        entry: Entry = item if isinstance(item, Entry) else item.entry  # type: ignore[attr-defined]
        start = time.perf_counter()
        if meter is not None:
            meter.begin(name)
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
                meter.end(name, seconds, of=entry.name)

    return run


def chain(*stages: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One stage after the other, in one thread, while the pixels are in its caches."""

    def run(item: Any) -> Any:
        for each in stages:
            item = each(item)
        return item

    return run


class Stages:
    """The stages of one run."""

    def __init__(self, config: ProtectConfig, detector: Detector, attack: Attack, out: OutFolder | OutStore) -> None:
        self.config, self.detector, self.out = config, detector, out
        self.budget, self.crop_size = attack.budget, attack.crop_size

    def read(self, entry: Entry) -> Loaded | Skipped:
        """The file, read once; what is no picture is not read beyond its first bytes."""
        with entry.source.open("rb") as file:
            head = file.read(HEAD)
            if recognise(head) is None:
                return _no_picture(entry, head)
            if entry.size > _BYTES_A_PIXEL * self.config.max_pixels:
                raise UnsafePhoto(f"{entry.size} bytes are more than an image of --max-pixels can have")
            data = head + file.read()
        check_lengths(data)
        decoder = open_picture(data, max_pixels=self.config.max_pixels, animated=self.config.animated)
        _require_room(decoder, len(data), self.config)
        if tag.is_tagged(decoder.metadata.xmp) and not self.config.again:
            return Skipped(entry, tag.ALREADY)
        return Loaded(entry, data, hashlib.sha256(data).hexdigest(), decoder)

    def decode(self, loaded: Loaded) -> Seen:
        """The pixels, upright; faces are not known yet."""
        photo = decode(loaded.decoder, Path(loaded.entry.name), strip_gps=self.config.strip_gps)
        return Seen(loaded, photo, (), (), _NONE)

    def detect(self, seen: Seen) -> Seen | Encoded | Skipped:
        """The faces; a photo without any goes the way that ``--no-face`` says."""
        faces = tuple(self.detector(seen.photo.pixels))
        if not faces and self.config.no_face != "whole":
            return self.faceless(seen)
        return Seen(seen.loaded, seen.photo, faces or (whole(*seen.photo.pixels.shape[:2]),), (), _NONE)

    def faceless(self, seen: Seen) -> Encoded | Skipped:
        """A photo without a face, which is copied or skipped."""
        return Skipped(seen.entry, "no face found") if self.config.no_face == "skip" else self._copied(seen)

    def crop(self, seen: Seen) -> Seen:
        """The faces, cut out for the generator."""
        where = squares(seen.faces)
        return Seen(seen.loaded, seen.photo, seen.faces, where, crops(seen.photo.pixels, where, size=self.crop_size))

    def encode(self, marked: Marked) -> Encoded:
        """Perturbations blended in, and the photo encoded."""
        seen, config = marked.seen, self.config
        output = self._company(seen.loaded, seen.photo)
        photo = replace(seen.photo, metadata=output.metadata)
        protected = blend(photo, seen.faces, seen.where, marked.deltas, self.budget)
        data = encode(protected, form=config.format, quality=config.quality)
        return self._written(seen.loaded, seen.faces, protected.linf, output.around(data), output)

    def finish(self, ready: Ready) -> Encoded:
        """What a GPU has made, with all that goes with it."""
        output = self._company(ready.loaded, ready.photo)
        if ready.stream is not None:
            data = with_metadata(ready.stream, output.metadata)
        else:
            photo = replace(ready.photo, metadata=output.metadata)
            protected = Protected(photo, photo.pixels, ready.faces, ready.linf)
            data = encode(protected, form=self.config.format, quality=self.config.quality)
        return self._written(ready.loaded, ready.faces, ready.linf, output.around(data), output)

    def _company(self, loaded: Loaded, photo: Photo) -> OutputMetadata:
        turned = orientation(loaded.decoder.metadata) != 1
        return output_metadata(loaded.data, photo, self.config, turned=turned)

    def _written(
        self, loaded: Loaded, faces: tuple[Face, ...], linf: int, data: bytes, output: OutputMetadata
    ) -> Encoded:
        """The file, with what the manifest is to say of it."""
        entry, config, digest = loaded.entry, self.config, hashlib.sha256(data).hexdigest()
        measured = None
        if is_drawn(entry.name, config.verify):
            measured = measure(entry, loaded.data, data, max_pixels=config.max_pixels)
        self._placeless(data)
        said = output.notes(loaded.decoder.frames)
        least = self._faces_from(loaded, faces)
        return Encoded(Written(entry, entry.target, faces, linf, loaded.sha256, digest, measured, said, least), data)

    def _faces_from(self, loaded: Loaded, faces: tuple[Face, ...]) -> int | None:
        size = loaded.decoder.height, loaded.decoder.width
        found = () if len(faces) == 1 and faces[0].score == 1 else faces  # what stands for the whole picture
        return self.detector.faces_from(found, *size)

    def write(self, encoded: Encoded) -> Staged:
        """The bytes on disk, under a temporary name beside the final one."""
        entry = encoded.entry
        like = entry.source if self.config.times and isinstance(entry.source, Path) else None
        return Staged(encoded.outcome, self.out.stage(entry.target, encoded.data, like=like))

    def _target(self, photo: Photo) -> str:
        return target_format(photo.encoding.format, self.config.format)

    def _placeless(self, data: bytes) -> None:
        """See, on the bytes that are to be written, that ``--strip-gps`` has done what it says."""
        if self.config.strip_gps and strip.still_names_place(data):
            raise PhotoError("its metadata still say where it was taken; nothing is written. Please report this file")

    def _copied(self, seen: Seen) -> Encoded:
        """A photo without a face: its own bytes, unless its format changes or a place has to go."""
        loaded, form = seen.loaded, seen.photo.encoding.format
        data: bytes | None = loaded.data
        trailer: Trailer | None = None
        said: tuple[str, ...] = ()
        if self._target(seen.photo) != form:
            data = None
        elif self.config.strip_gps:
            trailer = find_trailer(loaded.data) if form == "JPEG" else None
            bare = loaded.data if trailer is None else loaded.data[: trailer.place]
            data = strip.without_place(bare, form, loaded.decoder.metadata)
        if data is None:
            data, said = self._unchanged(seen)
        if data is not loaded.data:
            self._placeless(data)
        digest = loaded.sha256 if data is loaded.data else hashlib.sha256(data).hexdigest()
        said = (*notes(1, trailer, kept=False), *said)
        least = self._faces_from(loaded, ())
        return Encoded(Copied(seen.entry, seen.entry.target, "no face found", loaded.sha256, digest, said, least), data)

    def _unchanged(self, seen: Seen) -> tuple[bytes, tuple[str, ...]]:
        """The photo written anew as it is, and what is to be said of that."""
        photo = seen.photo
        metadata = carried(photo.metadata, self._target(photo), grey=is_grey(photo.encoding))
        photo = replace(photo, metadata=metadata)
        data = encode(
            Protected(photo, photo.pixels, (), 0, photo.deep), form=self.config.format, quality=self.config.quality
        )
        return data, (*notes(seen.loaded.decoder.frames, None, kept=False), *metadata.notes)


def _require_room(decoder: Decoder, size: int, config: ProtectConfig) -> None:
    """Refuse a photo that would not fit into ``--max-memory``, before it is decoded."""
    need = decoder.width * decoder.height * (MEMORY_A_DEEP_PIXEL if "16" in decoder.encoding.mode else MEMORY_A_PIXEL)
    if need + 2 * size > config.memory:
        raise UnsafePhoto(
            f"cannot decode {decoder.width}x{decoder.height} pixels: that takes about {(need >> 20) + 1} MiB of memory,"
            f" and --max-memory is {config.memory >> 20} MiB. Raise it, or make the photo smaller"
        )


def _no_picture(entry: Entry, head: bytes) -> Skipped:
    """A file that is no picture: passed over, unless its name or the user says that it is one."""
    if entry.named or os.path.splitext(entry.name)[1].lower() in PICTURES:  # noqa: PTH122
        raise PhotoError("the file is empty" if not head else "not a supported image file (despite its extension)")
    return Skipped(entry, NO_PICTURE, picture=False)
