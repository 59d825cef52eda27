"""The traces: what the protection changed in the faces, by fineness and by place, as means over all faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from dadfi_fast.check.callbacks import Callback
from dadfi_fast.check.conditions import WRITTEN
from dadfi_fast.check.preprocess import Crop
from dadfi_fast.check.runner import Key
from dadfi_fast.deepfakes.onnx_model import DeepfakeModel
from dadfi_fast.types import LEVELS, Float32, Float64

#: RGB to Y, Cb, Cr without offsets (ITU-R BT.601, as JPEG has it).
YCC: Final = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
#: The colour difference (CIE76) that people just notice between plain patches (Mahy et al., 1994).
NOTICED: Final = 2.3


class Visibility(Callback):
    """Adds up what changed in the faces as written; its memory does not grow."""

    size: ClassVar = 256

    def __init__(self) -> None:
        self.n = 0  # faces
        self._energy = np.zeros((3, self.size // 2 + 1))
        self._visible = np.zeros((self.size, self.size))
        self._above = 0.0
        self._ring = _rings(self.size)

    def crops(self, batch: Sequence[tuple[Key, Crop]]) -> None:
        for (_, condition), crop in batch:
            if condition == WRITTEN.name:
                self._add(crop.original[self.size], crop.protected[self.size])

    def fakes(self, model: DeepfakeModel, edit: int, fakes: Float32, broken: Float32, d_mask: Float64) -> None:
        """Fakes leave no trace."""

    @property
    def spectrum(self) -> Float64:
        """Energy of the change in brightness and in colour (Cb and Cr together) by fineness: [2, size / 2].

        Entry i is the mean square, in levels, of all waves of i + 1 cycles across the face's crop (from i + 0.5 to i +
        1.5): their sum is the mean square of the change, less that of its mean and of what is finer. Waves finer than
        the pixels of the photo cannot be in it.
        """
        energy = self._energy[:, 1:] / max(self.n, 1)
        return np.stack([energy[0], energy[1] + energy[2]])

    @property
    def visible(self) -> Float64:
        """The mean colour difference (CIE76) by place in the face's crop: [size, size]."""
        return self._visible / max(self.n, 1)

    @property
    def share_visible(self) -> float:
        """Share of all pixels of all crops with a colour difference above `NOTICED`."""
        return self._above / max(self.n, 1)

    def _add(self, original: Float32, protected: Float32) -> None:
        self.n += 1
        change = np.tensordot(YCC, (protected - original) * np.float32(LEVELS), axes=1)
        # Parseval: the squares of all coefficients sum to the mean square
        power = np.abs(np.fft.fft2(change, norm="forward")) ** 2
        for i, plane in enumerate(power):
            self._energy[i] += np.bincount(self._ring, plane.ravel(), minlength=self.size)[: self.size // 2 + 1]
        difference = np.linalg.norm(_lab(protected) - _lab(original), axis=2)
        self._visible += difference
        self._above += float((difference > NOTICED).mean())


def _rings(size: int) -> NDArray[np.int64]:
    """The whole number of cycles that is nearest to each coefficient of `np.fft.fft2`: [size * size]."""
    cycles = np.fft.fftfreq(size, 1 / size)
    rings: NDArray[np.int64] = np.rint(np.hypot(cycles[:, None], cycles)).astype(np.int64).ravel()
    return rings


def _lab(planes: Float32) -> Float32:
    """[3, S, S] sRGB in [-1, 1] to CIELAB [S, S, 3]."""
    pixels = np.ascontiguousarray(planes.transpose(1, 2, 0)) / 2 + np.float32(0.5)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)  # type: ignore[return-value]
