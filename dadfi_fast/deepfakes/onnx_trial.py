"""Tries a network on a picture, in a process of its own: what its values mean, and whether it can be relied on."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from dadfi_fast.deepfakes.onnx_guard import SIZED_BY_DATA, require_bounded
from dadfi_fast.deepfakes.onnx_interface import CHANNELS, LAYOUTS, LUMA, RANGES, RAW, Interface, NetworkWishes, Range
from dadfi_fast.deepfakes.onnx_normal_form import LUMA_WEIGHTS, Meaning, normal_form
from dadfi_fast.errors import UsageError, WeightsError
from dadfi_fast.types import Float32

#: Megabytes of memory that a trial may take, beside four times the file; on Linux.
MEGABYTES: Final = 6144
#: Seconds between two looks at a trial's memory.
PAUSE: Final = 0.02
#: Seconds that a trial may take.
SECONDS: Final = 600
#: How much nearer to the picture, on the [-1, 1] scale, one reading of the values must be than all others.
MARGIN: Final = 0.05
#: The largest distance from the picture at which an output counts as an edited picture.
UNLIKE: Final = 0.6
#: How much nearer the picture must be with blue first for the order to be in doubt, and what share of the distance may
#: be left for it to be certain.
ORDER_MARGIN: Final = 0.02
FAR: Final = 0.5
#: Edits that the trial looks at; the one that changes least counts.
EDITS: Final = 4
#: Mean difference, on the [-1, 1] scale, that a picture's fake may have from its fake within a batch.
TOLERANCE: Final = 1e-3
#: Operators that a value goes through unchanged, and what a network's last operator tells of its output.
PASSING: Final = frozenset({"Cast", "Identity", "Transpose"})
LAST: Final = {"Tanh": RANGES[0], "Sigmoid": RANGES[1]}
#: Fakes nearer to the picture than half a level are called unchanged, and fakes of two pictures the same.
UNCHANGED: Final = 0.004


def trial_picture(size: int) -> Float32:
    """Something like a portrait, [1, 3, size, size] in [-1, 1]: skin, dark hair, a blue background, black and white."""
    y, x = np.mgrid[0:size, 0:size] / size
    red, green, blue = 0.25 + 0.3 * x, 0.4 + 0.2 * y, 0.55 + 0.35 * y
    planes = np.stack([red, green, blue])
    for (cy, cx, height, width), colour in (
        ((0.48, 0.46, 0.4, 0.31), (0.12, 0.08, 0.06)),
        ((0.54, 0.46, 0.31, 0.23), (0.87, 0.66, 0.53)),
        ((0.96, 0.5, 0.2, 0.42), (0.98, 0.97, 0.92)),
        ((0.47, 0.37, 0.025, 0.04), (0.02, 0.02, 0.02)),
        ((0.47, 0.55, 0.025, 0.04), (0.02, 0.02, 0.02)),
        ((0.70, 0.46, 0.025, 0.08), (0.72, 0.25, 0.25)),
    ):
        inside = np.clip(8 * (1 - ((y - cy) / height) ** 2 - ((x - cx) / width) ** 2), 0, 1)
        planes += inside * (np.array(colour)[:, None, None] - planes)
    planes += 0.03 * np.random.default_rng(0).standard_normal((3, size, size))
    return (2 * planes.clip(0, 1) - 1)[None].astype(np.float32)


def run_apart(model: onnx.ModelProto, images: Float32, edits: Float32, *, batches: Sequence[int]) -> list[Float32]:
    """The outputs of ``model``, in its normal form, for N pictures: once for each of the ``batches``.

    Args:
        images: [N, 3, S, S].
        edits: [N, E].
        batches: batch sizes.

    Raises:
        WeightsError: it cannot be run, or takes too much memory or time.
    """
    with tempfile.TemporaryDirectory(prefix="dadfi-") as name:
        folder = Path(name)
        written = model.SerializeToString()
        (folder / "network.onnx").write_bytes(written)
        np.save(folder / "images.npy", np.ascontiguousarray(images, np.float32))
        np.save(folder / "edits.npy", np.ascontiguousarray(edits, np.float32))
        (folder / "batches.json").write_text(json.dumps(list(batches)))
        megabytes = MEGABYTES + (4 * len(written) >> 20)
        code = _watched(name, megabytes)
        failed = folder / "error.txt"
        if failed.is_file():
            raise WeightsError(f"the network cannot be run: {failed.read_text(encoding='utf-8')[:400]}")
        if code:
            raise WeightsError(f"the network cannot be run: the process that ran it crashed (exit code {code})")
        return [np.load(folder / f"{number}.npy") for number in range(len(batches))]


def _watched(folder: str, megabytes: int) -> int:
    """Run a process on ``folder`` and give its exit code; ended if it takes too much.

    A limit of the system's (RLIMIT_AS) would not do: OpenVINO goes on without the memory that it was refused, and gives
    back what lay there before.
    """
    command = [sys.executable, "-m", "dadfi_fast.deepfakes.onnx_trial_process", folder]
    # Python looks for modules in its working directory first: that must not be the user's.
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + SECONDS
        try:
            while process.poll() is None:
                if _resident(process.pid) > megabytes << 20:
                    raise WeightsError(f"the network is refused: it needs more than {megabytes:,} MB of memory")
                if time.monotonic() > end:
                    raise WeightsError(f"the network is refused: it ran for more than {SECONDS} s")
                time.sleep(PAUSE)
        finally:
            process.kill()
    return process.returncode


def _resident(process: int) -> int:
    """Bytes of memory that a process has; 0 where the system is not Linux."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class _Reading:
    """One way to read the values, and how far from the picture the output then is."""

    range: Range
    output_range: Range
    channels: str
    distance: float

    def words(self) -> str:
        return f"[{self.range.name}] in, [{self.output_range.name}] out"


