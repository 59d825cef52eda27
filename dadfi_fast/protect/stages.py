"""The stages of a photo; each fills the slots of its job that the next one needs.

A fault inside a stage becomes the outcome `Failed` of the job, which flows on, as with every other outcome. Only faults
of the whole run get through.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Final, TypeAlias

import cv2
import numpy as np

from dadfi_fast.attacks.base import Attack, FaceView
from dadfi_fast.errors import DiskError, PhotoError, UnsafePhoto
from dadfi_fast.faces.align import cut, whole
from dadfi_fast.faces.detector import PASSES, Detector
from dadfi_fast.faces.none import Whole
from dadfi_fast.faces.shrink import LINEAR, Pyramid
from dadfi_fast.images import strip, tag
from dadfi_fast.images.blocks import Blocks, fits
from dadfi_fast.images.carried import carried
from dadfi_fast.images.decode import HEAD, SIDEWAYS, cleaned, decode, open_picture, orientation, recognise
from dadfi_fast.images.decode.base import Decoder
from dadfi_fast.images.decode.simplejpeg import JpegDecoder
from dadfi_fast.images.encode import encode, is_grey, target_format
from dadfi_fast.images.ends import picture_end
from dadfi_fast.images.guard import check_lengths
from dadfi_fast.images.jpeg import JpegHeader, read_header, with_metadata
from dadfi_fast.images.naming import PICTURES
from dadfi_fast.images.trailer import Trailer, find_trailer
from dadfi_fast.protect.blend import GREY, blend, overlap
from dadfi_fast.protect.blocks import WHOLE, BlockPyramid, add, can_add
from dadfi_fast.protect.config import SMALL_CROP, SMALL_CROP_ENCODED, ProtectConfig
from dadfi_fast.protect.crop import crops, squares
from dadfi_fast.protect.job import PhotoJob, Step, require
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.output_metadata import OutputMetadata, notes, output_metadata
from dadfi_fast.protect.results import NO_PICTURE, Copied, Entry, Failed, Skipped, Written
from dadfi_fast.protect.strength import Judges, Part, unbroken
from dadfi_fast.protect.under_way import UnderWay
from dadfi_fast.protect.verify import is_drawn, measure
from dadfi_fast.storage.disk import OutFolder
from dadfi_fast.storage.object_store import OutStore
from dadfi_fast.types import Budget, Encoding, Float32, Metadata, Photo, Protected, UInt8

#: A stage, as the pipeline calls it: the job comes back with more of its slots filled, or with its outcome.
Stage: TypeAlias = Callable[[PhotoJob], PhotoJob]
#: The manifest's ``reason`` for photos without a face.
_NO_FACE: Final = "no face found"
#: What a row says of a result that shows what its source shows.
_LOST: Final = "the compression of this JPEG leaves nothing of the protection; pass --quality 90"
#: Formats that change pixels.
_LOSSY: Final = ("JPEG", "WEBP", "AVIF", "HEIF")
#: First number of the luma table from which on that may be so (quality 33 and below).
_COARSE: Final = 24
#: Largest step of a table of colour from which on rounding to whole steps costs much (quality 97 and below).
_ROUNDS: Final = 5
#: A file may take so many bytes a pixel of `--max-pixels`: four channels of 16 bits, uncompressed.
_BYTES_A_PIXEL = 8
#: Of larger files, bytes behind the picture are looked for, which takes a millisecond a megabyte.
_LARGE: Final = 16 << 20
_BLOCK: Final = 1 << 20
#: Longer side of the smallest photo whose blocks can be searched for a face: 1,408 px, and what rounding the shorter
#: side of a copy adds. In smaller ones, decoding and encoding the pixels takes no longer.
_SMALLEST_IN_BLOCKS: Final = math.ceil(PASSES[0][0] * LINEAR * (1 << WHOLE)) + 8
_NO_PIXELS: Final[UInt8] = np.empty((0, 0, 3), np.uint8)
#: Bytes of memory a pixel at the most, from decoding to encoding, with 8 and with 16 bits a sample: measured on PNG and
#: TIFF with 12 million pixels 18.7, 20.3 (alpha) and 28.4; JPEG takes 8.7.
MEMORY_A_PIXEL: Final = 21
MEMORY_A_DEEP_PIXEL: Final = 32
#: Bytes a pixel of a square that reaches over the photo's edges: measured 4.0 on pictures of 16000x64 pixels.
_MEMORY_OF_A_SQUARE: Final = 4


def stage(name: Step, work: Callable[[PhotoJob], None], meter: Meter | None = None) -> Stage:
    """``work`` for the jobs whose next stage this is; all others flow on, and what ``work`` raises becomes `Failed`.

    What it takes is added to the photo's clock, and to ``meter`` under the name of the stage.
    """

    def run(job: PhotoJob) -> PhotoJob:
        if job.next != name:
            return job
        start = time.perf_counter()
        if meter is not None:
            meter.begin(name)
        try:
            work(job)
        except DiskError:
            raise
        except Exception as error:
            job.settle(Failed(job.entry, name, error))
        finally:
            seconds = time.perf_counter() - start
            job.entry.clock.seconds += seconds
            if meter is not None:
                meter.end(name, seconds, of=job.entry.name)
        return job

    return run


def chain(*stages: Stage) -> Stage:
    """One stage after the other, in one thread, while the pixels are in its caches."""

    def run(job: PhotoJob) -> PhotoJob:
        for each in stages:
            job = each(job)
        return job

    return run


class Stages:
    """The stages of one run; ``under_way`` notes on what they work, ``judges`` choose the strength if there are any."""

    def __init__(
        self,
        config: ProtectConfig,
        detector: Detector,
        attack: Attack,
        out: OutFolder | OutStore,
        under_way: UnderWay | None = None,
        judges: Judges | None = None,
    ) -> None:
        self.config, self.detector, self.out, self.judges = config, detector, out, judges
        self.under_way = under_way or UnderWay(None)
        self.budget, self.crop_size = attack.budget, attack.crop_size
        self._looks = iter(range(config.visibility))  # one is taken for each photo whose visibility is measured

    def read(self, job: PhotoJob) -> None:
        """The file, read once; what is no picture is not read beyond its first bytes."""
        entry = job.entry
        with entry.source.open("rb") as file:
            head = file.read(HEAD)
            form = recognise(head)
            if form is None:
                job.settle(_no_picture(entry, head))
                return
            if entry.size > _BYTES_A_PIXEL * self.config.max_pixels:
                raise UnsafePhoto(f"{entry.size} bytes are more than an image within --max-pixels can have")
            data = b"" if self._is_left_on_disk(entry) else head + file.read()
        behind = 0
        if data:
            digest = hashlib.sha256(data).hexdigest()
        else:
            data, digest, behind = _picture(entry.path, form, entry.size)
        check_lengths(data)
        decoder = open_picture(data, max_pixels=self.config.max_pixels, animated=self.config.animated)
        _require_room(decoder, len(data), self.config)
        if tag.is_tagged(decoder.metadata.xmp) and not self.config.again:
            job.settle(Skipped(entry, tag.ALREADY))
            return
        job.data, job.behind, job.sha256, job.decoder = data, behind, digest, decoder

    def _is_left_on_disk(self, entry: Entry) -> bool:
        """Whether what stands behind the picture stays on the disk: much of it may."""
        here = isinstance(entry.source, Path) and isinstance(self.out, OutFolder)
        return here and entry.size > _LARGE

    def decode(self, job: PhotoJob) -> None:
        """The blocks of a JPEG that can be changed in place; otherwise the pixels, upright."""
        decoder = require(job.decoder)
        large = max(decoder.width, decoder.height) >= _SMALLEST_IN_BLOCKS and self.judges is None
        if large and isinstance(decoder, JpegDecoder) and can_keep_blocks(decoder.header, decoder, self.config):
            with suppress(PhotoError):  # the decoder of pixels says what is wrong, or puts up with it
                job.blocks = Blocks(job.data, decoder.header, orientation(decoder.metadata))
                metadata = cleaned(decoder.metadata, strip_gps=self.config.strip_gps)
                job.photo = Photo(Path(job.entry.name), _NO_PIXELS, decoder.encoding, metadata)
                return
        self._decode_pixels(job)

    def _open_writable(self, job: PhotoJob) -> None:
        """Open the blocks of a JPEG that was searched by its pixels, if its tables would round off a perturbation.

        Not where they cannot be changed in place, or are to have another subsampling.
        """
        decoder = require(job.decoder)
        if decoder.encoding.format != "JPEG" or any(overlap(a, b) for a, b in combinations(job.squares, 2)):
            return
        with suppress(PhotoError):  # the decoder of pixels has put up with it
            header = read_header(job.data)
            coarse = any(max(header.tables[n]) >= _ROUNDS for n in header.table_of[1:])
            if not (coarse and can_keep_blocks(header, decoder, self.config)):
                return
            job.writable = Blocks(job.data, header, orientation(decoder.metadata))
            if not can_add(job.writable, job.squares) or encoding(job, self.config) != decoder.encoding:
                job.writable.close()
                job.writable = None

    def _decode_pixels(self, job: PhotoJob) -> None:
        """The pixels, upright, in place of blocks if there are any."""
        if job.blocks is not None:
            job.blocks.close()
            job.blocks = None
        job.photo = decode(require(job.decoder), Path(job.entry.name), strip_gps=self.config.strip_gps)

    def _pixels(self, job: PhotoJob) -> Pyramid:
        """The pixels of a photo that is searched, from here on in place of blocks if there are any."""
        if not isinstance(job.pyramid, Pyramid):
            self._decode_pixels(job)
            job.pyramid = Pyramid(require(job.photo).pixels)
        return job.pyramid

    def detect(self, job: PhotoJob) -> None:
        """The faces; a photo without any goes the way that ``--no-face`` says."""
        pixels = require(job.photo).pixels
        job.pyramid = Pyramid(pixels) if job.blocks is None else BlockPyramid(job.blocks)
        height, width = pixels.shape[:2] if job.blocks is None else (job.blocks.height, job.blocks.width)

        def small(width: int, height: int) -> UInt8:
            pyramid = job.pyramid
            if isinstance(pyramid, BlockPyramid) and pyramid.reaches(width, height):
                return pyramid(width, height)
            return self._pixels(job)(width, height)

        faces = tuple(self.detector.search(height, width, small))
        if not faces and self.config.no_face != "whole":
            self.faceless(job)
            return
        job.faces = faces or (whole(height, width),)

    def faceless(self, job: PhotoJob) -> None:
        """A photo without a face, which is copied or skipped."""
        if self.config.no_face == "skip":
            job.settle(Skipped(job.entry, _NO_FACE))
        else:
            self._copy(job)

    def crop(self, job: PhotoJob) -> None:
        """The faces, cut out for the generator."""
        job.squares = squares(job.faces)
        pyramid = job.pyramid
        assert pyramid is not None, "detection has made it"
        if isinstance(pyramid, BlockPyramid) and not self._keeps_blocks(job, pyramid.blocks):
            pyramid = self._pixels(job)
        job.crops = crops(pyramid, job.squares, size=self.crop_size)
        job.pyramid = None
        if job.blocks is None:
            self._open_writable(job)
        job.unscaled = self.judges is not None

    def _keeps_blocks(self, job: PhotoJob, blocks: Blocks) -> bool:
        """Whether faces can be changed in blocks: `--chroma` asks for no other subsampling, and no squares overlap."""
        return encoding(job, self.config) == require(job.decoder).encoding and can_add(blocks, job.squares)

    def strength(self, job: PhotoJob) -> None:
        """The strength of each face, for ``--strength auto``, and its perturbation scaled to it."""
        photo = replace(require(job.photo), encoding=encoding(job, self.config))
        stored = partial(self._as_stored, in_blocks=job.writable is not None)
        chosen = require(self.judges).scale(
            photo, job.faces, job.squares, require(job.deltas), base=self.budget.eps, stored=stored
        )
        job.deltas, job.strengths, job.unbroken = chosen.deltas, chosen.strengths, chosen.unbroken
        job.unscaled = False

    def _as_stored(self, part: Part, delta: Float32, budget: Budget, *, in_blocks: bool) -> UInt8:
        """The pixels of a part of a photo, its face protected by ``delta`` [3, S, S], once it is written and read.

        Args:
            part: of the photo.
            delta: the perturbation.
            budget: its own.
            in_blocks: whether the photo will be written by its blocks.
        """
        if self._target(part.photo) not in _LOSSY:
            return part.protected(delta, budget).pixels
        data = self._part_in_blocks(part, delta, budget) if in_blocks else None
        if data is None:
            data = encode(part.protected(delta, budget), form=self.config.format, quality=self.config.quality)
        return decode(open_picture(data, max_pixels=self.config.max_pixels), part.photo.source).pixels

    def _part_in_blocks(self, part: Part, delta: Float32, budget: Budget) -> bytes | None:
        """A part of a JPEG as a file of the same kind, its face's blocks changed; None where there is no such file."""
        plain = encode(Protected(part.photo, part.photo.pixels, (), 0))
        header, photo = read_header(plain), part.photo.encoding
        if (header.tables, header.subsampling) != (photo.quantization, photo.subsampling):
            return None
        with suppress(PhotoError):
            blocks = Blocks(plain, header)
            try:
                if can_add(blocks, [part.where]):
                    add(blocks, [part.where], delta[None], budget)
                    return blocks.write()
            finally:
                blocks.close()
        return None

    def views(self, job: PhotoJob) -> list[FaceView]:
        """The faces as they are in the photo, for an attack's refiner."""
        photo = require(job.photo)
        subsampled = is_subsampled(job, self._target(photo), self.config)
        grey = photo.encoding.mode in GREY
        return [FaceView(cut(photo.pixels, where), subsampled and not grey, grey) for where in job.squares]

    def encode(self, job: PhotoJob) -> None:
        """The protected photo as a file, with all that goes with it; a GPU may have blended and encoded it already."""
        output = output_metadata(job.data, require(job.photo), self.config, strength=self._strongest(job))
        if job.blocks is not None or job.writable is not None:
            self._change_blocks(job)
        if job.encoded is not None:
            data = with_metadata(job.encoded, output.metadata)
        else:
            protected = self._protected(job, output.metadata)
            data = encode(protected, form=self.config.format, quality=self.config.quality)
        self._written(job, data, output)

    def _change_blocks(self, job: PhotoJob) -> None:
        """The perturbations added to the blocks; the pixels, where the library cannot write those."""
        blocks = require(job.blocks or job.writable)
        linf = add(blocks, job.squares, require(job.deltas), Budget(self._strongest(job)))
        try:
            job.encoded = blocks.write()
        except PhotoError:
            job.writable = None
            if job.blocks is not None:
                self._decode_pixels(job)
            return
        job.linf, job.deltas = linf, None

    def _protected(self, job: PhotoJob, metadata: Metadata) -> Protected:
        """The photo with its perturbations blended in."""
        photo = replace(require(job.photo), metadata=metadata, encoding=encoding(job, self.config))
        if job.deltas is None:
            return Protected(photo, photo.pixels, job.faces, require(job.linf))
        protected = blend(photo, job.faces, job.squares, job.deltas, Budget(self._strongest(job)))
        job.linf, job.deltas = protected.linf, None
        return protected

    def _strongest(self, job: PhotoJob) -> float:
        """Strength of the strongest perturbation."""
        return max(job.strengths, default=self.budget.eps)

    def _written(self, job: PhotoJob, data: bytes, output: OutputMetadata) -> None:
        """The file, with what the manifest is to say of it."""
        entry, config, digest = job.entry, self.config, hashlib.sha256(data).hexdigest()
        measured = None
        if is_drawn(entry.name, config.verify):
            faces = job.squares if next(self._looks, None) is not None else ()
            measured = measure(entry, job.data, data, max_pixels=config.max_pixels, faces=faces)
        self._placeless(data)
        linf, least = require(job.linf), self._faces_from(job)
        said = (*_left_behind(job), *output.notes(require(job.decoder).frames))
        said += (_LOST,) if self._is_lost(job, data) else ()
        said += (unbroken(job.unbroken, len(job.faces)),) if job.unbroken else ()
        job.behind = 0
        weakened, strength = is_weakened(job, self._target(require(job.photo)), config), self._strongest(job)
        hashes = job.sha256, digest
        job.settle(
            Written(entry, entry.target, job.faces, linf, *hashes, measured, said, least, weakened, strength), data
        )

    def _is_lost(self, job: PhotoJob, data: bytes) -> bool:
        """Whether a JPEG of low quality shows what its source shows, to one level: its compression undid the change."""
        photo = require(job.photo)
        tables = photo.encoding.quantization
        if (
            job.blocks is not None
            or job.writable is not None
            or tables is None
            or tables[0][0] < _COARSE
            or self._target(photo) != "JPEG"
            or self.config.quality
        ):
            return False
        after = decode(open_picture(data, max_pixels=self.config.max_pixels), Path(job.entry.name))
        return after.pixels.shape == photo.pixels.shape and cv2.norm(after.pixels, photo.pixels, cv2.NORM_INF) <= 1

    def _faces_from(self, job: PhotoJob) -> int | None:
        decoder, faces = require(job.decoder), job.faces
        detections = () if len(faces) == 1 and faces[0].score == 1 else faces  # what stands for the whole picture
        return self.detector.faces_from(detections, decoder.height, decoder.width)

    def write(self, job: PhotoJob) -> None:
        """The bytes on disk, under a temporary name beside the final one."""
        entry = job.entry
        like = entry.source if self.config.times and isinstance(entry.source, Path) else None
        data = require(job.encoded)
        if job.behind and isinstance(self.out, OutFolder):
            job.staged = self.out.stage(entry.target, data, like=like, rest=_rest_of(entry, data, job.sha256))
        else:
            job.staged = self.out.stage(entry.target, data, like=like)
        job.encoded = None

    def _target(self, photo: Photo) -> str:
        return target_format(photo.encoding.format, self.config.format)

    def _placeless(self, data: bytes) -> None:
        """See, on the bytes that are to be written, that ``--strip-gps`` has done what it says."""
        if self.config.strip_gps and strip.still_names_place(data):
            raise PhotoError(
                "its metadata still states where it was taken, so nothing was written. Please report this file."
            )

    def _copy(self, job: PhotoJob) -> None:
        """A photo without a face: its own bytes, unless its format changes or a place has to go."""
        photo, decoder = require(job.photo), require(job.decoder)
        form = photo.encoding.format
        data: bytes | None = job.data
        trailer: Trailer | None = None
        said: tuple[str, ...] = ()
        behind = job.behind
        if self._target(photo) != form:
            data = None
        elif self.config.strip_gps:
            trailer = find_trailer(job.data, thorough=True) if form == "JPEG" else None
            bare = job.data if trailer is None else job.data[: trailer.offset]
            data = strip.without_place(bare, form, decoder.metadata)
            said, job.behind = tuple(_left_behind(job)), 0
        if data is None:
            data, changed = self._unchanged(photo, decoder.frames)
            said, job.behind = (*said, *_left_behind(job), *changed), 0
        elif decoder.frames > 1:
            said = (*said, f"{decoder.frames - 1} further frames or pages were not searched for faces")
        if data is not job.data:
            self._placeless(data)
        same = data is job.data and job.behind == behind
        digest = job.sha256 if same else hashlib.sha256(data).hexdigest()
        said = (*notes(1, trailer), *said)
        least = self._faces_from(job)
        job.settle(Copied(job.entry, job.entry.target, _NO_FACE, job.sha256, digest, said, least), data)

    def _unchanged(self, photo: Photo, frames: int) -> tuple[bytes, tuple[str, ...]]:
        """The photo written anew as it is, and what is to be said of that; ``frames`` is how many its file has."""
        metadata = carried(photo.metadata, self._target(photo), grey=is_grey(photo.encoding))
        photo = replace(photo, metadata=metadata)
        data = encode(
            Protected(photo, photo.pixels, (), 0, photo.deep), form=self.config.format, quality=self.config.quality
        )
        return data, (*notes(frames, None), *metadata.notes)


