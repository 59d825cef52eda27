"""Networks of others as torch modules: the pictures of the ONNX file, and gradients."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from dadfi_fast.deepfakes import onnx_torch
from dadfi_fast.deepfakes.onnx_interface import RANGES, EditWish, Interface, NetworkWishes, find_interface
from dadfi_fast.deepfakes.onnx_model import DeepfakeModel
from dadfi_fast.deepfakes.onnx_network import read_own, write_own
from dadfi_fast.deepfakes.onnx_normal_form import Meaning, normal_form
from dadfi_fast.deepfakes.onnx_trial import run_apart, trial_pairs
from dadfi_fast.deepfakes.torch_model import load_target
from dadfi_fast.errors import BackendMissing, WeightsError
from dadfi_fast.model_card import Card, amend_card, find_card
from dadfi_fast.types import Float32

pytestmark = pytest.mark.usefixtures("tried_here")

Write = Callable[..., Path]
Normal = Callable[..., tuple[onnx.ModelProto, Interface]]

#: Nodes from the picture x and the number a to y, as networks that edit pictures have them.
NODES = {
    "convolution": "w = Constant<value_floats = [0.1, -0.2, 0.3]>() k = Unsqueeze(w, ones) t = ConvTranspose"
    "<strides = [2,2]>(x, table) n = InstanceNormalization(t, w, w) "
    "d = Conv<strides = [2,2]>(n, back) y = Tanh(d)",
    "planes": "s = Shape(x) p = Unsqueeze(a, ones) e = Expand(p, s) u = Mul(e, x) l = LeakyRelu(u) y = Tanh(l)",
    "resize": 'e = Constant<value = float[0] {}>() k = Constant<value = float[4] {1.0, 1.0, 2.0, 2.0}>() '
    'm = MaxPool<kernel_shape = [2,2], strides = [2,2]>(x) y = Resize<mode = "linear">(m, e, k)',
    "padding": 'p = Constant<value_ints = [0,0,1,1,0,0,1,1]>() q = Pad<mode = "reflect">(x, p) '
    "y = AveragePool<kernel_shape = [3,3]>(q)",
    "statistics": "m = ReduceMean<axes = [2,3]>(x) c = Sub(x, m) q = Mul(c, c) v = ReduceMean<axes = [2,3]>(q) "
    "h = Constant<value = float[1] {0.1}>() w = Add(v, h) r = Sqrt(w) y = Div(c, r)",
}  # fmt: skip


def graph(nodes: str, kind: str = "float[n,3,32,32]") -> str:
    return f"""own ({kind} x, float[n] a) => ({kind.replace("uint8", "float")} y) {{
        ones = Constant<value_ints = [1,2,3]>()
        table = Constant<value = float[3,3,2,2] {{{", ".join(f"{0.03 * (i % 7) - 0.1:.2f}" for i in range(36))}}}>()
        back = Constant<value = float[3,3,2,2] {{{", ".join(f"{0.05 * (i % 5) - 0.1:.2f}" for i in range(36))}}}>()
        {nodes}
    }}"""


@pytest.fixture
def normal(network: Write, tmp_path: Path) -> Normal:
    """A network in its normal form, with two edits, and how it is called."""

    def make(
        nodes: str, *, any_batch: bool = True, kind: str = "float[n,3,32,32]"
    ) -> tuple[onnx.ModelProto, Interface]:
        model = onnx.load(network(tmp_path / "net.onnx", graph(nodes, kind)))
        wishes = NetworkWishes(edits=[EditWish("more", {"a": "0.5"}), EditWish("less", {"a": "-1"})])
        interface = find_interface(model, wishes)
        values = RANGES[2] if interface.dtype == np.uint8 else RANGES[0]
        meaning = Meaning(values, values, "rgb", "nchw")
        return normal_form(model, interface, meaning, any_batch=any_batch), interface

    return make


def tried(model: onnx.ModelProto, interface: Interface) -> tuple[Float32, Float32, Float32]:
    images, edits = trial_pairs(interface)
    return images, edits, run_apart(model, images, edits, batches=[1])[0]


@pytest.mark.extras("own-models")
@pytest.mark.parametrize("any_batch", [True, False])
@pytest.mark.parametrize("nodes", NODES)
def test_the_module_gives_the_pictures_of_the_file_and_a_gradient(normal: Normal, nodes: str, any_batch: bool) -> None:
    model, interface = normal(NODES[nodes], any_batch=any_batch)
    images, edits, fakes = tried(model, interface)
    assert onnx_torch.why_not(model, images, edits, fakes, one_by_one=not any_batch) == ""
    module = onnx_torch.convert(model, one_by_one=not any_batch)
    x = torch.from_numpy(0.5 * images).requires_grad_()
    (gradient,) = torch.autograd.grad(module(x, torch.from_numpy(edits)).square().mean(), x)
    # The gradient is that of the file: the mean square changes along it as it says.
    step = gradient.numpy() / np.abs(gradient.numpy()).max()
    ends = [run_apart(model, 0.5 * images + sign * 0.01 * step, edits, batches=[1])[0] for sign in (1, -1)]
    measured = (np.square(ends[0], dtype=np.float64).mean() - np.square(ends[1], dtype=np.float64).mean()) / 0.02
    assert measured == pytest.approx(float((gradient.numpy() * step).sum()), rel=0.05)


#: Bundled models, whose own modules are the reference: float16 weights, norms, attention, styles.
BUNDLED = {
    "stargan2-64": ("edit=[0,1,0,0,0,0]", [0, 1, 0, 0, 0, 0]),
    "stgan-sac-64": ("difference=[0,1.5,-1,0,0]", [0, 1.5, -1, 0, 0]),
}


@pytest.mark.extras("own-models")
@pytest.mark.parametrize("name", BUNDLED)
def test_gradients_are_those_of_our_own_modules(name: str) -> None:
    text, edit = BUNDLED[name]
    own = load_target(find_card(name))
    model = onnx.load(find_card(name).file)
    interface = find_interface(model, NetworkWishes(edits=[EditWish.parse(f"it:{text}")]))
    kept = normal_form(model, interface, Meaning(RANGES[0], RANGES[0], "rgb", "nchw"), any_batch=True)
    images, edits, fakes = tried(kept, interface)
    assert onnx_torch.why_not(kept, images, edits, fakes, one_by_one=False) == ""
    x, module = torch.from_numpy(images).requires_grad_(), onnx_torch.convert(kept, one_by_one=False)
    other = own.fake(x, torch.tensor(edit, dtype=torch.float32).repeat(len(x), 1))
    (expected,) = torch.autograd.grad(other.square().mean(), x)
    (gradient,) = torch.autograd.grad(module(x, torch.from_numpy(edits)).square().mean(), x)
    assert float((gradient - expected).norm() / expected.norm()) < 0.01


@pytest.mark.extras("own-models")
def test_gradients_reach_a_picture_through_its_luma(network: Write, tmp_path: Path) -> None:
    text = "own (float[n,1,32,32] x) => (float[n,1,32,32] y) { y = Tanh(x) }"
    model = onnx.load(network(tmp_path / "net.onnx", text))
    interface = find_interface(model, NetworkWishes())
    kept = normal_form(model, interface, Meaning(RANGES[0], RANGES[0], "luma", "nchw"), any_batch=True)
    assert onnx_torch.why_not(kept, *tried(kept, interface), one_by_one=False) == ""
    x = torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
    out = onnx_torch.convert(kept, one_by_one=False)(x, torch.ones(1, 1))
    (gradient,) = torch.autograd.grad(out[0, 0].sum(), x)
    expected = np.array([1, 0, 0]) - np.tanh(0.5) ** 2 * np.array([0.299, 0.587, 0.114])  # of x + tanh(Y) - Y
    np.testing.assert_allclose(gradient[0, :, 0, 0].numpy(), expected, atol=1e-6)


@pytest.mark.extras("own-models")
def test_where_no_gradient_arrives_it_is_told(normal: Normal) -> None:
    model, interface = normal("y = Cast<to = 1>(x)", kind="uint8[n,3,32,32]")
    assert "no gradient arrives" in onnx_torch.why_not(model, *tried(model, interface), one_by_one=False)


@pytest.mark.extras("own-models")
def test_what_is_not_converted_is_told(normal: Normal) -> None:
    model, interface = normal("y = Tanh(x)")
    images, edits, fakes = tried(model, interface)
    model.graph.node[-1].op_type = "Unheard"
    assert "onnx2pytorch cannot convert it" in onnx_torch.why_not(model, images, edits, fakes, one_by_one=False)


def test_other_pictures_are_told(normal: Normal, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(nn.Module):
        def forward(self, x: torch.Tensor, edit: torch.Tensor) -> torch.Tensor:
            return torch.tanh(x) + 0.01

    model, interface = normal("y = Tanh(x)")
    monkeypatch.setattr(onnx_torch, "_converter", lambda: lambda model: Wrong())
    why_not = onnx_torch.why_not(model, *tried(model, interface), one_by_one=False)
    assert "gives other pictures (mean difference 0.01 of 2)" in why_not


@pytest.mark.extras("own-models")
def test_torchvision_is_neither_wanted_nor_left_replaced() -> None:
    onnx_torch._converter()
    assert "torchvision" not in sys.modules or hasattr(sys.modules["torchvision"], "__version__")


@pytest.fixture
def card(network: Write, tmp_path: Path) -> Card:
    """A written model with two edits."""
    wishes = NetworkWishes(edits=[EditWish("more", {"a": "0.5"}), EditWish("less", {"a": "-1"})])
    nodes = "g = Constant<value = float[1] {0.3}>() p = Unsqueeze(a, ones) q = Mul(p, g) u = Add(q, x) y = Tanh(u)"
    (tmp_path / "mine").mkdir()
    return write_own(read_own(network(tmp_path / "own.onnx", graph(nodes)), wishes), tmp_path / "mine", name="mine")


@pytest.mark.extras("own-models")
def test_a_target_is_the_model_that_is_judged(card: Card) -> None:
    assert card.extra["differentiable"] is True
    target, model = load_target(card), DeepfakeModel(card, threads=1)
    images, labels = (
        np.random.default_rng(0).uniform(-1, 1, (2, 3, 32, 32)).astype(np.float32),
        np.zeros((2, 0), np.float32),
    )
    edits = target.edits(torch.from_numpy(labels))
    np.testing.assert_array_equal(edits.numpy(), model.edits(labels))
    assert [name for name, _ in model.wanted(labels)] == ["more", "less"] == list(model.edit_names)
    for edit in edits:
        fake = target.fake(torch.from_numpy(images), edit)
        np.testing.assert_allclose(fake.numpy(), model.fake(images, edit.numpy()), atol=1e-5)


def test_a_model_that_is_judged_only_is_no_target(card: Card) -> None:
    judged = amend_card(card, {"differentiable": False, "why_not": "no gradient arrives at the picture"})
    with pytest.raises(
        WeightsError, match=r"mine can be judged only .*: no gradient arrives at the picture\. Leave it"
    ):
        load_target(judged)


def test_without_the_converter_the_model_is_judged_only(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendMissing, match="pip install --no-deps onnx2pytorch"):
        load_target(amend_card(card, {"differentiable": True}))


@pytest.mark.extras("own-models")
def test_a_file_that_can_no_longer_be_converted_is_told(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: onnx.ModelProto, *, one_by_one: bool) -> nn.Module:
        raise KeyError("Tanh")

    monkeypatch.setattr(onnx_torch, "convert", fail)
    with pytest.raises(WeightsError, match="Add the model again"):
        load_target(replace(card))
