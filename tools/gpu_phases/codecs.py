"""JPEG in memory to pixels, pixels to the generator, pixels to JPEG: whatever decoders and encoders are installed."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from dadfi_fast.bench.rows import summarise
from dadfi_fast.models.generator import Generator
from gpu_phases import Clock
from gpu_phases.plan import Plan
from gpu_phases.results import Notes
from gpu_phases.timing import rates

#: Files to pictures [H, W, 3] uint8 (arrays, or tensors [3, H, W] on the GPU), and the way back.
Decode: TypeAlias = Callable[[Sequence[bytes]], Sequence[Any]]
Encode: TypeAlias = Callable[[Sequence[Any]], Sequence[bytes]]
QUALITY = 90
SIZE, SMALL = (1600, 1200), (320, 300)
COUNT, KINDS = 16, 2


def run(plan: Plan, clock: Clock) -> None:
    """Each decoder and encoder alone, then each pair with the generator between them."""
    notes = Notes(plan)
    size = SIZE if plan.on_gpu else SMALL
    files = _files(*size) * (COUNT // KINDS if plan.on_gpu else 1)
    codecs = {name: make for name, (module, make) in CODECS.items() if _there(module)}
    seconds = min(1.5 if plan.on_gpu else 0.05, clock.left() / 15)
    for name, make in codecs.items():
        if clock.left() < 3 * seconds:
            return
        try:
            decode, encode = make(plan)()
            pictures = decode(files)
            whole = _protect(plan, decode, encode)
            work: dict[str, Callable[[], object]] = {
                "decode": lambda decode=decode: decode(files),
                "encode": lambda encode=encode, pictures=pictures: encode(pictures),
                "decode, generator, encode": lambda whole=whole: whole(files),
            }
            for case, call in work.items():
                measured = rates(lambda call=call: _waited(call, plan), len(files), "cpu", seconds=seconds)
                facts = {"megapixels": size[0] * size[1] / 1e6, "batch": len(files), "quality": QUALITY} | notes.gpu
                row = summarise(case, name, measured, unit="images/s", driver=notes.driver, config=facts)
                notes.rows([row])
        except Exception as error:  # a library that is there and does not work
            print(f"{name}: {type(error).__name__}: {error}", flush=True)


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def _files(width: int, height: int) -> list[bytes]:
    """Photo-like JPEG files: soft gradients and some noise."""
    from PIL import Image

    y, x = np.mgrid[0:height, 0:width]
    rng, files = np.random.default_rng(0), []
    for number in range(KINDS):
        waves = [np.sin(x / (23 + number) + y / 31), np.cos(x / 37 - y / 17), np.sin((x + 2 * y) / 41)]
        pixels = np.stack([127 + 80 * wave for wave in waves], -1) + rng.normal(0, 6, (height, width, 3))
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
        files.append(file.getvalue())
    return files


def _protect(plan: Plan, decode: Decode, encode: Encode) -> Callable[[Sequence[bytes]], object]:
    """Files to protected files, without a search for faces: the middle 256 px of each picture."""
    generator = Generator("s").eval()
    if plan.on_gpu:
        generator = generator.to(plan.device, torch.float16).to(memory_format=torch.channels_last)
    dtype = torch.float16 if plan.on_gpu else torch.float32

    @torch.inference_mode()
    def work(files: Sequence[bytes]) -> object:
        pictures = decode(files)
        crops = torch.stack([_middle(picture).to(plan.device, dtype) for picture in pictures])
        x = crops / 127.5 - 1
        x = x.contiguous(memory_format=torch.channels_last) if plan.on_gpu else x
        changed = ((x + generator(x) + 1) * 127.5).round().clamp(0, 255).byte()
        for picture, crop in zip(pictures, changed, strict=True):
            _middle(picture).copy_(crop)
        return encode(pictures)

    return work


def _middle(picture: Any) -> torch.Tensor:
    """A view of the middle 256 px, [3, 256, 256]."""
    whole = torch.from_numpy(picture).permute(2, 0, 1) if isinstance(picture, np.ndarray) else picture
    top, left = (whole.shape[1] - 256) // 2, (whole.shape[2] - 256) // 2
    return whole[:, top : top + 256, left : left + 256]


def _waited(call: Callable[[], object], plan: Plan) -> None:
    call()
    if plan.on_gpu:
        torch.cuda.synchronize()


def _pillow(plan: Plan) -> Callable[[], tuple[Decode, Encode]]:
    from PIL import Image

    def encode(pictures: Sequence[Any]) -> list[bytes]:
        files = [io.BytesIO() for _ in pictures]
        for picture, file in zip(pictures, files, strict=True):
            Image.fromarray(picture).save(file, "JPEG", quality=QUALITY)
        return [file.getvalue() for file in files]

    return lambda: (lambda files: [np.array(Image.open(io.BytesIO(data))) for data in files], encode)


def _opencv(plan: Plan) -> Callable[[], tuple[Decode, Encode]]:
    """Its pictures are BGR, which changes nothing of the time."""
    import cv2

    settings = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    return lambda: (
        lambda files: [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in files],
        lambda pictures: [cv2.imencode(".jpg", picture, settings)[1].tobytes() for picture in pictures],
    )


def _simplejpeg(plan: Plan) -> Callable[[], tuple[Decode, Encode]]:
    import simplejpeg

    return lambda: (
        lambda files: [simplejpeg.decode_jpeg(data) for data in files],
        lambda pictures: [simplejpeg.encode_jpeg(picture, quality=QUALITY) for picture in pictures],
    )


def _torchvision(plan: Plan) -> Callable[[], tuple[Decode, Encode]]:
    """On a GPU this is nvJPEG, in batches."""
    from torchvision.io import decode_jpeg, encode_jpeg

    def decode(files: Sequence[bytes]) -> Sequence[Any]:
        data = [torch.from_numpy(np.frombuffer(file, np.uint8).copy()) for file in files]
        tensors: Sequence[Any] = decode_jpeg(data, device=plan.device)
        return tensors

    return lambda: (decode, lambda pictures: encode_jpeg(list(pictures), quality=QUALITY))


def _nvimgcodec(plan: Plan) -> Callable[[], tuple[Decode, Encode]]:
    from nvidia import nvimgcodec

    def make() -> tuple[Decode, Encode]:
        decoder, encoder = nvimgcodec.Decoder(), nvimgcodec.Encoder()
        params = nvimgcodec.EncodeParams(quality_value=QUALITY)

        def decode(files: Sequence[bytes]) -> Sequence[Any]:
            return [torch.from_dlpack(image).permute(2, 0, 1) for image in decoder.decode(list(files))]

        def encode(pictures: Sequence[Any]) -> Sequence[bytes]:
            images = [nvimgcodec.as_image(picture.permute(1, 2, 0).contiguous()) for picture in pictures]
            streams: Sequence[bytes] = encoder.encode(images, codec="jpeg", params=params)
            return streams

        return decode, encode

    return make


#: By name: the module that has to be there, and what makes decoder and encoder.
CODECS: dict[str, tuple[str, Callable[[Plan], Callable[[], tuple[Decode, Encode]]]]] = {
    "torchvision": ("torchvision", _torchvision),
    "pillow": ("PIL", _pillow),
    "simplejpeg": ("simplejpeg", _simplejpeg),
    "opencv": ("cv2", _opencv),
    "nvimgcodec": ("nvidia.nvimgcodec", _nvimgcodec),
}
