"""What an ONNX network wants and gives: its picture, its other inputs, and what the user says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from dadfi_fast.deepfakes.onnx_guard import shape_of
from dadfi_fast.errors import UsageError, WeightsError

Values: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int | None, ...]

#: The smallest side of a picture; ``--image-size`` has the same limit.
SMALLEST: Final = 32
#: Mean and standard deviation of ImageNet's pictures in [0, 1], red, green, blue.
_IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: What is tried where nothing is said.
LAYOUTS: Final = ("nchw", "nhwc")
CHANNELS: Final = ("rgb", "bgr")
#: What is said of networks that take the luma of a picture alone, in place of `CHANNELS`.
LUMA: Final = "luma"
#: The name of the one edit of a network that was given none.
UNNAMED: Final = "edit"


@dataclass(frozen=True)
class Range:
    """What a picture's values are: ``x * scale + shift`` for red, green and blue x in [-1, 1]."""

    name: str
    scale: tuple[float, float, float]
    shift: tuple[float, float, float]

    @classmethod
    def between(cls, low: float, high: float) -> Range:
        """Values from ``low`` (black) to ``high`` (white)."""
        scale, shift = (high - low) / 2, (high + low) / 2
        return cls(f"{low:g},{high:g}", (scale,) * 3, (shift,) * 3)

    @classmethod
    def parse(cls, text: str) -> Range:
        """``LOW,HIGH``, or ``imagenet``.

        Raises:
            ValueError: it is neither.
        """
        if text == "imagenet":
            deviations = _IMAGENET[1]
            scales = [0.5 / deviation for deviation in deviations]
            shifts = [(0.5 - mean) / deviation for mean, deviation in zip(*_IMAGENET, strict=True)]
            return cls(text, (scales[0], scales[1], scales[2]), (shifts[0], shifts[1], shifts[2]))
        low, high = (float(part) for part in text.strip("[]").split(","))
        if not (np.isfinite([low, high]).all() and low < high):
            raise ValueError(text)
        return cls.between(low, high)


