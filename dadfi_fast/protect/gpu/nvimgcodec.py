"""JPEG by nvImageCodec, from pixels that lie on an NVIDIA GPU: what crosses the bus is the encoded stream.

On a CPU the same calls go to the OpenCV that nvImageCodec brings along, which is how the tests run them; on a GPU
they go to nvJPEG, and have never run.
"""

from __future__ import annotations

import importlib.util
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dadfi_fast.backends import cuda
from dadfi_fast.errors import BackendMissing, PhotoError
from dadfi_fast.images.encode import JpegSettings
from dadfi_fast.images.jpeg import read_header

if TYPE_CHECKING:
    from torch import Tensor

#: Ours -> the name in nvImageCodec's `ChromaSubsampling`.
_SAMPLING: Final = {name: f"CSS_{name.replace(':', '')}" for name in ("4:4:4", "4:4:0", "4:2:2", "4:2:0", "4:1:1")}


@dataclass(frozen=True, eq=False)
class EncodeRequest:
    """A photo to be encoded."""

    pixels: Tensor  # [H, W, 3] uint8 RGB, contiguous, on the encoder's device
    settings: JpegSettings


def missing(device: str = "cpu") -> str | None:
    """Why nvImageCodec cannot run on ``device``, and how to fix it; None if it can. Loads no framework."""
    if importlib.util.find_spec("nvidia") is None or importlib.util.find_spec("nvidia.nvimgcodec") is None:
        return "nvImageCodec is not installed; run: pip install 'dadfi-fast[dali]'"
    return None if device == "cpu" else cuda.missing(device)


def takes(settings: JpegSettings) -> bool:
    """The rule: baseline, with the tables of a quality from 1 to 100. All others are for the CPU's codec.

    nvImageCodec takes a quality and no tables; and a progressive file is written by Pillow, scan by scan as it was.
    """
    return (
        settings.quality is not None
        and not settings.progressive
        and (settings.grey or settings.subsampling in _SAMPLING)
    )


class NvImageCodec:
    """Encodes many photos at once; made once a run.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: of the CPU, for what the encoder does there.

    Raises:
        BackendMissing: nvImageCodec is not installed, or there is no such device.
    """

    def __init__(self, *, device: str = "cpu", threads: int = 1) -> None:
        if (why := missing(device)) is not None:
            raise BackendMissing(f"nvImageCodec cannot run: {why}")
        os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")  # it writes to stderr what comes back as None, too
        from nvidia import nvimgcodec

        self._library, self._device = nvimgcodec, device
        kinds = nvimgcodec.BackendKind
        # On a GPU no other encoder may step in, which would fetch the pixels: that is for our own codec to do.
        on_card = [nvimgcodec.Backend(kind) for kind in (kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU, kinds.HW_GPU_ONLY)]
        self._encoder = nvimgcodec.Encoder(
            device_id=nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY if device == "cpu" else cuda.number(device),
            max_num_cpu_threads=threads,
            backends=None if device == "cpu" else on_card,
        )

    def __call__(self, requests: Sequence[EncodeRequest]) -> list[bytes | None]:
        """The JPEG streams, without metadata; None for a photo that is left to the CPU's codec.

        That is one that `takes` excludes, that nvImageCodec refuses, or that comes out with other tables, sampling or
        size than it was to have: every stream's header is read again. Photos go together that have the same settings
        and a like size (within a factor of two), so that buffers on the card are made for one size at a time.
        """
        classes: dict[Any, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            if takes(request.settings):
                classes[_class(request)].append(index)
        streams: list[bytes | None] = [None] * len(requests)
        for indices in classes.values():
            for index, stream in zip(indices, self._encoded([requests[n] for n in indices]), strict=True):
                streams[index] = stream if stream is not None and _settings_match(stream, requests[index]) else None
        return streams

    def _encoded(self, requests: Sequence[EncodeRequest]) -> list[bytes | None]:
        settings = requests[0].settings
        colours = [request.pixels[..., :1].contiguous() if settings.grey else request.pixels for request in requests]
        arrays = [each.numpy() if self._device == "cpu" else each for each in colours]
        streams = self._encoder.encode(arrays, "jpeg", params=self._parameters(settings), cuda_stream=self._stream())
        return [None if stream is None else bytes(memoryview(stream)) for stream in streams]

    def _parameters(self, settings: JpegSettings) -> Any:
        library = self._library
        sampling = "CSS_GRAY" if settings.grey else _SAMPLING[settings.subsampling]
        return library.EncodeParams(
            quality_type=library.QualityType.QUALITY,
            quality_value=settings.quality,
            chroma_subsampling=getattr(library.ChromaSubsampling, sampling),
            jpeg_encode_params=library.JpegEncodeParams(progressive=False, optimized_huffman=False),
        )

    def _stream(self) -> int:
        """The stream on which the pixels are made, which the encoder waits for."""
        from dadfi_fast.backends.on_device import stream_handle

        return stream_handle(self._device)


def _class(request: EncodeRequest) -> tuple[int | None, str, bool, int]:
    settings = request.settings
    return (
        settings.quality,
        settings.subsampling,
        settings.grey,
        (request.pixels.shape[0] * request.pixels.shape[1]).bit_length(),
    )


def _settings_match(stream: bytes, request: EncodeRequest) -> bool:
    """Whether the stream has the tables, sampling and size that were asked for."""
    try:
        header = read_header(stream)
    except PhotoError:
        return False
    sampling = (
        len(header.sampling) == 1 if request.settings.grey else header.subsampling == request.settings.subsampling
    )
    size = (header.height, header.width) == tuple(request.pixels.shape[:2])
    return (
        size and sampling and not header.progressive and header.tables == request.settings.tables[: len(header.tables)]
    )
