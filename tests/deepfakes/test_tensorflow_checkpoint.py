"""STGAN's official names and shapes, and the arithmetic that TensorFlow does with them, written out in numpy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dadfi_fast.deepfakes import stgan
from dadfi_fast.deepfakes.tensorflow_checkpoint import read_variables, to_state
from dadfi_fast.errors import BackendMissing, WeightsError

Array: TypeAlias = NDArray[np.float32]
Shapes: TypeAlias = dict[str, tuple[int, ...]]


def normed(name: str, kernel: tuple[int, ...], width: int) -> Shapes:
    norm = dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (width,))
    return {f"{name}/weights": kernel} | {f"{name}/BatchNorm/{k}": shape for k, shape in norm.items()}


def biased(name: str, kernel: tuple[int, ...], width: int) -> Shapes:
    return {f"{name}/weights": kernel, f"{name}/biases": (width,)}


#: The official file, at 64 channels and 13 attributes, written out.
OFFICIAL: Shapes = {
    **normed("Genc/Conv", (4, 4, 3, 64), 64),
    **normed("Genc/Conv_1", (4, 4, 64, 128), 128),
    **normed("Genc/Conv_2", (4, 4, 128, 256), 256),
    **normed("Genc/Conv_3", (4, 4, 256, 512), 512),
    **normed("Genc/Conv_4", (4, 4, 512, 1024), 1024),
    **biased("Gstu/Conv2d_transpose", (4, 4, 512, 1024 + 13), 512),
    **biased("Gstu/Conv", (3, 3, 1024, 512), 512),
    **biased("Gstu/Conv_1", (3, 3, 1024, 512), 512),
    **biased("Gstu/Conv_2", (3, 3, 1024, 512), 512),
    **biased("Gstu/Conv2d_transpose_1", (4, 4, 256, 512 + 13), 256),
    **biased("Gstu/Conv_3", (3, 3, 512, 256), 256),
    **biased("Gstu/Conv_4", (3, 3, 512, 256), 256),
    **biased("Gstu/Conv_5", (3, 3, 512, 256), 256),
    **biased("Gstu/Conv2d_transpose_2", (4, 4, 128, 256 + 13), 128),
    **biased("Gstu/Conv_6", (3, 3, 256, 128), 128),
    **biased("Gstu/Conv_7", (3, 3, 256, 128), 128),
    **biased("Gstu/Conv_8", (3, 3, 256, 128), 128),
    **biased("Gstu/Conv2d_transpose_3", (4, 4, 64, 128 + 13), 64),
    **biased("Gstu/Conv_9", (3, 3, 128, 64), 64),
    **biased("Gstu/Conv_10", (3, 3, 128, 64), 64),
    **biased("Gstu/Conv_11", (3, 3, 128, 64), 64),
    **normed("Gdec/Conv2d_transpose", (4, 4, 1024, 1024 + 13), 1024),
    **normed("Gdec/Conv2d_transpose_1", (4, 4, 512, 1024 + 512 + 13), 512),
    **normed("Gdec/Conv2d_transpose_2", (4, 4, 256, 512 + 256 + 13), 256),
    **normed("Gdec/Conv2d_transpose_3", (4, 4, 128, 256 + 128 + 13), 128),
    **biased("Gdec/Conv2d_transpose_4", (4, 4, 3, 128 + 64 + 13), 3),
}


def test_the_official_file_fits_our_generator_at_full_width() -> None:
    variables = {name: np.broadcast_to(np.float32(0), shape) for name, shape in OFFICIAL.items()}
    state = to_state(variables)
    with torch.device("meta"):
        ours = stgan.Generator().state_dict()
    expected = {name: value.shape for name, value in ours.items() if not name.endswith("num_batches_tracked")}
    assert {name: value.shape for name, value in state.items()} == expected
    assert sum(value.numel() for value in state.values()) == sum(int(np.prod(s)) for s in OFFICIAL.values())


def tiny(dim: int = 2, attributes: int = 2, layers: int = 3) -> dict[str, Array]:
    """Random variables of a small STGAN, in the official order of creation."""
    rng = np.random.default_rng(0)
    widths = [dim * 2**i for i in range(layers)]
    nth: Callable[[str, int], str] = lambda kind, i: f"{kind}_{i}" if i else kind  # noqa: E731
    shapes: Shapes = {}
    for i, (a, b) in enumerate(zip([3, *widths], widths, strict=False)):
        shapes |= normed(f"Genc/{nth('Conv', i)}", (4, 4, a, b), b)
    for i, width in enumerate(widths[-2::-1]):
        shapes |= biased(f"Gstu/{nth('Conv2d_transpose', i)}", (4, 4, width, 2 * width + attributes), width)
        for j in range(3):
            shapes |= biased(f"Gstu/{nth('Conv', 3 * i + j)}", (3, 3, 2 * width, width), width)
    source = widths[-1]
    for i, width in enumerate(widths[:0:-1]):
        shapes |= normed(f"Gdec/{nth('Conv2d_transpose', i)}", (4, 4, width, source + attributes), width)
        source = width + width // 2
    shapes |= biased(f"Gdec/{nth('Conv2d_transpose', layers - 1)}", (4, 4, 3, source + attributes), 3)
    return {
        name: (rng.uniform(0.5, 1.5, shape) if name.endswith("variance") else rng.normal(0, 0.3, shape)).astype("f4")
        for name, shape in shapes.items()
    }


def conv(x: Array, v: dict[str, Array], name: str, stride: int = 1) -> Array:
    """``tf.nn.conv2d`` with SAME padding: pictures [B, H, W, C], kernels [h, w, in, out]."""
    kernel = v[f"{name}/weights"]
    size, out = kernel.shape[0], -(-x.shape[1] // stride)
    pad = max((out - 1) * stride + size - x.shape[1], 0)
    x = np.pad(x, ((0, 0), (pad // 2, pad - pad // 2), (pad // 2, pad - pad // 2), (0, 0)))
    positions = [(i, j) for i in range(size) for j in range(size)]
    cut = [x[:, i : i + out * stride : stride, j : j + out * stride : stride][:, :out, :out] for i, j in positions]
    return finish(sum(part @ kernel[i, j] for part, (i, j) in zip(cut, positions, strict=True)), v, name)


def dconv(x: Array, v: dict[str, Array], name: str) -> Array:
    """``tf.nn.conv2d_transpose`` with SAME padding and stride 2: kernels [h, w, out, in]."""
    kernel, side = v[f"{name}/weights"], x.shape[1]
    full = np.zeros((len(x), 2 * side + 2, 2 * side + 2, kernel.shape[2]), np.float32)
    for i in range(4):
        for j in range(4):
            full[:, i : i + 2 * side : 2, j : j + 2 * side : 2] += x @ kernel[i, j].T
    return finish(full[:, 1:-1, 1:-1], v, name)


def finish(x: Array, v: dict[str, Array], name: str) -> Array:
    if f"{name}/biases" in v:
        return x + v[f"{name}/biases"]
    gamma, beta, mean, variance = (
        v[f"{name}/BatchNorm/{k}"] for k in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def official_forward(v: dict[str, Array], x: Array, difference: Array) -> Array:
    """STGAN of three layers on [B, H, W, 3]."""

    def joined(*parts: Array) -> Array:
        plane = np.broadcast_to(difference[:, None, None], (*parts[0].shape[:3], difference.shape[1]))
        return np.concatenate([*parts, plane], axis=3)

    features = []
    for name in ("Genc/Conv", "Genc/Conv_1", "Genc/Conv_2"):
        x = conv(x, v, name, 2)
        x = np.where(x > 0, x, 0.2 * x)
        features.append(x)
    chosen, state = [features[2]], joined(features[2])
    for up, gates, skip in (
        ("", ("", "_1", "_2"), features[1]),
        ("_1", ("_3", "_4", "_5"), features[0]),
    ):
        raised = dconv(state, v, f"Gstu/Conv2d_transpose{up}")
        both = np.concatenate([skip, raised], axis=3)
        passed = sigmoid(conv(both, v, f"Gstu/Conv{gates[0]}")) * raised
        update = sigmoid(conv(both, v, f"Gstu/Conv{gates[1]}"))
        info = np.tanh(conv(np.concatenate([skip, passed], axis=3), v, f"Gstu/Conv{gates[2]}"))
        chosen.insert(0, (1 - update) * raised + update * info)
        state = joined(passed)
    x = joined(chosen[2])
    for i, skip in (("", chosen[1]), ("_1", chosen[0])):
        x = joined(np.maximum(dconv(x, v, f"Gdec/Conv2d_transpose{i}"), 0), skip)
    return np.tanh(dconv(x, v, "Gdec/Conv2d_transpose_2"))


def test_the_generator_computes_what_tensorflow_does() -> None:
    variables, rng = tiny(), np.random.default_rng(1)
    x, difference = rng.uniform(-1, 1, (2, 16, 16, 3)).astype("f4"), rng.uniform(-1, 1, (2, 2)).astype("f4")
    generator = stgan.load(to_state(variables))
    assert (generator.dim, generator.c_dim, generator.layers, generator.training) == (2, 2, 3, False)
    with torch.no_grad():
        ours = generator(torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(difference))
    expected = official_forward(variables, x, difference)
    assert expected.std() > 0.1
    np.testing.assert_allclose(ours.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.pop("Gstu/Conv_3/biases"), "Gstu/Conv_3/biases is missing"),  # a norm in the transfer units
        (lambda v: v.update({"Gdec/Conv2d_transpose_3/weights": np.zeros(1)}), "_3/weights is unknown"),
        (lambda v: v.clear(), "is missing"),  # a checkpoint of something else
    ],
    ids=["less", "more", "nothing"],
)
def test_other_architectures_are_refused(change: Callable[[dict[str, Any]], object], words: str) -> None:
    variables: dict[str, Any] = tiny()
    change(variables)
    with pytest.raises(WeightsError, match=words):
        to_state(variables)


class Reader:
    """What ``tf.train.load_checkpoint`` gives, for variables that also belong to others."""

    def __init__(self, variables: dict[str, Array]) -> None:
        others = ("D/Conv/weights", "Genc/Conv/weights/Adam", "Gdec/Conv2d_transpose/weights/Adam_1", "beta1_power")
        self.variables = variables | dict.fromkeys(others, np.zeros(1, np.float32))

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        return {name: list(value.shape) for name, value in self.variables.items()}

    def get_tensor(self, name: str) -> Array:
        return self.variables[name]


def tensorflow(monkeypatch: pytest.MonkeyPatch, load: Callable[[str], Reader]) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(train=SimpleNamespace(load_checkpoint=load)))


def test_only_the_generators_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    prefixes: list[str] = []
    tensorflow(monkeypatch, lambda prefix: prefixes.append(prefix) or Reader(tiny()))  # type: ignore[func-returns-value]
    variables = read_variables(Path("somewhere/Epoch_(9).ckpt"))
    assert variables.keys() == tiny().keys() and prefixes == [str(Path("somewhere/Epoch_(9).ckpt"))]
    assert all(np.array_equal(variables[name], value) for name, value in tiny().items())


def test_a_damaged_file_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(prefix: str) -> Reader:
        raise RuntimeError("Unable to open table file: Data loss\nmore")

    tensorflow(monkeypatch, load)
    with pytest.raises(WeightsError, match=r"cannot read x\.ckpt \(Unable .* Data loss\); both files of the pair"):
        read_variables(Path("x.ckpt"))


def test_without_tensorflow_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(BackendMissing, match="pip install tensorflow-cpu"):
        read_variables(Path("x.ckpt"))
