"""Crops through encoders: how far the protection moves their codes, and how far noise and JPEG move them."""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from dadfi_fast.check.conditions import WRITTEN, jpeg
from dadfi_fast.check.fake_sets import levels
from dadfi_fast.check.pairs import Pair
from dadfi_fast.check.preprocess import Crop
from dadfi_fast.check.runner import Key
from dadfi_fast.deepfakes.encoders import BROKEN, EncoderModel, Kind, code_distance
from dadfi_fast.files import json_safe
from dadfi_fast.types import LEVELS, Float32, Float64, UInt8

#: Faces whose reconstructions are kept: the first ones, as written.
PICTURES: Final = 12
#: The JPEG quality of the control.
QUALITY: Final = 75
#: Of the noise; with the name of the file and the number of the face.
SEED: Final = 0


@dataclass(frozen=True, eq=False)
class Codes:
    """What one encoder made of F faces under one condition: d_code, each from the code of the original crop."""

    kind: Kind
    protected: Float64  # [F] of the protected crop
    noise: Float64  # [F] of the original with Gaussian noise of the rms that the protected crop differs by
    jpeg: Float64  # [F] of the original crop after JPEG of quality `QUALITY`, 4:2:0
    psnr: Float64  # [F] dB between the reconstructions; infinite where they do not differ, NaN without a decoder

    @classmethod
    def join(cls, parts: Sequence[Codes]) -> Codes:
        """The faces of all ``parts`` (at least one), in order."""
        pick = ("protected", "noise", "jpeg", "psnr")
        return cls(parts[0].kind, *(np.concatenate([getattr(part, name) for part in parts]) for name in pick))

    def face(self, i: int) -> Codes:
        """Those of face ``i`` alone."""
        row = slice(i, i + 1)
        return Codes(self.kind, self.protected[row], self.noise[row], self.jpeg[row], self.psnr[row])

    def figures(self, name: str = "protected") -> Float64:
        """[F] what people read: relative shifts or cosines, of ``protected``, ``noise`` or ``jpeg``."""
        return self.kind.figures(getattr(self, name))

    def broken(self, name: str = "protected") -> float:
        """The share of codes that are broken."""
        return float((getattr(self, name) >= BROKEN).mean())

    @property
    def reconstruction(self) -> float:
        """Mean PSNR in dB between the reconstructions that differ; NaN where there is none."""
        differing = self.psnr[np.isfinite(self.psnr)]
        return float(differing.mean()) if differing.size else math.nan

    def percentiles(self) -> list[float]:
        """The 20th, 50th and 80th percentile of the figures."""
        return [float(np.percentile(self.figures(), p)) for p in (20, 50, 80)]

    def to_dict(self) -> dict[str, object]:
        """The figures as ``check --json`` prints them."""
        figure = self.kind.figure
        return {
            "reads": self.kind.reads,
            "measure": self.kind.measure,
            "n": len(self.protected),
            figure: float(self.figures().mean()),
            **{f"{figure}_p{p}": value for p, value in zip((20, 50, 80), self.percentiles(), strict=True)},
            "d_code": float(self.protected.mean()),
            "threshold": self.kind.threshold,
            "broken": self.broken(),
            "noise": float(self.figures("noise").mean()),
            "noise_broken": self.broken("noise"),
            "jpeg75": float(self.figures("jpeg").mean()),
            "jpeg75_broken": self.broken("jpeg"),
            "reconstruction_psnr": json_safe(self.reconstruction),
        }

    def words(self) -> str:
        """The figure of the face that moved least, and its controls, in words."""
        least = self.face(int(np.argmin(self.protected)))
        shown = {name: float(least.figures(name)[0]) for name in ("protected", "noise", "jpeg")}
        controls = f"noise {shown['noise']:.3f}, JPEG {QUALITY} {shown['jpeg']:.3f}"
        verdict = "broken" if least.broken() else "not broken"
        pictures = (
            f"; reconstructions {least.reconstruction:.1f} dB apart" if math.isfinite(least.reconstruction) else ""
        )
        return f"{self.kind.measure} {shown['protected']:.3f}, {verdict} ({controls}){pictures}"


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What the decoder makes of the codes of one face."""

    pair: Pair
    face: int  # its number in the photo, from 1
    original: UInt8  # [S, S, 3], of the original's code
    protected: UInt8  # likewise, of the protected photo's


@dataclass(eq=False)
class EncoderJudge:
    """Shows crops to an encoder, and keeps figures; of a few faces also the reconstructions."""

    model: EncoderModel
    pictures: list[Reconstruction] = field(default_factory=list)
    _faces: dict[Key, list[Codes]] = field(default_factory=lambda: defaultdict(list))

    def see(self, batch: Sequence[tuple[Key, Crop]]) -> None:
        """Judge a batch of crops, which have the encoder's size."""
        size = self.model.image_size
        x = np.stack([crop.original[size] for _, crop in batch])
        x_adv = np.stack([crop.protected[size] for _, crop in batch])
        numbers = self._numbers([key for key, _ in batch])
        noisy = np.stack([noise(x[i], x_adv[i], batch[i][0][0].name, number) for i, number in enumerate(numbers)])
        code, moved = self.model.encode(x), self.model.encode(x_adv)
        by_noise, by_jpeg = (
            code_distance(code, self.model.encode(each)) for each in (noisy, np.stack(list(map(compressed, x))))
        )
        psnr = np.full(len(batch), math.nan)
        if self.model.decodes:
            pictures = self.model.decode(code), self.model.decode(moved)
            psnr = _psnr(*pictures)
            self._keep([key for key, _ in batch], numbers, *map(levels, pictures))
        codes = Codes(self.model.kind, code_distance(code, moved), by_noise, by_jpeg, psnr)
        for i, (key, _) in enumerate(batch):
            self._faces[key].append(codes.face(i))

    def codes(self, pairs: Iterable[Pair], condition: str = WRITTEN.name) -> Codes:
        """What was made of all faces of ``pairs`` (at least one), in their order."""
        return Codes.join([face for pair in pairs for face in self._faces[pair, condition]])

    def _numbers(self, keys: Sequence[Key]) -> list[int]:
        """The number of each face in its photo, from 1."""
        numbers, seen = [], defaultdict[Key, int](int)
        for key in keys:
            seen[key] += 1
            numbers.append(len(self._faces[key]) + seen[key])
        return numbers

    def _keep(self, keys: Sequence[Key], numbers: Sequence[int], originals: UInt8, protected: UInt8) -> None:
        for i, (pair, condition) in enumerate(keys):
            if condition == WRITTEN.name and len(self.pictures) < PICTURES:
                both = (np.ascontiguousarray(picture[i].transpose(1, 2, 0)) for picture in (originals, protected))
                self.pictures.append(Reconstruction(pair, numbers[i], *both))


