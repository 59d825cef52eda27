"""What every backend promises, kept in one place: shapes, dtype, finite values and the bound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, final

import numpy as np

from dadfi_fast.backends.artifact import Artifact
from dadfi_fast.errors import DadfiError, UsageError
from dadfi_fast.types import Float32

#: Height and width that a generator takes must be multiples of this (it halves them twice).
MULTIPLE = 4
SMALLEST = 16

PRECISIONS = ("auto", "f32", "bf16")


class Backend(ABC):
    """Runs a generator: crops in, perturbations out.

    Args:
        artifact: the generator.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: processor threads for one call; all cores if None.
        precision: ``f32``, ``bf16``, or ``auto``: bf16 where the processor multiplies it in hardware.

    Raises:
        UsageError: the backend has no such device or precision.
    """

    name: ClassVar[str]
    #: Devices (without number) that the backend can run on.
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    describe: str  #: what runs, for the manifest: "openvino-cpu bf16"

    def __init__(
        self, artifact: Artifact, *, device: str = "cpu", threads: int | None = None, precision: str = "auto"
    ) -> None:
        if device.partition(":")[0] not in self.devices:
            raise UsageError(f"backend {self.name} runs on {', '.join(self.devices)}, not on {device!r}")
        if precision not in PRECISIONS:
            raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
        self.artifact, self.lim, self.device = artifact, artifact.lim, device

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """Why the backend cannot run here, and the command that mends it; None if it can."""

    @abstractmethod
    def run(self, crops: Float32) -> Float32:
        """The perturbation for ``crops`` whose sides are multiples of `MULTIPLE`."""

    @final
    def __call__(self, crops: Float32) -> Float32:
        """Perturb face crops.

        Args:
            crops: [B, 3, H, W] float32 in [-1, 1], B >= 1, H and W at least 16.

        Returns:
            [B, 3, H, W] float32, finite, every entry within [-lim, lim].

        Raises:
            DadfiError: the backend put out something that is not finite.
        """
        assert crops.ndim == 4 and crops.shape[1] == 3 and len(crops), f"crops must be [B, 3, H, W], not {crops.shape}"
        assert crops.dtype == np.float32, f"crops must be float32, not {crops.dtype}"
        assert min(crops.shape[2:]) >= SMALLEST, f"crops must have {SMALLEST} pixels a side, not {crops.shape[2:]}"
        height, width = crops.shape[2:]
        extra = (-height % MULTIPLE, -width % MULTIPLE)
        padded = np.pad(crops, ((0, 0), (0, 0), (0, extra[0]), (0, extra[1])), mode="edge") if any(extra) else crops
        delta = self.run(np.ascontiguousarray(padded))[:, :, :height, :width]
        assert delta.shape == crops.shape, f"{self.describe} put out {delta.shape} for {crops.shape}"
        # A NaN or an infinity anywhere makes the sum one, at a fraction of the cost of np.isfinite over all.
        if not np.isfinite(delta.sum(dtype=np.float64)):
            raise DadfiError(f"{self.describe} put out values that are not finite; try another --backend")
        return np.clip(delta, -self.lim, self.lim)