def find_meaning(
    model: onnx.ModelProto, interface: Interface, wishes: NetworkWishes
) -> tuple[Meaning, tuple[str, ...]]:
    """What the pictures' values stand for, and notes on what was found out or assumed.

    Raises:
        UsageError: the trial does not tell, and an option must.
        WeightsError: the network cannot be run, or its output is no picture.
    """
    grey = interface.planes == 1
    plain = Meaning(RAW, RAW, LUMA if grey else "rgb", interface.layout)
    core = normal_form(model, interface, plain, any_batch=False, raw=True)
    shape = require_bounded(core).get("fake")
    ranges = (wishes.range,) if wishes.range else RANGES if interface.dtype.kind == "f" else RANGES[2:]
    orders = (LUMA,) if grey else (wishes.channels,) if wishes.channels else CHANNELS
    asked = list(itertools.product(ranges, orders))
    outputs, layout, shrink = _asked(core, interface, asked)
    _require_fixed_size(core, shape)
    notes = []
    if wishes.output_range is None and (last := last_range(core)):
        wishes = replace(wishes, output_range=last)
        notes.append(f"the output was taken to be [{last.name}] by its last operator. Override: --output-range")
    picture = trial_picture(interface.size)
    if grey:
        picture = np.tensordot(np.array(LUMA_WEIGHTS, np.float32), picture, (0, 1))[:, None]
    readings = [
        _Reading(r, q, order, min(_distance(_ordered(output[None], order), q, picture) for output in each))
        for (r, order), each in zip(asked, outputs, strict=True)
        for q in ((wishes.output_range,) if wishes.output_range else RANGES)
    ]
    readings.sort(key=lambda reading: reading.distance)
    best = _chosen(readings, wishes)
    order, note = _order(readings, best, wishes)
    notes += [*_range_notes(readings, best, wishes), *([note] if note else [])]
    if shrink > 1:
        notes.append(f"the output has {shrink} times the side of the input; it is averaged down to {interface.size} px")
    return Meaning(best.range, best.output_range, order, layout, shrink), tuple(notes)


@dataclass(frozen=True, eq=False)
class Sound:
    """A network that passed its trial."""

    model: onnx.ModelProto  # in its normal form
    any_batch: bool  # whether it takes any number of pictures at a time
    fakes: Float32  # [N, 3, S, S], of `trial_pairs`
    notes: tuple[str, ...]


def _asked(core: onnx.ModelProto, interface: Interface, asked: Sequence[tuple[Range, str]]) -> tuple[Float32, str, int]:
    """What the network gives for the trial picture in N ranges and orders, with its first edits; its form.

    Returns:
        The outputs [N, E, 3, S, S], their layout, and `Meaning.shrink`.

    Raises:
        WeightsError: the network cannot be run, or its output is no picture.
    """
    picture = trial_picture(interface.size)
    # Noise is the last: an output that has another size then has a size that depends on the picture.
    noise = np.random.default_rng(1).uniform(-1, 1, picture.shape).astype(np.float32)
    choices = np.eye(len(interface.edits), dtype=np.float32)[:EDITS]
    feeds = np.concatenate([_ordered(_applied(picture, r), order) for r, order in asked])
    images = np.concatenate([np.repeat(feeds, len(choices), axis=0), _applied(noise, asked[0][0])])
    edits = np.concatenate([np.tile(choices, (len(asked), 1)), choices[:1]])
    (outputs,) = run_apart(core, images, edits, batches=[1])
    layout, shrink = _output_form(outputs.shape, interface.size, interface.planes)
    if layout == "nhwc":
        outputs = outputs.transpose(0, 3, 1, 2)
    averaged = _averaged(outputs[:-1], shrink)
    return averaged.reshape(len(asked), len(choices), *averaged.shape[1:]), layout, shrink


