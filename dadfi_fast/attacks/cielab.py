"""CIE L*a*b* of sRGB pictures under the daylight D65 (IEC 61966-2-1, CIE 15), differentiable also at black.

Pictures are [B, 3, H, W]; sRGB in [0, 1], L* in [0, 100], a* and b* within about +-110.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Linear sRGB to XYZ, the white D65 divided out, so that white is (1, 1, 1).
_XYZ = torch.tensor(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
    dtype=torch.float64,
)
_TO_XYZ = _XYZ / _XYZ.sum(1, keepdim=True)
_FROM_XYZ = torch.linalg.inv(_TO_XYZ)
#: Compressed XYZ to L*a*b*, less the constant -16 of L*.
_TO_LAB = torch.tensor([[0.0, 116.0, 0.0], [500.0, -500.0, 0.0], [0.0, 200.0, -200.0]], dtype=torch.float64)
_FROM_LAB = torch.linalg.inv(_TO_LAB)
#: Below it the cube root is replaced by a line.
_KNEE = 6 / 29


def to_lab(rgb: Tensor) -> Tensor:
    """sRGB to L*a*b*; what lies outside [0, 1] is taken to its edge."""
    rgb = rgb.clamp(0, 1)
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = _mix(_TO_XYZ, linear)
    # A root has no slope at 0: where the line is meant, it is given something harmless.
    root = xyz.clamp(min=_KNEE**3) ** (1 / 3)
    lab = _mix(_TO_LAB, torch.where(xyz > _KNEE**3, root, xyz / (3 * _KNEE**2) + 4 / 29))
    return lab - lab.new_tensor([16.0, 0.0, 0.0])[:, None, None]


def from_lab(lab: Tensor) -> Tensor:
    """L*a*b* to sRGB; colours that a screen has not are taken to the edge of [0, 1]."""
    compressed = _mix(_FROM_LAB, lab + lab.new_tensor([16.0, 0.0, 0.0])[:, None, None])
    xyz = torch.where(compressed > _KNEE, compressed**3, 3 * _KNEE**2 * (compressed - 4 / 29))
    linear = _mix(_FROM_XYZ, xyz).clamp(0, 1)
    curve = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curve, 12.92 * linear)


def _mix(matrix: Tensor, planes: Tensor) -> Tensor:
    """Each pixel's three values times ``matrix`` [3, 3]."""
    return torch.einsum("oc,bchw->bohw", matrix.to(planes), planes)
