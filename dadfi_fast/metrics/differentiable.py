"""How visible a change is, differentiable: FLIP and SSIMULACRA2 in torch, for losses.

Any one metric is fooled by what is optimised against it alone, so a loss takes both: one models contrast sensitivity
and colour differences, the other structure at six scales. They agree with the packages that judge the result
(`dadfi_fast.metrics.perceptual`). Pictures are [B, 3, H, W] float32 in [-1, 1], sRGB.
"""

from __future__ import annotations

import functools
import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from dadfi_fast.metrics.perceptual import PIXELS_A_DEGREE
from dadfi_fast.ops.separable import filtered

#: Keeps roots and powers differentiable where nothing differs.
_TINY: Final = 1e-12

# FLIP (Andersson et al., HPG 2020): constants of section 4, contrast sensitivity of table 1 as (weight, spread) pairs.
_QC, _PC, _PT, _QF, _EDGE_WIDTH = 0.7, 0.4, 0.95, 0.5, 0.082
_SENSITIVITY: Final = (((1.0, 0.0047),), ((1.0, 0.0053),), ((34.1, 0.04), (13.5, 0.025)))
#: Linear sRGB to XYZ (IEC 61966-2-1).
_XYZ: Final = (
    (10135552 / 24577794, 8788810 / 24577794, 4435075 / 24577794),
    (2613072 / 12288897, 8788810 / 12288897, 887015 / 12288897),
    (1425312 / 73733382, 8788810 / 73733382, 70074185 / 73733382),
)


def flip(one: Tensor, other: Tensor, *, pixels_a_degree: float = PIXELS_A_DEGREE) -> Tensor:
    """Mean FLIP difference of each pair, [B] in [0, 1]; 0 where nothing differs.

    Args:
        one, other: [B, 3, H, W] in [-1, 1].
        pixels_a_degree: of the viewer's eye. A picture that stands for a larger one needs as many fewer.
    """
    one, other = _ycxcz(linear(one)), _ycxcz(linear(other))
    colour = _colour_difference(one, other, pixels_a_degree)
    feature = _feature_difference((one[:, :1] + 16) / 116, (other[:, :1] + 16) / 116, pixels_a_degree)
    return colour.pow(1 - feature).flatten(1).mean(1)


def ssimulacra2(original: Tensor, changed: Tensor) -> Tensor:
    """SSIMULACRA2's score of each pair (Sneyers 2023), [B]: 100 equal, 90 hardly visible, 70 high quality, below 0 bad.

    Args:
        original, changed: [B, 3, H, W] in [-1, 1], at least 8 pixels a side. The score is not symmetric. Below 256
            pixels a side there are fewer than six scales, and the reference gives channels each other's weights; so
            does this, to agree with it, but such a score means little: enlarge the pictures.

    Raises:
        ModuleNotFoundError: the package ``ssimulacra2``, whose weights are used, is not installed.
    """
    pair = [linear(picture) for picture in (original, changed)]
    terms = []
    for scale in range(_SCALES):
        if scale:
            pair = [F.avg_pool2d(picture, 2, ceil_mode=True, count_include_pad=False) for picture in pair]
        if min(pair[0].shape[-2:]) < 8:
            break
        terms.append(_structure(*map(_xyb, pair)))
    stacked = torch.stack(terms)  # [scales, 6, B, 3]
    weights = _weights().to(stacked)[: stacked[:, :, 0].numel()].view(3, len(terms), 6)
    raw = torch.einsum("skbc,csk->b", stacked, weights) * 0.9562382616834844
    raw = 2.326765642916932 * raw - 0.020884521182843837 * raw**2 + 6.248496625763138e-05 * raw**3
    return 100 - 10 * (raw.clamp(min=0) + _TINY).pow(0.6276336467831387)


def linear(x: Tensor) -> Tensor:
    """sRGB in [-1, 1] to linear light in [0, 1]."""
    unit = ((x + 1) / 2).clamp(0, 1)
    return torch.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055).clamp(min=_TINY).pow(2.4))