def last_range(core: onnx.ModelProto) -> Range | None:
    """The range of the output by its last operator, a tanh or a sigmoid; None where that is another."""
    makers = {name: node for node in core.graph.node for name in node.output}
    node = makers.get("fake")
    while node is not None and node.op_type in PASSING:
        node = makers.get(node.input[0])
    return LAST.get(node.op_type) if node is not None else None


def require_sound(model: onnx.ModelProto, interface: Interface, meaning: Meaning) -> Sound:
    """The normal form that is kept, for any number of pictures where that gives the same fakes as one at a time.

    Raises:
        WeightsError: outputs are not finite, change from call to call, or do not depend on the picture.
    """
    images, edits = trial_pairs(interface)
    if all(each.batched or each.constant for each in interface.fixed):
        kept = normal_form(model, interface, meaning, any_batch=True)
        try:
            threes, twos, alone = run_apart(kept, images, edits, batches=[3, 2, 1])
        except WeightsError:
            threes = twos = alone = np.full((1, 1, 1, 1), np.nan, np.float32)
        if _same(threes, alone) and _same(twos, alone):
            return Sound(kept, True, alone, _notes(images, edits, alone, interface))
    kept = normal_form(model, interface, meaning, any_batch=False)
    first, second = run_apart(kept, images, edits, batches=[1, 1])
    notes = _notes(images, edits, first, interface)
    if not _same(first, second):
        raise WeightsError("the network is refused: it gives another output each time. Export it without noise.")
    return Sound(kept, False, first, ("the network takes one picture at a time, which is slower", *notes))


def trial_pairs(interface: Interface) -> tuple[Float32, Float32]:
    """Pictures [N, 3, S, S] and edits [N, E] (one-hot) that a network is tried with; each edit is among them."""
    picture = trial_picture(interface.size)
    noise = np.random.default_rng(1).uniform(-1, 1, picture.shape).astype(np.float32)
    choices = np.eye(len(interface.edits), dtype=np.float32)
    images = np.concatenate([picture, picture[..., ::-1], noise, *[picture] * (len(choices) - 1)])
    return images, np.concatenate([choices[[0, 0, -1]], choices[1:]])


def _notes(images: Float32, edits: Float32, fakes: Float32, interface: Interface) -> tuple[str, ...]:
    if not np.isfinite(fakes).all():
        raise WeightsError("the network is refused: its output has values that are not finite (NaN)")
    if np.abs(fakes[0] - fakes[1]).mean() < UNCHANGED:
        raise WeightsError("the network is refused: its output does not depend on the picture")
    changes = np.abs(fakes - images).mean((1, 2, 3))
    rows = [0, *range(3, len(images))]
    idle = [interface.edits[int(edits[row].argmax())] for row in rows if changes[row] < UNCHANGED]
    return tuple(f"the edit {name} changes nothing in the trial picture" for name in idle)


def _same(one: Float32, other: Float32) -> bool:
    if one.shape != other.shape or not np.isfinite(one).all():
        return False
    return bool(np.abs(one - other).mean((1, 2, 3)).max() <= TOLERANCE)


def _applied(picture: Float32, meaning: Range) -> Float32:
    scale, shift = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (meaning.scale, meaning.shift))
    return picture * scale + shift


def _ordered(picture: Float32, channels: str) -> Float32:
    return picture[:, ::-1] if channels == "bgr" else picture


def _output_form(shape: tuple[int, ...], size: int, planes: int) -> tuple[str, int]:
    """Layout of an output, and how many times the side of the input it has.

    Raises:
        WeightsError: it is no picture, or of a size that is not taken.
    """
    for layout, channel in zip(LAYOUTS, (1, 3), strict=True):
        if len(shape) == 4 and shape[channel] == planes:
            sides = [shape[axis] for axis in (1, 2, 3) if axis != channel]
            if sides[0] == sides[1] and sides[0] % size == 0 and sides[0] >= size:
                return layout, sides[0] // size
            raise WeightsError(
                f"the network gives pictures of {sides[1]} x {sides[0]} pixels for {size} x {size}; only the same size,"
                " or a whole multiple of it, is taken"
            )
    wanted = "three channels" if planes == 3 else "one channel, as the input has"
    raise WeightsError(f"the output is not a picture of {wanted}: its shape is {list(shape[1:])} for one picture")


