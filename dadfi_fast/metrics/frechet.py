"""The Frechet distance between two sets of pictures, by the features that a network gives them.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NIPS 2017, Eq. 6.
The estimate falls as the sets grow, so a figure goes with its n, and figures of different n are never compared.
"""

from __future__ import annotations

import numpy as np

from dadfi_fast.types import Float32, Float64


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
