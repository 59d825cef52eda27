"""How far two backends are apart: on the same crops, in levels of 0-255; on demand layer by layer."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from dadfi_fast.backends.base import Backend
from dadfi_fast.backends.generator_file import GeneratorFile
from dadfi_fast.backends.registry import BACKENDS
from dadfi_fast.errors import BackendMissing, DadfiError, PhotoError, UsageError
from dadfi_fast.types import LEVELS, Float32, UInt8

#: How far a precision may be from float32 PyTorch on crops of faces: largest and root-mean-square difference, levels.
LIMITS: Final = {"f32": (0.01, 0.001), "f16": (0.5, 0.02), "bf16": (4.0, 0.1)}

#: Larger photos are passed over.
MAX_PIXELS: Final = 50_000_000


@dataclass(frozen=True)
class Difference:
    """Between the outputs of two backends."""

    backend: str  # as it describes itself
    against: str
    precision: str
    largest: float  # levels
    rms: float  # root mean square, levels
    pixels: float  # share of the values of the protected picture that are another whole level

    @property
    def within(self) -> bool:
        """Whether it keeps to `LIMITS`."""
        largest, rms = LIMITS[self.precision]
        return self.largest <= largest and self.rms <= rms


@dataclass(frozen=True)
class Layer:
    """The same after one layer, on the layer's own scale."""

    name: str
    largest: float  # difference
    rms: float
    peak: float  # largest value that the layer puts out


def compare(
    backend: Backend, against: Backend, batches: Iterable[Float32], *, precision: str | None = None
) -> Difference:
    """Run both on ``batches`` of crops ([B, 3, H, W] in [-1, 1] each, at least one).

    Args:
        precision: what ``backend`` is judged as; what it computes in if None (a file in float16 makes it less exact).
    """
    largest, squares, moved, count = 0.0, 0.0, 0, 0
    for crops in batches:
        one, other = backend(crops), against(crops)
        apart = np.abs(one - other).astype(np.float64) * LEVELS
        largest = max(largest, float(apart.max()))
        squares += float(np.square(apart).sum())
        moved += int(np.count_nonzero(_written(crops + one) != _written(crops + other)))
        count += apart.size
    rms = float(np.sqrt(squares / count))
    return Difference(backend.describe, against.describe, precision or backend.precision, largest, rms, moved / count)


def layers(backend: Backend, against: Backend, crops: Float32) -> list[Layer]:
    """Compare what each layer (a convolution with its norm, activation and addition) puts out.

    Raises:
        UsageError: one of them cannot be looked into.
    """
    pairs = zip(_outputs(backend, crops), _outputs(against, crops), strict=True)
    return [_layer(name, one, other) for (name, one), (_, other) in pairs]


def runners(
    generator_file: GeneratorFile, names: Iterable[str], *, device: str = "cpu", precision: str | None = None
) -> tuple[list[Backend], list[str]]:
    """The backends ``names`` that can run ``generator_file`` on ``device``, in each precision; why others cannot.

    Args:
        precision: this one only.
    """
    backends: list[Backend] = []
    missing: list[str] = []
    for name in names:
        kind = BACKENDS[name]()
        try:
            for each in kind.devices.get(device.partition(":")[0], ()) if precision is None else (precision,):
                backends.append(kind(generator_file, device=device, precision=each))
        except DadfiError as error:
            missing.append(f"{name}: {error}")
    return backends, missing


def reference(generator_file: GeneratorFile) -> Backend:
    """PyTorch in float32; where it is not installed, or has no weights, the next backend that computes in float32.

    Raises:
        BackendMissing: nothing runs on the CPU here.
    """
    for name in ("torch", "onnxruntime", "openvino"):
        backend = BACKENDS[name]()
        if backend.missing() is None and (name != "torch" or generator_file.safetensors is not None):
            return backend(generator_file, precision="f32")
    raise BackendMissing("nothing to compare with. Run: pip install 'dadfi-fast[train]'")


def pictures(count: int = 4, *, size: int = 256, seed: int = 0) -> Float32:
    """Crops [count, 3, size, size] in [-1, 1] for where there are no photos: noise with the spectrum of pictures (1/f).

    Amplitudes fall with spatial frequency as in natural scenes (Field 1987); most of it is common to the channels.
    """
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1
    images = []
    for _ in range(count):
        planes = np.fft.irfft2(np.fft.rfft2(random.standard_normal((4, size, size))) / frequency, (size, size))
        planes = (planes - planes.mean((1, 2), keepdims=True)) / planes.std((1, 2), keepdims=True)
        images.append(0.35 * planes[0] + 0.1 * planes[1:] + random.uniform(-0.3, 0.3))
    return np.stack(images).clip(-1, 1).astype(np.float32)


