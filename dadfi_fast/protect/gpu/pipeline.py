"""Photos that stay on a GPU from the decoder to the encoder: compressed bytes go there, compressed bytes come back.

DALI decodes, faces are cut out, perturbed by the backend and blended in, nvImageCodec encodes. What else crosses the
bus is small: rows of possible faces, and the largest change of each photo. On a GPU this has never run; the tests run
it on a CPU, where every step has the same code and the memory is another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from dadfi_fast.attacks.generator import GeneratorAttack
from dadfi_fast.backends.on_device import OnDevice
from dadfi_fast.faces.align import Square, whole
from dadfi_fast.faces.detector import Detector
from dadfi_fast.faces.on_device import cut, shrink, to_network, upright
from dadfi_fast.faces.yunet import YuNet
from dadfi_fast.images.decode import cleaned, orientation
from dadfi_fast.images.encode import jpeg_settings, target_format
from dadfi_fast.protect.crop import squares
from dadfi_fast.protect.gpu.blend import blend
from dadfi_fast.protect.gpu.dali import Dali
from dadfi_fast.protect.gpu.dali_stage import decoded, is_for_dali
from dadfi_fast.protect.gpu.nvimgcodec import Job, NvImageCodec
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.results import Failed
from dadfi_fast.protect.stages import Loaded, Ready, Seen, Stages
from dadfi_fast.types import Face, Float32, Photo, UInt8

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
_NO_CROPS: Final[Float32] = np.empty((0, 3, 1, 1), np.float32)

#: Pictures on the device to their faces.
Search: TypeAlias = "Callable[[Sequence[Tensor]], list[list[Face]]]"


@dataclass(frozen=True, eq=False)
class DevicePhoto:
    """A photo whose pixels are on the device."""

    loaded: Loaded
    pixels: Tensor  # [H, W, 3] uint8, upright
    faces: tuple[Face, ...]
    where: tuple[Square, ...]


class GpuPipeline:
    """Call it with an iterator of items; photos that it can do come out `Ready`, all others as they came, in order.

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

    def __call__(self, items: Iterable[Any]) -> Iterator[Any]:
        for group, there, seconds in decoded(items, self._dali, pixels=PIXELS, take=fits):
            start = time.perf_counter() - seconds
            made = self._together([(group.items[place], on_device(pixels)) for place, pixels in there.items()])
            done, seconds = dict(zip(there, made, strict=True)), time.perf_counter() - start
            if done:
                self._meter.add("perturb", seconds, len(done))
            for place, item in enumerate(group.items):
                if place in done:
                    item.entry.clock.seconds += seconds / len(done)
                yield done.get(place, item)

    def _together(self, photos: Sequence[tuple[Loaded, Tensor]]) -> list[Any]:
        try:
            return self._done(photos)
        except Exception:  # one of them may be to blame: each on its own
            return [self._alone(photo) for photo in photos]

    def _alone(self, photo: tuple[Loaded, Tensor]) -> Any:
        try:
            return self._done([photo])[0]
        except Exception as error:
            return Failed(photo[0].entry, "perturb", error)

    def _done(self, photos: Sequence[tuple[Loaded, Tensor]]) -> list[Any]:
        """What becomes of each: `Ready`, or what `Stages.faceless` says."""
        turned = [upright(pixels, orientation(loaded.decoder.metadata)) for loaded, pixels in photos]
        done: list[Any] = [None] * len(photos)
        seen: dict[int, DevicePhoto] = {}
        for place, ((loaded, _), pixels, found) in enumerate(zip(photos, turned, self._search(turned), strict=True)):
            if not found and self._stages.config.no_face != "whole":
                done[place] = self._stages.faceless(self._faceless(loaded, pixels))
            else:
                faces = tuple(found) or (whole(*pixels.shape[:2]),)
                seen[place] = DevicePhoto(loaded, pixels, faces, squares(faces))
        for place, ready in zip(seen, self._encoded(list(seen.values())), strict=True):
            done[place] = ready
        return done

    def _encoded(self, photos: Sequence[DevicePhoto]) -> list[Ready]:
        import torch

        if not photos:
            return []
        size = self._stages.crop_size
        crops = [to_network(cut(photo.pixels, where), size) for photo in photos for where in photo.where]
        deltas = self._perturbed(torch.stack(crops)).split([len(photo.where) for photo in photos])
        blended = [
            blend(photo.pixels, photo.where, delta, self._stages.budget, grey=photo.loaded.decoder.encoding.mode == "L")
            for photo, delta in zip(photos, deltas, strict=True)
        ]
        # This waits until all of it is done, so that DALI may have the memory of its pictures back.
        largest = torch.stack([linf for _, linf in blended]).tolist()
        streams = self._streams(photos, [pixels for pixels, _ in blended])
        return [
            Ready(photo.loaded, self._photo(photo.loaded, pixels, stream is None), photo.faces, linf, stream)
            for photo, (pixels, _), linf, stream in zip(photos, blended, largest, streams, strict=True)
        ]

    def _perturbed(self, crops: Tensor) -> Tensor:
        """Perturbations [B, 3, S, S] within the budget; the generator sees whole batches only, filled up."""
        import torch

        size, eps = self._stages.config.crops_a_batch, self._attack.budget.eps
        filled = torch.cat([crops, crops[-1:].expand(-len(crops) % size, -1, -1, -1)]).contiguous()
        made = torch.cat([self._backend.resident(part) for part in filled.split(size)])
        return (made[: len(crops)] * float(self._attack.scale)).clamp(-eps, eps)

    def _streams(self, photos: Sequence[DevicePhoto], pixels: Sequence[Tensor]) -> list[bytes | None]:
        config = self._stages.config
        if target_format("JPEG", config.format) != "JPEG":
            return [None] * len(photos)
        settings = (jpeg_settings(photo.loaded.decoder.encoding, config.quality) for photo in photos)
        return self._codec([Job(each, how) for each, how in zip(pixels, settings, strict=True)])

    def _faceless(self, loaded: Loaded, pixels: Tensor) -> Seen:
        """With pixels only where another format asks for them: else its own bytes are copied."""
        fetched = target_format("JPEG", self._stages.config.format) != "JPEG"
        return Seen(loaded, self._photo(loaded, pixels, fetched), (), (), _NO_CROPS)

    def _photo(self, loaded: Loaded, pixels: Tensor, fetched: bool) -> Photo:
        metadata = cleaned(loaded.decoder.metadata, strip_gps=self._stages.config.strip_gps)
        here: UInt8 = pixels.cpu().numpy() if fetched else _NO_PIXELS
        return Photo(Path(loaded.entry.name), here, loaded.decoder.encoding, metadata)