def encoding(job: PhotoJob, config: ProtectConfig) -> Encoding:
    """How the photo is to be stored: as it was, but for what ``--chroma`` says."""
    original = require(job.decoder).encoding
    full = config.chroma == "full" or (config.chroma == "auto" and _has_small_crops(job))
    return replace(original, subsampling="4:4:4") if full and original.subsampling else original


def can_keep_blocks(header: JpegHeader, decoder: Decoder, config: ProtectConfig) -> bool:
    """Whether the result differs from its source, a JPEG, in nothing but blocks of faces, as far as its header says."""
    turn = orientation(decoder.metadata)
    unchanged = config.quality is None and target_format("JPEG", config.format) == "JPEG" and not config.refine
    square = turn not in SIDEWAYS or len(set(header.sampling[0])) == 1  # else its subsampling would be turned, too
    return unchanged and square and all(table[0] < _COARSE for table in header.tables) and fits(header)


def is_weakened(job: PhotoJob, target: str, config: ProtectConfig) -> bool:
    """Whether the result's subsampled colour loses much of the perturbation of a face."""
    return is_subsampled(job, target, config) and _has_small_crops(job)


def is_subsampled(job: PhotoJob, target: str, config: ProtectConfig) -> bool:
    """Whether the result has less than the full resolution of colour."""
    return target in ("JPEG", "HEIF") and encoding(job, config).subsampling not in (None, "4:4:4")