def photo_crops(folder: Path, *, size: int, most: int = 16) -> Float32:
    """Crops [B, 3, size, size] of the first faces in a folder of photos, at most ``most``.

    Raises:
        UsageError: there is no face in them.
    """
    from dadfi_fast.faces.detector import choose_detector
    from dadfi_fast.protect.crop import crops, squares

    find, _ = choose_detector("auto")
    found: list[Float32] = []
    for pixels in _photos(folder):
        if faces := find(pixels):
            found.extend(crops(pixels, squares(faces), size=size))
        if len(found) >= most:
            break
    if not found:
        raise UsageError(f"no face found in the photos in {folder}. Choose another folder.")
    return np.stack(found[:most])


def _photos(folder: Path) -> Iterator[UInt8]:
    """The pixels of all pictures in ``folder`` and below, in name order; what is none is passed over."""
    from dadfi_fast.images.decode import decode, open_picture

    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with contextlib.suppress(PhotoError):
            yield decode(open_picture(path.read_bytes(), max_pixels=MAX_PIXELS), path).pixels


def _written(picture: Float32) -> Float32:
    """Whole levels, as a file has them."""
    return np.rint((picture.clip(-1, 1) + 1) * np.float32(LEVELS))


def _layer(name: str, one: Float32, other: Float32) -> Layer:
    apart = np.abs(one - other).astype(np.float64)
    return Layer(name, float(apart.max()), float(np.sqrt(np.square(apart).mean())), float(np.abs(other).max()))


def _outputs(backend: Backend, crops: Float32) -> Iterator[tuple[str, Float32]]:
    if backend.name == "torch":
        return iter(_modules(backend, crops))
    if "cpu" not in backend.devices:
        raise UsageError(f"the layers of {backend.name} are inside its engine. Compare onnxruntime or openvino.")
    return _cut(backend, crops)


def _modules(backend: Backend, crops: Float32) -> list[tuple[str, Float32]]:
    """What PyTorch's modules put out, in the order in which they run."""
    from dadfi_fast.backends.torch import Torch
    from dadfi_fast.models.generator import ConvNorm

    assert isinstance(backend, Torch)
    outputs: list[tuple[str, Float32]] = []
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: outputs.append((name, out.float().cpu().numpy())))
        for name, module in backend.generator.named_modules()
        if isinstance(module, ConvNorm)
    ]
    try:
        delta = backend.run(crops)
    finally:
        for hook in hooks:
            hook.remove()
    return [*outputs, ("delta", delta)]


def _cut(backend: Backend, crops: Float32) -> Iterator[tuple[str, Float32]]:
    """Run the ONNX file as far as each layer, as a model of its own."""
    names = _ends(backend.generator_file.onnx.read_bytes())
    with tempfile.TemporaryDirectory(prefix="dadfi-parity-") as folder:
        for number, (name, model) in enumerate(names):
            path = Path(folder) / f"{number}.onnx"
            path.write_bytes(model)
            part = replace(backend.generator_file, onnx=path)
            yield name, type(backend)(part, device=backend.device, precision=backend.precision).run(crops)


def _ends(model: bytes) -> Sequence[tuple[str, bytes]]:
    """Name of each layer, and the model that ends after it: where the next convolution takes its input."""
    import onnx

    whole = onnx.load_from_string(model)
    convolutions = [node for node in whole.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    ends = []
    for layer, following in itertools.pairwise(convolutions):
        ends.append((layer.input[1].removesuffix(".conv.weight"), _ending(model, following.input[0])))
    return [*ends, ("delta", model)]


def _ending(model: bytes, tensor: str) -> bytes:
    """The model with ``tensor``, as float32, for its output "delta"."""
    import onnx

    cut = onnx.load_from_string(model)
    nodes, needed = [], {tensor}
    for node in reversed(cut.graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed.update(node.input)
    end = onnx.helper.make_node("Cast", [tensor], ["delta"], name="end", to=onnx.TensorProto.FLOAT)
    del cut.graph.node[:]
    cut.graph.node.extend([*reversed(nodes), end])
    weights = [weight for weight in cut.graph.initializer if weight.name in needed]
    del cut.graph.initializer[:], cut.graph.value_info[:], cut.graph.output[:]
    cut.graph.initializer.extend(weights)
    cut.graph.output.append(
        onnx.helper.make_tensor_value_info("delta", onnx.TensorProto.FLOAT, ["batch", None, None, None])
    )
    return bytes(cut.SerializeToString())