def _require_fixed_size(core: onnx.ModelProto, shape: tuple[int | None, ...] | None) -> None:
    by_data = [node.op_type for node in core.graph.node if node.op_type in SIZED_BY_DATA]
    if by_data and (shape is None or None in shape):
        raise WeightsError(f"the network is refused: the size of its output depends on data (operator {by_data[0]})")


def _averaged(pictures: Float32, shrink: int) -> Float32:
    n, channels, height, width = pictures.shape
    blocks = pictures.reshape(n, channels, height // shrink, shrink, width // shrink, shrink)
    averaged: Float32 = blocks.mean((3, 5), dtype=np.float32)
    return averaged


def _distance(output: Float32, meaning: Range, picture: Float32) -> float:
    """How far an output, read as ``meaning``, is from the picture, with what lies beyond black and white added."""
    if not np.isfinite(output).all():
        return float("inf")
    scale, shift = (np.array(values, np.float64).reshape(1, 3, 1, 1) for values in (meaning.scale, meaning.shift))
    values = (output - shift) / scale
    inside = values.clip(-1, 1)
    return float(np.abs(inside - picture).mean() + np.abs(values - inside).mean())


def _chosen(readings: Sequence[_Reading], wishes: NetworkWishes) -> _Reading:
    best, *_ = readings
    if not np.isfinite(best.distance):
        raise WeightsError("the network is refused: its output has values that are not finite (NaN)")
    if wishes.range and wishes.output_range:
        return best
    missing = " and ".join(
        option for option, said in (("--range", wishes.range), ("--output-range", wishes.output_range)) if said is None
    )
    if best.distance > UNLIKE:
        raise UsageError(
            f"cannot tell the range of the values: whichever is assumed, the output does not look like the picture"
            f" (distance {best.distance:.2f}). Pass {missing}."
        )
    rival = _rival(readings, best)
    if rival and rival.distance < best.distance + MARGIN:
        raise UsageError(
            f"cannot tell the range of the values: {best.words()} and {rival.words()} look alike on the trial picture"
            f" (distances {best.distance:.2f} and {rival.distance:.2f}). Pass {missing}."
        )
    return best


def _rival(readings: Sequence[_Reading], best: _Reading) -> _Reading | None:
    """The best reading of other ranges."""
    own = (best.range, best.output_range)
    return next((reading for reading in readings if (reading.range, reading.output_range) != own), None)


def _order(readings: Sequence[_Reading], best: _Reading, wishes: NetworkWishes) -> tuple[str, str | None]:
    """The order of the channels, and a note unless it was said.

    Edits of colour move the distances too, so that blue is taken to be first only if that is far better.

    Raises:
        UsageError: blue first is better, and not by far.
    """
    if best.channels == LUMA:
        return LUMA, "the network takes one channel: it gets the luma (Y) of the picture, whose colours are kept"
    if wishes.channels:
        return wishes.channels, None
    alike = [r for r in readings if (r.range, r.output_range) == (best.range, best.output_range)]
    apart = {r.channels: r.distance for r in alike}
    how = f"distances from the trial picture: rgb {apart['rgb']:.2f}, bgr {apart['bgr']:.2f}"
    if apart["bgr"] > apart["rgb"] - ORDER_MARGIN:
        return "rgb", f"the order of the channels was assumed to be rgb ({how}). Override: --channels bgr"
    if apart["bgr"] > FAR * apart["rgb"]:
        raise UsageError(f"cannot tell the order of the channels ({how}). Pass --channels rgb or bgr.")
    return "bgr", f"the order of the channels was found to be bgr ({how}). Override: --channels rgb"


def _range_notes(readings: Sequence[_Reading], best: _Reading, wishes: NetworkWishes) -> Iterator[str]:
    if wishes.range and wishes.output_range:
        return
    rival = _rival(readings, best)
    how = f"distance from the trial picture {best.distance:.2f}" + (
        f", next best {rival.distance:.2f}" if rival else ""
    )
    yield f"the values were found to be {best.words()} ({how}). Override: --range, --output-range"
