"""JPEG files to pixels by NVIDIA DALI: whole batches, several of them under way while the caller does something else.

On a CPU DALI decodes with libjpeg-turbo, as `dadfi_fast.images.decode.simplejpeg` does, to the same pixels. On a
GPU the card decodes, with its JPEG hardware where it has some. That has never run: no GPU was there.
"""

from __future__ import annotations

import functools
import importlib.util
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import simplejpeg
from numpy.typing import ArrayLike

from dadfi_fast.backends import cuda
from dadfi_fast.errors import BackendMissing
from dadfi_fast.images.decode.base import Decoder, Raster
from dadfi_fast.images.decode.simplejpeg import JpegDecoder
from dadfi_fast.images.jpeg import ADOBE, APP14, segments
from dadfi_fast.types import UInt8


class DeviceTensor(Protocol):
    """A picture on a GPU, as DALI hands it out; it has ``__dlpack__``, too."""

    def shape(self) -> Sequence[int]:
        """Height, width and 3."""

    def as_cpu(self) -> ArrayLike:
        """A copy in the memory of the CPU."""


#: [H, W, 3] uint8 RGB, as stored.
Picture: TypeAlias = UInt8 | DeviceTensor
#: Batches under way.
AHEAD: Final = 2
#: Of the graphics card's own decoding: the share that its JPEG hardware gets, where it has some.
_HARDWARE: Final = 0.9


def missing(device: str = "cpu") -> str | None:
    """Why DALI cannot run on ``device``, and how to fix it; None if it can. Loads no framework."""
    if importlib.util.find_spec("nvidia") is None or importlib.util.find_spec("nvidia.dali") is None:
        return "NVIDIA DALI is not installed (Linux only); run: pip install 'dadfi-fast[dali]'"
    return None if device == "cpu" else cuda.missing(device)


def takes(decoder: Decoder, data: bytes) -> bool:
    """Whether DALI gets this file: a whole grey or YCbCr JPEG of 8 bits with one of the usual subsamplings.

    All others have no hardware to decode them, or need a conversion that is ours (CMYK, 16 bits, alpha, frames). A file
    without its end is left to the decoder that says what is wrong with it: in DALI it would fail its whole batch.
    """
    if not isinstance(decoder, JpegDecoder) or decoder.width * decoder.height > _LARGEST:
        return False
    if decoder.encoding.mode == "RGB" and (decoder.encoding.subsampling is None or _stored_as_rgb(data)):
        return False
    return data.rfind(b"\xff\xd9") > 0


#: DALI's arrays are counted in 32 bits in places.
_LARGEST: Final = 2**31 // 3


def _stored_as_rgb(data: bytes) -> bool:
    """Adobe's marker says that the three components are not YCbCr (ITU-T T.872, 6.5.3)."""
    adobe = (each.payload for each in segments(data) if each.marker == APP14 and each.payload.startswith(ADOBE))
    return any(len(payload) > 11 and payload[11] == 0 for payload in adobe)


class Dali:
    """A DALI pipeline that decodes; made once a run.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: of DALI's own, for decoding on the CPU and for what the card leaves to it.
        batch: most pictures of a batch.

    Raises:
        BackendMissing: DALI is not installed, or there is no such device.
    """

    def __init__(self, *, device: str = "cpu", threads: int = 1, batch: int = 16) -> None:
        if (why := missing(device)) is not None:
            raise BackendMissing(f"decoder dali cannot run: {why}")
        self.device, self.threads, self.batch = device, threads, batch
        self._waiting: deque[Sequence[bytes]] = deque()
        self._pipeline = self._built()

    def begin(self, files: Sequence[bytes]) -> None:
        """Let a batch be decoded in the background; at most `AHEAD` may be under way."""
        assert 0 < len(files) <= self.batch, f"{len(files)} files are not a batch of at most {self.batch}"
        assert len(self._waiting) < AHEAD, "collect a batch before the next one begins"
        self._waiting.append(files)
        self._schedule(files)

    def finish(self) -> list[Picture | None]:
        """The oldest batch that is under way, waited for.

        Returns:
            for every file [H, W, 3] uint8 RGB as stored, not turned upright: on a CPU an array that may be
            written to, on a GPU DALI's own tensor, which has ``__dlpack__``. None for files that DALI cannot decode:
            they cost no other one its place. What they suffer from, the CPU's decoders tell.
        """
        files = self._waiting.popleft()
        try:
            return self._collected()
        except Exception:  # DALI's own are of many kinds; one file is to blame: each on its own
            self._pipeline = self._built()  # one that has failed is of no more use
        decoded = [self._alone(file) for file in files]
        for each in self._waiting:  # these were lost with it
            self._schedule(each)
        return decoded

    def _alone(self, file: bytes) -> Picture | None:
        try:
            self._schedule([file])
            return self._collected()[0]
        except Exception:
            self._pipeline = self._built()
            return None

    def _schedule(self, files: Sequence[bytes]) -> None:
        self._pipeline.feed_input("files", [np.frombuffer(file, np.uint8) for file in files])
        self._pipeline.schedule_run()

    def _collected(self) -> list[Picture | None]:
        (images,) = self._pipeline.share_outputs()
        try:
            # With DALI's dynamic executor what is handed out lives as long as somebody holds it, without a copy.
            each = (images[index] for index in range(len(images)))
            return [np.asarray(one) for one in each] if self.device == "cpu" else list(each)
        finally:
            self._pipeline.release_outputs()

    def _built(self) -> Any:
        from nvidia.dali import Pipeline, fn, types

        on_cpu = self.device == "cpu"
        pipeline = Pipeline(
            batch_size=self.batch,
            num_threads=self.threads,
            device_id=None if on_cpu else cuda.number(self.device),
            prefetch_queue_depth=AHEAD,
            exec_dynamic=True,
        )
        # Chroma is interpolated, as libjpeg-turbo does it by default.
        more: dict[str, Any] = {} if on_cpu else {"jpeg_fancy_upsampling": True, "hw_decoder_load": _HARDWARE}
        with pipeline:
            files = fn.external_source(name="files", device="cpu", no_copy=False)
            images = fn.decoders.image(
                files,
                device="cpu" if on_cpu else "mixed",
                output_type=types.RGB,
                adjust_orientation=False,
                **more,
            )
            pipeline.set_outputs(images)
        pipeline.build()
        # Its first call runs as many batches as the queue is deep: tiny ones, which get the decoder ready as well.
        for _ in range(AHEAD):
            pipeline.feed_input("files", [np.frombuffer(_tiny(), np.uint8)])
        pipeline.schedule_run()
        for _ in range(AHEAD):
            pipeline.share_outputs()
            pipeline.release_outputs()
        return pipeline


@functools.cache
def _tiny() -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8)))


class Decoded(Decoder):
    """A file whose pixels are there already: handed out once."""

    def __init__(self, decoder: Decoder, pixels: UInt8) -> None:
        self.width, self.height, self.frames = decoder.width, decoder.height, decoder.frames
        self.encoding, self.metadata = decoder.encoding, decoder.metadata
        self._raster: Raster | None = Raster(pixels)

    def decode(self) -> Raster:
        raster, self._raster = self._raster, None  # whoever turns it holds the only copy
        assert raster is not None, "these pixels were handed out before"
        return raster
