"""Photos that stay on a GPU from the decoder to the encoder: compressed bytes go there, compressed bytes come back.

DALI decodes, faces are cut out, perturbed by the backend and blended in, nvImageCodec encodes. What else crosses the
bus is small: rows of possible faces, and the largest change of each photo. On a GPU this has never run; the tests run
it on a CPU, where every step has the same code and the memory is another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from dadfi_fast.attacks.generator import GeneratorAttack
from dadfi_fast.backends.on_device import OnDevice
from dadfi_fast.faces.align import whole
from dadfi_fast.faces.detector import Detector
from dadfi_fast.faces.on_device import cut, shrink, to_network, upright
from dadfi_fast.faces.yunet import YuNet
from dadfi_fast.images.decode import cleaned, orientation
from dadfi_fast.images.encode import jpeg_settings, target_format
from dadfi_fast.protect.crop import squares
from dadfi_fast.protect.gpu.blend import blend
from dadfi_fast.protect.gpu.dali import Dali, Picture
from dadfi_fast.protect.gpu.dali_stage import decoded, is_for_dali
from dadfi_fast.protect.gpu.nvimgcodec import EncodeRequest, NvImageCodec
from dadfi_fast.protect.job import PhotoJob, require
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.results import Failed
from dadfi_fast.protect.stages import Stages, encoding
from dadfi_fast.types import Face, Photo, UInt8

if TYPE_CHECKING:
    from torch import Tensor

#: Pixels of a batch, and of the largest photo that goes to the card. A photo there takes 3 bytes a pixel as decoded, 3
#: for the copy that is changed, and 3 more where it is turned; two further batches wait, decoded. One photo at a time
#: takes 24 more while it is shrunk, and one face at a time 27 for each pixel of its square and 38 for each of those
#: within the photo. That comes to 1.4 GB with photos of 12 megapixels, and to 10 GB at the very worst. It is counted,
#: not measured, and the generator, the detector and what nvJPEG asks for come on top.
PIXELS: Final = 50_000_000
#: The square of a photo's longer side, for the same reason: a face may be as long as a panorama.
_SQUARE: Final = 2 * PIXELS
_NO_PIXELS: Final = np.empty((0, 0, 3), np.uint8)

#: Pictures on the device to their faces.
Search: TypeAlias = "Callable[[Sequence[Tensor]], list[list[Face]]]"
#: A photo, and its pixels on the device: [H, W, 3] uint8.
DevicePhoto: TypeAlias = "tuple[PhotoJob, Tensor]"


class GpuPipeline:
    """Call it with an iterator of jobs; photos that it can do come out with their perturbations blended in, or with
    their outcome, and all others as they came, in order.

    Args:
        stages: of this run.
        attack: the generator, on a backend that takes crops where they lie (`OnDevice.resident`).
        dali: decodes, on the same device.
        codec: encodes there.
        meter: is told what it takes.
    """

    def __init__(self, stages: Stages, attack: GeneratorAttack, dali: Dali, codec: NvImageCodec, meter: Meter) -> None:
        assert isinstance(attack.backend, OnDevice), f"{attack.backend.describe} takes no crops that lie on a device"
        self._stages, self._dali, self._codec, self._meter = stages, dali, codec, meter
        self._attack, self._backend = attack, attack.backend
        self._search = search(stages.detector, dali.device)

    def __call__(self, jobs: Iterable[PhotoJob]) -> Iterator[PhotoJob]:
        for group, pictures, seconds in decoded(jobs, self._dali, pixels=PIXELS, take=fits):
            start = time.perf_counter() - seconds
            self._together([(group.jobs[index], on_device(picture)) for index, picture in pictures.items()])
            seconds = time.perf_counter() - start
            if pictures:
                self._meter.add("perturb", seconds, len(pictures))
            for index, job in enumerate(group.jobs):
                if index in pictures:
                    job.entry.clock.seconds += seconds / len(pictures)
                yield job

    def _together(self, photos: Sequence[DevicePhoto]) -> None:
        try:
            self._work_on(photos)
        except Exception:  # one of them may be to blame: each on its own
            for job, pixels in photos:
                if job.outcome is None:
                    self._alone(job, pixels)

    def _alone(self, job: PhotoJob, pixels: Tensor) -> None:
        try:
            self._work_on([(job, pixels)])
        except Exception as error:
            job.settle(Failed(job.entry, "perturb", error))

    def _work_on(self, photos: Sequence[DevicePhoto]) -> None:
        """Bring photos up to the stage ``encode``, or do what `Stages.faceless` says; after a fault, again."""
        turned = [upright(pixels, orientation(require(job.decoder).metadata)) for job, pixels in photos]
        protected: list[DevicePhoto] = []
        for (job, _), pixels, faces in zip(photos, turned, self._search(turned), strict=True):
            if not faces and self._stages.config.no_face != "whole":
                self._faceless(job, pixels)
            else:
                job.faces = tuple(faces) or (whole(*pixels.shape[:2]),)
                job.squares = squares(job.faces)
                protected.append((job, pixels))
        if protected:
            self._encode(protected)

    def _encode(self, photos: Sequence[DevicePhoto]) -> None:
        import torch

        size = self._stages.crop_size
        crops = [to_network(cut(pixels, square), size) for job, pixels in photos for square in job.squares]
        deltas = self._perturbed(torch.stack(crops)).split([len(job.squares) for job, _ in photos])
        grey = [require(job.decoder).encoding.mode == "L" for job, _ in photos]
        blended = [
            blend(pixels, job.squares, delta, self._stages.budget, grey=is_grey)
            for (job, pixels), delta, is_grey in zip(photos, deltas, grey, strict=True)
        ]
        # This waits until all of it is done, so that DALI may have the memory of its pictures back.
        largest = torch.stack([linf for _, linf in blended]).tolist()
        jobs = [job for job, _ in photos]
        streams = self._streams(jobs, [pixels for pixels, _ in blended])
        for job, (pixels, _), linf, stream in zip(jobs, blended, largest, streams, strict=True):
            job.photo, job.linf, job.encoded = self._photo(job, pixels, stream is None), linf, stream

    def _perturbed(self, crops: Tensor) -> Tensor:
        """Perturbations [B, 3, S, S] within the budget; the generator sees whole batches only, filled up."""
        import torch

        size, eps = self._stages.config.crops_a_batch, self._attack.budget.eps
        filled = torch.cat([crops, crops[-1:].expand(-len(crops) % size, -1, -1, -1)]).contiguous()
        deltas = torch.cat([self._backend.resident(part) for part in filled.split(size)])
        return (deltas[: len(crops)] * float(self._attack.scale)).clamp(-eps, eps)

    def _streams(self, jobs: Sequence[PhotoJob], pixels: Sequence[Tensor]) -> list[bytes | None]:
        config = self._stages.config
        if target_format("JPEG", config.format) != "JPEG":
            return [None] * len(jobs)
        settings = (jpeg_settings(encoding(job, config), config.quality) for job in jobs)
        return self._codec([EncodeRequest(each, how) for each, how in zip(pixels, settings, strict=True)])

    def _faceless(self, job: PhotoJob, pixels: Tensor) -> None:
        """With pixels only where another format asks for them: else its own bytes are copied."""
        fetched = target_format("JPEG", self._stages.config.format) != "JPEG"
        job.photo = self._photo(job, pixels, fetched)
        self._stages.faceless(job)

    def _photo(self, job: PhotoJob, pixels: Tensor, fetched: bool) -> Photo:
        decoder = require(job.decoder)
        metadata = cleaned(decoder.metadata, strip_gps=self._stages.config.strip_gps)
        on_cpu: UInt8 = pixels.cpu().numpy() if fetched else _NO_PIXELS
        return Photo(Path(job.entry.name), on_cpu, decoder.encoding, metadata)


def fits(job: PhotoJob) -> bool:
    """Whether this is a photo for the card; larger ones go to the CPU, in the same run."""
    if not is_for_dali(job):
        return False
    decoder = require(job.decoder)
    longer = max(decoder.width, decoder.height)
    return job.pixels <= PIXELS and longer * longer <= _SQUARE


def searched_on(detector: Detector, device: str) -> tuple[str, str | None]:
    """Where faces are looked for, with photos on ``device``; and why not there, where it is elsewhere."""
    if not isinstance(detector, YuNet):
        return "cpu", f"{detector.name} runs on CPUs only"
    from dadfi_fast.faces.yunet_batch import missing

    why = missing(device)
    return ("cpu", why) if why else (device, None)


def search(detector: Detector, device: str) -> Search:
    """How faces are found: YuNet looks at all pictures of a batch where they lie, others at small copies, fetched.

    Small faces in large photos are looked for in fetched copies too, by either: few photos need that.
    """
    if isinstance(detector, YuNet) and searched_on(detector, device)[0] == device:
        from dadfi_fast.faces.yunet_batch import YuNetBatch, searched_at

        batch = YuNetBatch(detector.model, device=device)

        def completed(pixels: Tensor, faces: list[Face]) -> list[Face]:
            height, width = pixels.shape[:2]
            return detector.with_small_ones(height, width, _fetcher(pixels), faces, searched_at(faces, height, width))

        return lambda pictures: [completed(*each) for each in zip(pictures, batch(pictures), strict=True)]

    return lambda pictures: [detector.search(each.shape[0], each.shape[1], _fetcher(each)) for each in pictures]


def _fetcher(pixels: Tensor) -> Callable[[int, int], UInt8]:
    """Brings shrunk copies of a picture to the CPU."""

    def small(width: int, height: int) -> UInt8:
        fetched: UInt8 = shrink(pixels, width, height).permute(1, 2, 0).contiguous().byte().cpu().numpy()
        return fetched

    return small


def on_device(picture: Picture) -> Tensor:
    """What DALI hands out, as a tensor in the same memory."""
    import torch
    from torch.utils.dlpack import from_dlpack

    return torch.from_numpy(picture) if isinstance(picture, np.ndarray) else from_dlpack(picture)
