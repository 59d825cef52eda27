"""What every backend promises, kept in one place: shapes, dtype, finite values and the bound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np

from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.errors import DadfiError, UsageError
from dadfi_fast.types import Float32

#: Height and width that a generator takes must be multiples of this (it halves them twice).
MULTIPLE = 4
SMALLEST = 16

#: ``f16`` keeps the statistics of the norms in float32.
PRECISIONS = ("auto", "f32", "f16", "bf16")


class Backend(ABC):
    """Runs a generator: crops in, perturbations out.

    Args:
        generator_file: the generator.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads for one call; all cores if None.
        precision: one of `PRECISIONS`; ``auto`` takes what `preferred` says.

    Raises:
        UsageError: the backend has no such device or precision.
    """

    name: ClassVar[str]
    #: Kinds of device that the backend can run on, each with its precisions, the usual one first.
    devices: ClassVar[Mapping[str, tuple[str, ...]]] = {"cpu": ("f32",)}
    describe: str  #: what runs, for the manifest: "openvino-cpu bf16"

    def __init__(
        self, generator_file: GeneratorFile, *, device: str = "cpu", threads: int | None = None, precision: str = "auto"
    ) -> None:
        kind = device.partition(":")[0]
        if kind not in self.devices:
            known = ", ".join(self.devices)
            raise UsageError(f"backend {self.name} runs on {known}, not on {device!r}. Pass --device {known}")
        if precision not in PRECISIONS:
            raise UsageError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
        self.precision = self.preferred(kind) if precision == "auto" else precision
        if self.precision not in self.devices[kind]:
            known = ", ".join(self.devices[kind])
            raise UsageError(f"backend {self.name} runs the generator in {known} on {kind}, not in {precision}")
        self.generator_file, self.lim, self.device = generator_file, generator_file.lim, device
        self.describe = f"{self.name}-{device} {self.precision}"

    @classmethod
    def preferred(cls, kind: str) -> str:
        """The precision that ``auto`` stands for on ``cpu`` or ``cuda``."""
        return cls.devices[kind][0]

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """Why the backend cannot run here, and the command that fixes it; None if it can."""

    @classmethod
    def missing_on(cls, device: str) -> str | None:
        """The same for one device, which must be of a kind in `devices`: what that device needs besides."""
        return cls.missing()

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
            raise DadfiError(f"{self.describe} returned values that are not finite. Try another --backend.")
        return np.clip(delta, -self.lim, self.lim)