def _has_small_crops(job: PhotoJob) -> bool:
    limit = SMALL_CROP_ENCODED if job.blocks is None and job.writable is None else SMALL_CROP
    return any(square.side < limit for square in job.squares)


def pixels_in_memory(width: int, height: int, config: ProtectConfig) -> int:
    """Pixels of a photo; more where all of it may count as one face, which is cut out as a square: strips cost most."""
    pixels = width * height
    if config.no_face != "whole" and config.detector != Whole.name:
        return pixels
    return pixels + (max(width, height) ** 2 - pixels) * _MEMORY_OF_A_SQUARE // MEMORY_A_PIXEL


def _picture(path: Path, form: str, size: int) -> tuple[bytes, str, int]:
    """The picture without what stands behind it in its file, the hash of the file, and how many bytes stand there."""
    with path.open("rb") as file:
        end = picture_end(file, form, size)
        file.seek(0)
        data = file.read(end)
        digest, behind = hashlib.sha256(data), 0
        while block := file.read(_BLOCK):
            digest.update(block)
            behind += len(block)
    return data, digest.hexdigest(), behind


def _rest_of(entry: Entry, data: bytes, sha256: str) -> Iterator[bytes]:
    """What stands behind ``data`` in the file, whose hash has to be what it was."""
    digest = hashlib.sha256(data)
    try:
        with entry.path.open("rb") as file:
            file.seek(len(data))
            while block := file.read(_BLOCK):
                digest.update(block)
                yield block
    except OSError as error:
        raise PhotoError(f"cannot read the data behind the image: {error.strerror}") from error
    if digest.hexdigest() != sha256:
        raise PhotoError("the file changed while it was being copied. Run the same command again.")


def _left_behind(job: PhotoJob) -> Iterator[str]:
    """What the manifest says of bytes that were never read into memory."""
    if job.behind:
        yield f"dropped trailing data ({job.behind / 1e6:.1f} MB)"


def _require_room(decoder: Decoder, size: int, config: ProtectConfig) -> None:
    """Refuse a photo that would not fit into ``--max-memory``, before it is decoded."""
    a_pixel = MEMORY_A_DEEP_PIXEL if "16" in decoder.encoding.mode else MEMORY_A_PIXEL
    need = pixels_in_memory(decoder.width, decoder.height, config) * a_pixel
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
