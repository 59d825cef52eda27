"""The network of libfacedetection, for OpenVINO: built from the weights that lie in the installed library.

The library's own code takes 101 core-ms for 1280 x 720 pixels, OpenVINO 21, for the same sums in float32 (AMD EPYC).
Source of the layers and of how the library stores them: facedetectcnn-model.cpp and facedetectcnn.cpp of
github.com/ShiqiYu/libfacedetection; Wu, Peng, Yu, "YuNet: A tiny millisecond-level face detector", Machine
Intelligence Research, 2023.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from dadfi_fast.backends.openvino_core import operations
from dadfi_fast.faces.openvino_network import STRIDES
from dadfi_fast.types import Float32

#: What the library calls its list of layers.
TABLE: Final = "param_pConvInfo"
#: Inputs, outputs and whether what is negative is dropped, of each pair: 1 x 1, then 3 x 3 channel by channel.
_BACKBONE: Final = ((16, 16), (16, 16), (16, 32), (32, 32), (32, 64), *((64, 64),) * 6)
_NECK: Final = ((64, 64),) * 3
_HEADS: Final = {"kind": 1, "box": 4, "there": 1, "points": 10}
PAIRS: Final = (
    *((*each, True) for each in _BACKBONE + _NECK),
    *((64, count, False) for count in _HEADS.values() for _ in STRIDES),
)
#: Weights and bias of a pair: [O, I, 1, 1], [O], [O, 1, 1, 3, 3] and [O].
Pair: TypeAlias = tuple[Float32, Float32, Float32, Float32]
#: The first layer takes 3 x 3 pixels of three colours, padded to a multiple of 16.
_FIRST: Final = (32, 16)


class _Layer(ctypes.Structure):
    _fields_ = (
        ("inputs", ctypes.c_int),
        ("outputs", ctypes.c_int),
        ("by_channel", ctypes.c_bool),
        ("by_pixel", ctypes.c_bool),
        ("rectified", ctypes.c_bool),
        ("weights", ctypes.POINTER(ctypes.c_float)),
        ("bias", ctypes.POINTER(ctypes.c_float)),
    )


@dataclass(frozen=True, eq=False)
class Weights:
    """The network's numbers, as OpenVINO wants them."""

    first: tuple[Float32, Float32]  # [16, 3, 3, 3] for BGR, and [16]
    pairs: tuple[Pair, ...]  # as in `PAIRS`


def weights_in(library: Path) -> Weights | None:
    """The weights in ``library``; None where it has no such list of layers, or one of another network."""
    try:
        layers = (_Layer * (1 + 2 * len(PAIRS))).in_dll(ctypes.CDLL(str(library)), TABLE)
    except (OSError, ValueError):
        return None
    expected = [(*_FIRST, False, True, True)]
    for inputs, outputs, rectified in PAIRS:
        expected += [(inputs, outputs, False, True, False), (outputs, outputs, True, False, rectified)]
    shapes = [(each.inputs, each.outputs, each.by_channel, each.by_pixel, each.rectified) for each in layers]
    if shapes != expected:
        return None
    first = _numbers(layers[0].weights, 16, 32)[:, :27].reshape(16, 3, 3, 3).transpose(0, 3, 1, 2)
    pairs = tuple(_pair(layers[n], layers[n + 1]) for n in range(1, len(layers), 2))
    return Weights((np.ascontiguousarray(first), _numbers(layers[0].bias, 16)), pairs)


def _pair(by_pixel: _Layer, by_channel: _Layer) -> Pair:
    count = by_pixel.outputs
    kernel = _numbers(by_channel.weights, 9, count).T.reshape(count, 1, 1, 3, 3)
    return (
        _numbers(by_pixel.weights, count, by_pixel.inputs, 1, 1),
        _numbers(by_pixel.bias, count),
        np.ascontiguousarray(kernel),
        _numbers(by_channel.bias, count),
    )