def _mixed(x: Tensor, matrix: Tensor) -> Tensor:
    """Each pixel's channels times ``matrix`` [3, 3]."""
    return F.conv2d(x, matrix.to(x)[:, :, None, None])


@functools.cache
def _to_xyz() -> Tensor:
    """Linear sRGB to XYZ in units of the white point (D65), [3, 3]."""
    matrix = torch.tensor(_XYZ, dtype=torch.float64)
    return matrix / matrix.sum(1, keepdim=True)


@functools.cache
def _opponent() -> Tensor:
    """XYZ in units of white to Y, Cx, Cz less their offset, [3, 3]."""
    return torch.tensor([[0.0, 116.0, 0.0], [500.0, -500.0, 0.0], [0.0, 200.0, -200.0]], dtype=torch.float64)


def _ycxcz(linear: Tensor) -> Tensor:
    out = _mixed(linear, _opponent() @ _to_xyz())
    return out - out.new_tensor([16.0, 0.0, 0.0])[:, None, None]


def _colour_difference(one: Tensor, other: Tensor, pixels_a_degree: float) -> Tensor:
    """FLIP's colour pipeline (section 4.1) on two YCxCz pictures: [B, 1, H, W] in [0, 1]."""
    one, other = (_hunt_lab(_seen(picture, pixels_a_degree)) for picture in (one, other))
    return _redistributed(_hyab(one, other).pow(_QC))


def _seen(ycxcz: Tensor, pixels_a_degree: float) -> Tensor:
    """What an eye resolves of a YCxCz picture, as linear sRGB in [0, 1]."""
    radius = math.ceil(3 * math.sqrt(0.04 / (2 * math.pi**2)) * pixels_a_degree)
    at = torch.arange(-radius, radius + 1, dtype=torch.float64) / pixels_a_degree
    planes = []
    for plane, gaussians in zip(ycxcz.split(1, dim=1), _SENSITIVITY, strict=True):
        kernels = [(a * math.sqrt(math.pi / b), torch.exp(-(math.pi**2) * at**2 / b)) for a, b in gaussians]
        total = sum(weight * kernel.sum().item() ** 2 for weight, kernel in kernels)
        parts = [filtered(plane, kernel, kernel) * (weight / total) for weight, kernel in kernels]
        planes.append(torch.stack(parts).sum(0))
    seen = torch.cat(planes, dim=1) + ycxcz.new_tensor([16.0, 0.0, 0.0])[:, None, None]
    return _mixed(seen, torch.linalg.inv(_opponent() @ _to_xyz())).clamp(0, 1)


def _hunt_lab(linear: Tensor) -> Tensor:
    """CIELAB whose colours fade with the brightness (Hunt effect)."""
    xyz = _mixed(linear, _to_xyz())
    delta = 6 / 29
    root = torch.where(xyz > delta**3, xyz.clamp(min=delta**3).pow(1 / 3), xyz / (3 * delta**2) + 4 / 29)
    x, y, z = root.split(1, dim=1)
    light = 116 * y - 16
    return torch.cat([light, 0.01 * light * 500 * (x - y), 0.01 * light * 200 * (y - z)], dim=1)


def _hyab(one: Tensor, other: Tensor) -> Tensor:
    apart = one - other
    return apart[:, :1].abs() + (apart[:, 1:].square().sum(1, keepdim=True) + _TINY).sqrt()


def _redistributed(difference: Tensor) -> Tensor:
    """Large differences squeezed into the end of [0, 1] (section 4.1.3)."""
    ends = difference.new_tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])[:, :, None, None]
    green, blue = _hunt_lab(ends)[:, None]
    most = _hyab(green, blue).pow(_QC)
    knee = _PC * most
    return torch.where(
        difference < knee, _PT / knee * difference, _PT + (difference - knee) / (most - knee) * (1 - _PT)
    )