#: The ranges that the trial tells apart.
RANGES: Final = (Range.between(-1, 1), Range.between(0, 1), Range.between(0, 255))
#: Values as they are, for the trial.
RAW: Final = Range("raw", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


@dataclass(frozen=True)
class EditWish:
    """A named edit, and the values of further inputs by their names: as the user wrote them."""

    name: str
    values: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> EditWish:
        """``NAME``, or ``NAME:INPUT=VALUE,INPUT=VALUE``; commas in brackets part no inputs.

        Raises:
            ValueError: it is neither.
        """
        name, _, rest = text.partition(":")
        values = {}
        for part in _parts(rest):
            key, equals, value = part.partition("=")
            if not equals or not key.strip() or not value.strip() or key.strip() in values:
                raise ValueError(text)
            values[key.strip()] = value.strip()
        if not name.strip():
            raise ValueError(text)
        return cls(name.strip(), values)


def _parts(text: str) -> list[str]:
    """What commas part, but for those in brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts if text else []


@dataclass(frozen=True)
class NetworkWishes:
    """What the user says of a network; None is found out."""

    input: str | None = None
    output: str | None = None
    image_size: int | None = None  # pixels
    layout: str | None = None  # of `LAYOUTS`
    channels: str | None = None  # of `CHANNELS`
    range: Range | None = None  # of the picture that goes in
    output_range: Range | None = None
    edits: Sequence[EditWish] = ()


@dataclass(frozen=True)
class FixedInput:
    """A further input and its value for each of the E edits."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]  # for one picture
    batched: bool  # whether the first of these lengths is that of the batch
    values: Values = field(compare=False)  # [E, *shape]

    @property
    def constant(self) -> bool:
        """Whether all edits have the same value."""
        return bool((self.values == self.values[:1]).all())


@dataclass(frozen=True)
class Interface:
    """A network as it is to be called."""

    picture: str  # the name of the input
    dtype: np.dtype[Any]  # of the picture
    size: int  # pixels a side
    layout: str  # of `LAYOUTS`
    output: str
    edits: tuple[str, ...]  # E names
    fixed: tuple[FixedInput, ...]
    planes: int = 3  # channels of the picture: 3, or 1 for its luma


def find_interface(model: onnx.ModelProto, wishes: NetworkWishes) -> Interface:
    """Find the picture among the inputs and outputs of ``model``, and the values of everything else.

    Raises:
        UsageError: something must be said that the file does not tell, or what was said does not fit.
        WeightsError: the network takes or gives no square picture.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in weights}
    picture, planes = _picture(inputs, wishes)
    shape = shape_of(inputs[picture])
    layout = _layout(picture, shape, wishes.layout, planes)
    if planes == 1:
        _require_luma(picture, wishes)
    others = [value for name, value in inputs.items() if name != picture]
    edits = wishes.edits or (EditWish(UNNAMED, {}),)
    names = tuple(edit.name for edit in edits)
    if len(set(names)) < len(names):
        raise UsageError(f"two edits have the name {max(names, key=names.count)!r}. Give each --edit its own name.")
    if unknown := [key for edit in edits for key in edit.values if key not in {value.name for value in others}]:
        there = ", ".join(value.name for value in others) or "none"
        raise UsageError(f"--edit: the network has no further input {unknown[0]!r}. Available: {there}")
    _require_values(others, edits)
    fixed = tuple(_fixed(value, edits, free=shape[0] is None) for value in others)
    size = _size(picture, shape, layout, wishes.image_size)
    output = _output(model, wishes, planes)
    return Interface(picture, _dtype(inputs[picture]), size, layout, output, names, fixed, planes)


def describe(value: onnx.ValueInfoProto) -> str:
    """An input in words: name, type and shape."""
    dims = value.type.tensor_type.shape.dim
    shape = ", ".join(dim.dim_param or (str(dim.dim_value) if dim.dim_value > 0 else "?") for dim in dims)
    return f"{value.name} ({_dtype(value)} [{shape}])"


def _require_luma(picture: str, wishes: NetworkWishes) -> None:
    """Refuse what can be said of three channels only."""
    for option, said in (
        ("--channels", wishes.channels),
        ("--range imagenet", wishes.range and len(set(wishes.range.scale)) > 1),
        ("--output-range imagenet", wishes.output_range and len(set(wishes.output_range.scale)) > 1),
    ):
        if said:
            raise UsageError(f"{option} is for networks of three channels; {picture} has one. Remove it.")


def _picture(inputs: Mapping[str, onnx.ValueInfoProto], wishes: NetworkWishes) -> tuple[str, int]:
    """The name of the input that takes the picture, and its channels: 3, or 1 where no input may have three."""
    if wishes.input is not None:
        if wishes.input not in inputs:
            raise UsageError(f"the network has no input {wishes.input!r}. Available: {', '.join(inputs)}")
        if len(shape_of(inputs[wishes.input])) != 4:
            raise UsageError(f"--input {describe(inputs[wishes.input])} is not a picture: it is not 4-dimensional")
        shape = shape_of(inputs[wishes.input])
        return wishes.input, 1 if not _layouts(shape) and _layouts(shape, planes=1) else 3
    rank4 = [name for name, value in inputs.items() if len(shape_of(value)) == 4]
    sure = [name for name in rank4 if _layouts(shape_of(inputs[name]), sure=True)]
    possible = sure or [name for name in rank4 if _layouts(shape_of(inputs[name]))]
    grey = [name for name in rank4 if _layouts(shape_of(inputs[name]), sure=True, planes=1)] if not possible else []
    possible = possible or grey
    if len(possible) == 1:
        return str(possible[0]), 1 if grey else 3
    listed = ", ".join(describe(value) for value in inputs.values()) or "none"
    if not possible:
        raise WeightsError(
            f"the network takes no picture: no input has three channels, or one (luma). Its inputs: {listed}"
        )
    raise UsageError(f"several inputs may be the picture: {', '.join(possible)}. Pass --input NAME.")


def _layouts(shape: Shape, *, sure: bool = False, planes: int = 3) -> list[str]:
    """The layouts that a shape of four lengths allows; ``sure``: those where the ``planes`` channels are declared."""
    taken = []
    for layout, channel in zip(LAYOUTS, (1, 3), strict=True):
        sides = [shape[axis] for axis in (1, 2, 3) if axis != channel]
        wide = all(side is None or side >= SMALLEST for side in sides)
        if wide and (shape[channel] == planes or (shape[channel] is None and not sure)):
            taken.append(layout)
    return taken


def _layout(name: str, shape: Shape, said: str | None, planes: int) -> str:
    possible = _layouts(shape, sure=True, planes=planes) or _layouts(shape, planes=planes)
    if said is not None:
        if said not in _layouts(shape, planes=planes):
            raise UsageError(f"--layout {said} does not fit the input {name} of shape {_text(shape)}")
        return said
    if not possible:
        raise WeightsError(f"the input {name} of shape {_text(shape)} is not a three-channel picture")
    if len(possible) > 1:
        raise UsageError(f"the shape of {name} does not tell where the channels are. Pass --layout nchw or nhwc.")
    return possible[0]


def _size(name: str, shape: Shape, layout: str, said: int | None) -> int:
    if shape[0] not in (None, 1):
        raise WeightsError(f"the network takes {shape[0]} pictures at a time. Export it for one, or for any number.")
    sides = {side for side in (shape[2:] if layout == "nchw" else shape[1:3]) if side is not None}
    if len(sides) > 1:
        raise WeightsError(f"the input {name} of shape {_text(shape)} is not square")
    if not sides:
        if said is None:
            raise UsageError(f"the network takes pictures of any size ({name} {_text(shape)}). Pass --image-size N.")
        return said
    size = min(sides)
    if said not in (None, size):
        raise UsageError(f"the network is for {size} px. Remove --image-size.")
    return size


def _output(model: onnx.ModelProto, wishes: NetworkWishes, planes: int) -> str:
    outputs = {value.name: value for value in model.graph.output}
    if wishes.output is not None:
        if wishes.output not in outputs:
            raise UsageError(f"the network has no output {wishes.output!r}. Available: {', '.join(outputs)}")
        return wishes.output
    # A file need not declare the shape of an output: then it is seen in the trial.
    known = {name for name, value in outputs.items() if value.type.tensor_type.HasField("shape")}
    rank4 = [name for name in outputs if name not in known or len(shape_of(outputs[name])) == 4]
    sure = [name for name in rank4 if name in known and _layouts(shape_of(outputs[name]), sure=True, planes=planes)]
    possible = sure or [n for n in rank4 if n not in known or _layouts(shape_of(outputs[n]), planes=planes)]
    if not possible:
        listed = ", ".join(describe(value) for value in outputs.values())
        wanted = "three channels" if planes == 3 else "one channel, as the input has"
        raise WeightsError(f"the network gives no picture: no output has {wanted}. Its outputs: {listed}")
    if len(possible) > 1:
        raise UsageError(f"several outputs may be the picture: {', '.join(possible)}. Pass --output NAME.")
    return str(possible[0])


def _require_values(others: Sequence[onnx.ValueInfoProto], edits: Sequence[EditWish]) -> None:
    for edit in edits:
        missing = [value for value in others if value.name not in edit.values]
        if missing:
            name = edit.name if edit.name != UNNAMED else "NAME"
            example = ",".join(f"{value.name}=VALUE" for value in missing)
            raise UsageError(
                f"the edit {name} gives no value to {', '.join(map(describe, missing))}. Pass --edit {name}:{example};"
                " a value is a number, which is repeated, a list such as [0,1], or the path of a .npy file."
            )


def _fixed(value: onnx.ValueInfoProto, edits: Sequence[EditWish], *, free: bool) -> FixedInput:
    """An input's value for each edit.

    Args:
        free: whether the network takes any number of pictures.
    """
    dtype, shape = _dtype(value), shape_of(value)
    batched = bool(shape) and (shape[0] is None or (shape[0] == 1 and not free))
    own = (1, *shape[1:]) if batched else shape
    values = [_value(edit.values[value.name], dtype, own, value) for edit in edits]
    if len({each.shape for each in values}) > 1:
        raise UsageError(f"the values of {describe(value)} have several shapes: {[each.shape for each in values]}")
    return FixedInput(value.name, dtype, values[0].shape, batched, np.stack(values))


def _value(text: str, dtype: np.dtype[Any], shape: Shape, value: onnx.ValueInfoProto) -> Values:
    """What the user wrote, as an array of ``dtype`` and ``shape``; None in the shape takes any length."""
    array = _array(text, value)
    if array.dtype.kind not in "fiub" or not _holds(array, dtype):
        raise UsageError(f"{text} does not fit {describe(value)}: wrong type of number")
    lengths = [length for length in shape if length is not None]
    if array.size == 1 and array.ndim <= 1 and len(lengths) == len(shape):
        return np.full(lengths, array.reshape(()), dtype)
    for taken in (array, array[None]):
        fits = [length is None or length == own for length, own in zip(shape, taken.shape, strict=False)]
        if taken.ndim == len(shape) and all(fits):
            return taken.astype(dtype)
    if len(lengths) == len(shape) and array.size == np.prod(lengths):
        return array.reshape(lengths).astype(dtype)
    raise UsageError(f"{text} does not fit {describe(value)}: it has the shape {list(array.shape)}")


def _array(text: str, value: onnx.ValueInfoProto) -> Values:
    try:
        if text.endswith(".npy"):
            array: Values = np.load(Path(text), allow_pickle=False)
            return array
        return np.asarray(json.loads(text))
    except (OSError, ValueError) as error:
        raise UsageError(f"{text} does not fit {describe(value)}: {error}") from error


def _holds(array: Values, dtype: np.dtype[Any]) -> bool:
    """Whether ``dtype`` can say these numbers; floats may lose digits."""
    if not np.isfinite(array.astype(np.float64)).all():
        return False
    if dtype.kind == "f":
        return bool(np.isfinite(array.astype(dtype)).all())
    with np.errstate(invalid="ignore"):
        return bool((array.astype(dtype).astype(np.float64) == array.astype(np.float64)).all())


def _dtype(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    except (KeyError, ValueError, TypeError):
        dtype = np.dtype(object)
    if dtype.kind not in "fiub":
        raise WeightsError(f"the input or output {value.name} holds no plain numbers")
    return dtype


def _text(shape: Shape) -> str:
    return f"[{', '.join('?' if length is None else str(length) for length in shape)}]"