def _numbers(pointer: Any, *shape: int) -> Float32:
    """A copy: the library's memory is not for others to hold."""
    numbers: Float32 = np.ctypeslib.as_array(pointer, shape).copy()
    return numbers


def network(weights: Weights) -> Any:
    """The ``openvino.Model`` that `faces.openvino_network.OpenVinoNetwork` takes.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    op = operations()  # before OpenVINO is imported: it keeps it from calling home
    from openvino import Model

    picture = op.parameter([1, 3, -1, -1], np.float32, name="picture")
    layers = _Layers(op, weights)
    out = layers.pool(layers.pair(0, layers.first(picture)))
    out = layers.pool(layers.pairs(range(1, 5), out))
    levels = [layers.pairs((5, 6), out)]
    for at in (7, 9):
        levels.append(layers.pairs((at, at + 1), layers.pool(levels[-1])))
    # from coarse to fine, each level is told what the coarser one has seen
    neck = len(_BACKBONE)
    levels[2] = layers.pair(neck + 2, levels[2])
    for at in (1, 0):
        levels[at] = layers.pair(neck + at, op.add(layers.twice(levels[at + 1]), levels[at]))
    return Model([op.result(layers.cells(levels))], [picture], "libfacedetection")


class _Layers:
    """The network's layers; pairs by their numbers in `PAIRS`."""

    def __init__(self, op: Any, weights: Weights) -> None:
        self._op, self._weights = op, weights

    def first(self, picture: Any) -> Any:
        """Half the size."""
        kernel, bias = self._weights.first
        convolved = self._op.convolution(picture, kernel, [2, 2], [1, 1], [1, 1], [1, 1])
        return self._op.relu(self._op.add(convolved, bias.reshape(1, -1, 1, 1)))

    def pair(self, number: int, tensor: Any) -> Any:
        """One pair of the backbone or the neck."""
        return self._op.relu(self._run(self._weights.pairs[number], tensor))

    def pairs(self, numbers: Sequence[int], tensor: Any) -> Any:
        """One after the other."""
        for number in numbers:
            tensor = self.pair(number, tensor)
        return tensor

    def pool(self, tensor: Any) -> Any:
        """The largest of 2 x 2."""
        return self._op.max_pool(tensor, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)

    def twice(self, tensor: Any) -> Any:
        """Every value four times."""
        how = {"axes": np.array([2, 3]), "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self._op.interpolate(tensor, np.array([2, 2], np.float32), "nearest", "scales", **how)

    def cells(self, levels: Sequence[Any]) -> Any:
        """Score and box [1, cells, 5] of all cells; the points of the face are left out."""
        op, heads = self._op, len(_BACKBONE + _NECK)
        parts = []
        for at, level in enumerate(levels):
            # three heads see the same and are run as one, which costs little more than one
            chosen = [
                self._weights.pairs[heads + 3 * list(_HEADS).index(name) + at] for name in ("kind", "there", "box")
            ]
            joined = tuple(np.concatenate(each) for each in zip(*chosen, strict=True))
            out = op.transpose(self._run(joined, level), np.array([0, 2, 3, 1]))  # type: ignore[arg-type]
            parts.append(op.reshape(out, np.array([1, -1, 6]), False))
        both, box = op.variadic_split(op.concat(parts, axis=1), 2, np.array([2, 4])).outputs()
        score = op.sqrt(op.reduce_prod(op.sigmoid(both), np.array([2]), keep_dims=True))
        return op.concat([score, box], axis=2)

    def _run(self, pair: Pair, tensor: Any) -> Any:
        mix, mixed, kernel, bias = pair
        op = self._op
        mixed_tensor = op.add(op.convolution(tensor, mix, [1, 1], [0, 0], [0, 0], [1, 1]), mixed.reshape(1, -1, 1, 1))
        mixed_tensor = op.group_convolution(mixed_tensor, kernel, [1, 1], [1, 1], [1, 1], [1, 1])
        return op.add(mixed_tensor, bias.reshape(1, -1, 1, 1))