def fits(item: Any) -> bool:
    """Whether this is a photo for the card; larger ones go to the CPU, in the same run."""
    if not is_for_dali(item):
        return False
    loaded: Loaded = item
    longer = max(loaded.decoder.width, loaded.decoder.height)
    return loaded.pixels <= PIXELS and longer * longer <= _SQUARE


def searched_on(detector: Detector, device: str) -> tuple[str, str | None]:
    """Where faces are looked for, with photos on ``device``; and why not there, where it is elsewhere."""
    if not isinstance(detector, YuNet):
        return "cpu", f"{detector.name} runs on CPUs only"
    from dadfi_fast.faces.yunet_batch import missing

    why = missing(device)
    return ("cpu", why) if why else (device, None)


def search(detector: Detector, device: str) -> Search:
    """How faces are found: YuNet looks at all pictures of a batch where they lie, others at small copies, fetched."""
    if isinstance(detector, YuNet) and searched_on(detector, device)[0] == device:
        from dadfi_fast.faces.yunet_batch import YuNetBatch

        return YuNetBatch(detector.model, device=device)

    def one(pixels: Tensor) -> list[Face]:
        def small(width: int, height: int) -> UInt8:
            fetched: UInt8 = shrink(pixels, width, height).permute(1, 2, 0).contiguous().byte().cpu().numpy()
            return fetched

        height, width = pixels.shape[:2]
        return detector.search(height, width, small)

    return lambda pictures: [one(each) for each in pictures]


def on_device(pixels: Any) -> Tensor:
    """What DALI hands out, as a tensor in the same memory."""
    import torch
    from torch.utils.dlpack import from_dlpack

    return torch.from_numpy(pixels) if isinstance(pixels, np.ndarray) else from_dlpack(pixels)