def _feature_difference(one: Tensor, other: Tensor, pixels_a_degree: float) -> Tensor:
    """FLIP's edges and points (section 4.2) of two achromatic pictures [B, 1, H, W]: [B, 1, H, W] in [0, 1]."""
    spread = 0.5 * _EDGE_WIDTH * pixels_a_degree
    at = torch.arange(-math.ceil(3 * spread), math.ceil(3 * spread) + 1, dtype=torch.float64)
    blur = torch.exp(-(at**2) / (2 * spread**2))
    differences = []
    for across in (-at * blur, (at**2 / spread**2 - 1) * blur):
        # Positive weights of the two-dimensional kernel sum up to 1, negative ones to -1.
        scale = (across.clamp(min=0) * blur[:, None]).sum(), (-across.clamp(max=0) * blur[:, None]).sum()
        kernel = torch.where(across > 0, across / scale[0], across / scale[1])
        strengths = [
            (filtered(p, kernel, blur).square() + filtered(p, blur, kernel).square() + _TINY).sqrt()
            for p in (one, other)
        ]
        differences.append((strengths[0] - strengths[1]).abs())
    return (torch.maximum(*differences) / math.sqrt(2) + _TINY).pow(_QF)


_SCALES: Final = 6
_C2: Final = 0.0009
#: JPEG XL's opsin absorbance (ISO/IEC 18181-1, L.2): the matrix's rows, and the bias.
_OPSIN: Final = (
    (0.30, 1 - 0.30 - 0.078, 0.078),
    (0.23, 1 - 0.23 - 0.078, 0.078),
    (0.24342268924547819, 0.20476744424496821, 1 - 0.24342268924547819 - 0.20476744424496821),
)
_BIAS: Final = 0.0037930732552754493


@functools.cache
def _weights() -> Tensor:
    """SSIMULACRA2's weights from its package, flat: 3 channels, 6 scales, 6 terms in the order of `_structure`."""
    from ssimulacra2.ssimulacra2 import weights

    return torch.from_numpy(weights.copy())


def _xyb(linear: Tensor) -> Tensor:
    """JPEG XL's XYB, shifted to be positive as SSIMULACRA2 does."""
    mixed = (_mixed(linear, torch.tensor(_OPSIN, dtype=torch.float64)) + _BIAS).clamp(min=1e-6).pow(1 / 3)
    long, middle, short = (mixed - _BIAS ** (1 / 3)).split(1, dim=1)
    y = 0.5 * (long + middle)
    return torch.cat([14 * 0.5 * (long - middle) + 0.42, y + 0.01, short - y + 0.55], dim=1)


def _structure(one: Tensor, other: Tensor) -> Tensor:
    """The six terms of one scale, [6, B, 3]: mean and 4-norm of the SSIM error, of new edges, and of lost edges."""
    mean_one, mean_other, square_one, square_other, product = (
        _blurred(x) for x in (one, other, one * one, other * other, one * other)
    )
    likeness = 1 - (mean_one - mean_other).square()
    covariance = 2 * (product - mean_one * mean_other) + _C2
    variance = (square_one - mean_one.square()) + (square_other - mean_other.square()) + _C2
    error = (1 - likeness * covariance / variance).clamp(min=0)
    edges = (1 + (other - mean_other).abs()) / (1 + (one - mean_one).abs()) - 1
    maps = (error, edges.clamp(min=0), (-edges).clamp(min=0))
    means = [m.mean((2, 3)) for m in maps]
    norms = [(m.pow(4).mean((2, 3)) + 1e-24).pow(0.25) for m in maps]
    return torch.stack([*means, *norms])


def _blurred(x: Tensor) -> Tensor:
    """A Gaussian of 1.5 pixels. As in the package, a picture is mirrored above and below, and black at its sides."""
    at = torch.arange(-5, 6, dtype=torch.float64)
    kernel = torch.exp(-(at**2) / (2 * 1.5**2))
    kernel = kernel / kernel.sum()
    return filtered(x, kernel, kernel, beyond="zero", beyond_rows="mirror")