def noise(
    original: Float32,  # [3, S, S]
    protected: Float32,  # [3, S, S]
    name: str,
    face: int,
) -> Float32:
    """The control: the original crop with Gaussian noise of the same rms, the same at every check of this face."""
    rms = math.sqrt(float(np.mean((protected - original).astype(np.float64) ** 2)))
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode("utf-8", "surrogateescape")), face])
    moved = original + rms * rng.standard_normal(original.shape)
    return np.clip(moved, -1, 1).astype(np.float32)


def compressed(original: Float32) -> Float32:
    """The control: the original crop [3, S, S] after JPEG, at the size that the encoder sees."""
    pixels = np.ascontiguousarray(levels(original).transpose(1, 2, 0))
    _, after = jpeg(f"jpeg:{QUALITY}", QUALITY).treat(pixels, pixels)
    return np.ascontiguousarray(after.transpose(2, 0, 1)).astype(np.float32) / np.float32(LEVELS) - np.float32(1)


def _psnr(one: Float32, other: Float32) -> Float64:
    """[B] dB between pictures [B, 3, S, S] in [-1, 1], peak 2; infinite where they do not differ."""
    mse = np.mean((one.astype(np.float64) - other) ** 2, axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        decibels: Float64 = 10 * np.log10(4 / mse)
    return decibels
