"""The command ``models add`` on ONNX files of networks that others trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import helper, numpy_helper

from dadfi_fast import model_card
from dadfi_fast.deepfakes import onnx_trial
from dadfi_fast.deepfakes.onnx_model import DeepfakeModel
from dadfi_fast.errors import WeightsError
from dadfi_fast.types import Float32

Command = Callable[..., Result]
Write = Callable[..., Path]

#: A picture in [-1, 1], a strength and a style of four: tanh(1.5 photo + strength * (0.2 + shift of the style)).
EDITOR = """
editor (float[n,3,64,64] photo, float[n] alpha, int64[n] style) => (float[n,3,64,64] edited) {
    axes = Constant<value_ints = [1,2,3]>()
    table = Constant<value = float[4] {0.0, -0.3, 0.1, 0.5}>()
    base = Constant<value = float[1] {0.2}>()
    gain = Constant<value = float[1] {1.5}>()
    shift = Gather(table, style)
    total = Add(shift, base)
    each = Mul(alpha, total)
    planes = Unsqueeze(each, axes)
    louder = Mul(photo, gain)
    sum = Add(louder, planes)
    edited = Tanh(sum)
}"""
EDITS = ("--edit", "smile:alpha=0.7,style=3", "--edit", "old:style=1,alpha=1")
#: One picture at a time, [0, 255], channels last, blue first: where there is less blue than red, no colour is left.
BYTES = """
bytes (float[1,height,width,3] x) => (float[1,height,width,3] y) {
    level = Constant<value = float[1] {255.0}>()
    much = Constant<value = float[1] {1000.0}>()
    balance = Constant<value = float[3,1] {1.0, 0.0, -1.0}>()
    scaled = Div(x, level)
    means = ReduceMean<axes = [1,2]>(scaled)
    difference = MatMul(means, balance)
    steep = Mul(difference, much)
    blue = Sigmoid(steep)
    kept = Mul(scaled, blue)
    y = Mul(kept, level)
}"""


@pytest.fixture
def add(command: Command, home: Path, network: Write, tmp_path: Path) -> Callable[..., Result]:
    """Runs ``models add mine`` on a graph, with options; the keywords are those of `network`."""

    def run(graph: str, *options: object, **how: Any) -> Result:
        return command("models", "add", "mine", network(tmp_path / "net.onnx", graph, **how), *options)

    return run


def fakes(home: Path, images: Float32, edit: Float32) -> Float32:
    return DeepfakeModel(model_card.read_card(home / "mine" / "mine.md"), threads=1).fake(images, edit)


def pictures(n: int = 2, size: int = 64) -> Float32:
    return np.random.default_rng(0).uniform(-1, 1, (n, 3, size, size)).astype(np.float32)


def words(result: Result) -> str:
    return " ".join(result.stderr.split())


def test_an_editor_with_two_further_inputs_is_known_from_then_on(
    add: Callable[..., Result], command: Command, home: Path, tmp_path: Path
) -> None:
    result = add(EDITOR, *EDITS)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{home / 'mine' / 'mine.onnx'}\n"
    assert "net.onnx: 64 px, edits smile, old" in result.stderr
    assert "the values were found to be [-1,1] in, [-1,1] out" in words(result)
    assert "assumed to be rgb" in words(result)
    assert sorted(p.name for p in (home / "mine").iterdir()) == ["mine.md", "mine.onnx", "original"]
    assert command("models", "verify", "mine").stdout == "mine: ok\n"
    row = json.loads(command("models", "list", "--json").stdout)[-1]
    assert (row["name"], row["family"], row["source"], row["image_size"]) == ("mine", "onnx", "added", 64)
    facts = model_card.read_card(home / "mine" / "mine.md").extra
    assert facts["network"]["values"] == {"alpha": ["0.7", "1"], "style": ["3", "1"]}
    assert facts["original"]["sha256"] == model_card.sha256(tmp_path / "net.onnx")
    x = pictures()
    expected = np.tanh(1.5 * x + np.array([0.7 * 0.7, 1.0 * -0.1], np.float32)[:, None, None, None])
    np.testing.assert_allclose(fakes(home, x, np.eye(2, dtype=np.float32)), expected, atol=1e-5)


@pytest.mark.usefixtures("tried_here")
def test_bytes_with_channels_last_and_blue_first_are_found(add: Callable[..., Result], home: Path) -> None:
    result = add(BYTES, "--image-size", 48)
    assert result.exit_code == 0, result.stderr
    assert "the values were found to be [0,255] in, [0,255] out" in words(result)
    assert "found to be bgr" in words(result) and "x (nhwc) to y (nhwc)" in result.stderr
    x = pictures(size=48)
    x[0, 0] -= 0.1
    x[1, 2] -= 0.1  # the second has less blue than red
    expected = np.stack([x[0], np.full_like(x[1], -1)])
    np.testing.assert_allclose(fakes(home, x.clip(-1, 1), np.ones((2, 1), np.float32)), expected.clip(-1, 1), atol=1e-4)


#: The luma in [0, 1] and nine numbers of the light, as portrait relighting takes them; the light comes back too.
RELIGHT = """
relight (float[1,1,64,64] grey, float[1,9,1,1] light) => (float[1,1,64,64] lit, float[1,9,1,1] same) {
    five = Constant<value = float[1] {5.0}>()
    half = Constant<value = float[1] {0.5}>()
    axes = Constant<value_ints = [1]>()
    same = Identity(light)
    first = ReduceSum(light, axes)
    middle = Sub(grey, half)
    steep = Mul(middle, five)
    sum = Add(steep, first)
    lit = Sigmoid(sum)
}"""
#: Bytes, channels last, of one channel and any size, to twice the side.
GREY_BYTES = """
grey (uint8[n,height,width,1] x) => (uint8[n,h,w,1] y) {
    scales = Constant<value = float[4] {1.0, 2.0, 2.0, 1.0}>()
    level = Constant<value = uint8 {255}>()
    inverse = Sub(level, x)
    same = Sub(level, inverse)
    y = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(same, , scales)
}"""


def luma(images: Float32) -> Float32:
    y: Float32 = np.tensordot(images, np.array([0.299, 0.587, 0.114], np.float32), (1, 0))[:, None]
    return y


@pytest.mark.usefixtures("tried_here")
def test_a_network_of_one_channel_gets_the_luma_and_leaves_the_colours(add: Callable[..., Result], home: Path) -> None:
    result = add(RELIGHT, "--edit", "left:light=[0.5,0,0,0,0,0,0,0,0]", "--edit", "right:light=-0.1")
    assert result.exit_code == 0, result.stderr
    assert "grey (nchw) to lit (nchw)" in result.stderr and "[0,1] in, [0,1] out" in words(result)
    assert "it gets the luma (Y) of the picture, whose colours are kept" in words(result)
    assert model_card.read_card(home / "mine" / "mine.md").extra["network"]["channels"] == "luma"
    x = pictures() / 4
    y = luma(x)
    lit = 2 / (1 + np.exp(-(2.5 * y + np.array([0.5, -0.9], np.float32)[:, None, None, None]))) - 1
    np.testing.assert_allclose(fakes(home, x, np.eye(2, dtype=np.float32)), (x + lit - y).clip(-1, 1), atol=1e-5)


@pytest.mark.usefixtures("tried_here")
def test_one_channel_of_bytes_at_twice_the_side(add: Callable[..., Result], home: Path) -> None:
    result = add(GREY_BYTES, "--image-size", 48)
    assert result.exit_code == 0, result.stderr
    assert "x (nhwc) to y (nhwc)" in result.stderr
    assert "the output has 2 times the side of the input" in words(result)
    x = pictures(size=48) / 2
    whole = np.floor((luma(x) + 1) * 127.5 + 0.5) / 127.5 - 1
    np.testing.assert_allclose(fakes(home, x, np.ones((2, 1), np.float32)), x + whole - luma(x), atol=1e-5)


@pytest.mark.usefixtures("tried_here")
@pytest.mark.parametrize(
    ("graph", "options", "reason"),
    [
        (RELIGHT, ("--channels", "bgr"), "--channels is for networks of three channels; grey has one"),
        (RELIGHT, ("--range", "imagenet"), "--range imagenet is for networks of three channels"),
        (RELIGHT, ("--output-range", "imagenet"), "--output-range imagenet is for networks of three channels"),
        (RELIGHT.replace("lit = Sigmoid(sum)", "two = Concat<axis = 1>(sum, sum)\n lit = Sigmoid(two)")
         .replace("float[1,1,64,64] lit", "float[1,2,64,64] lit"), (), "no output has one channel, as the input has"),
        (RELIGHT.replace("[1,1,64,64] grey", "[1,4,64,64] grey"), (), "no input has three channels, or one (luma)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_one_channel_is_refused(
    add: Callable[..., Result], home: Path, graph: str, options: tuple[object, ...], reason: str
) -> None:
    result = add(graph, "--edit", "left:light=0", *options)
    assert result.exit_code in (1, 2) and reason in words(result), result.stderr
    assert not (home / "mine").exists()


#: Nodes of one picture x, the type of x, options, and what becomes of a value.
FORMS: dict[str, tuple[str, str, tuple[object, ...], Callable[[Float32], Float32]]] = {
    "zero to one is found": (
        "float[n,3,64,64]",
        "t = Mul(x, g) y = Sigmoid(t)",
        ("--range", "0,1"),
        lambda x: 2 / (1 + np.exp(-1.5 * (x + 1) / 2)) - 1,
    ),
    "an odd range is said": (
        "float[n,3,64,64]",
        "t = Mul(x, g) y = Tanh(t)",
        ("--range", "-2,2", "--output-range", "-1,1"),
        lambda x: np.tanh(3 * x),
    ),
    "a picture of bytes is rounded": (
        "uint8[n,3,64,64]",
        "f = Cast<to = 1>(x) s = Div(f, h) c = Sub(s, o) t = Mul(c, g) y = Tanh(t)",
        (),
        lambda x: np.tanh(1.5 * (np.floor(127.5 * x + 127.5 + 0.5) / 127.5 - 1)),
    ),
    "float16 is cast": (
        "float16[n,3,64,64]",
        "f = Cast<to = 1>(x) t = Mul(f, g) u = Tanh(t) y = Cast<to = 10>(u)",
        (),
        lambda x: np.tanh(1.5 * x),
    ),
    "twice the side is averaged": (
        "float[n,3,64,64]",
        'e = Constant<value = float[0] {}>() k = Constant<value = float[4] {1.0, 1.0, 2.0, 2.0}>() '
        't = Mul(x, g) v = Tanh(t) y = Resize<mode = "nearest">(v, e, k)',
        (),
        lambda x: np.tanh(1.5 * x),
    ),
}  # fmt: skip


@pytest.mark.usefixtures("tried_here")
@pytest.mark.parametrize("case", FORMS)
def test_forms_of_pictures(add: Callable[..., Result], home: Path, case: str) -> None:
    kind, nodes, options, expected = FORMS[case]
    result = add(whole(kind, nodes), *options)
    assert result.exit_code == 0, result.stderr
    x = pictures()
    np.testing.assert_allclose(fakes(home, x, np.ones((2, 1), np.float32)), expected(x), atol=4e-3)


def whole(kind: str, nodes: str, output: str = "") -> str:
    """A graph from x of a type to y, with some numbers to compute with."""
    return f"""own ({kind} x) => ({output or kind.replace("uint8", "float")} y) {{
        g = Constant<value = float[1] {{1.5}}>() h = Constant<value = float[1] {{127.5}}>()
        o = Constant<value = float[1] {{1.0}}>() big = Constant<value_ints = [1,3,40000,40000]>() {nodes}
    }}"""


PICTURE = "float[n,3,64,64]"
SOFT = "t = Mul(x, g) y = Tanh(t)"


@pytest.mark.usefixtures("tried_here")
def test_a_network_for_one_picture_at_a_time_serves_batches(add: Callable[..., Result], home: Path) -> None:
    nodes = "s = Constant<value_ints = [1,3,64,64]>() r = Reshape(x, s) t = Mul(r, g) y = Tanh(t)"
    result = add(whole("float[1,3,64,64]", nodes))
    assert result.exit_code == 0 and "takes one picture at a time" in result.stderr
    x = pictures(3)
    np.testing.assert_allclose(fakes(home, x, np.ones((3, 1), np.float32)), np.tanh(1.5 * x), atol=1e-5)
    assert model_card.read_card(home / "mine" / "mine.md").extra["batch"] == 1


@pytest.mark.usefixtures("tried_here")
def test_a_batch_of_one_is_any_batch_where_that_is_the_same(add: Callable[..., Result], home: Path) -> None:
    assert add(whole("float[1,3,64,64]", SOFT)).exit_code == 0
    assert model_card.read_card(home / "mine" / "mine.md").extra["batch"] == 0


VALUES = {
    "a number is repeated": ("float[5]", "0.25", [0.25] * 5),
    "a list": ("float[2]", "[1,-2]", [1, -2]),
    "a list for each picture": ("float[n,2]", "[1,-2]", [1, -2]),
    "a number for one": ("float", "3", [3]),
    "lists in a list": ("float[2,2]", "[[1,2],[3,4]]", [1, 2, 3, 4]),
    "a file": ("float[2,2]", "values.npy", [1, 2, 3, 4]),
    "a truth": ("bool[2]", "[true,false]", [1, 0]),
    "whole numbers": ("int32[3]", "[1,2,3]", [1, 2, 3]),
}


@pytest.mark.usefixtures("tried_here")
@pytest.mark.parametrize("case", VALUES)
def test_values_of_a_further_input(
    add: Callable[..., Result], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "values.npy", np.array([[1, 2], [3, 4]], np.float64))
    kind, text, expected = VALUES[case]
    weights = np.arange(1, len(expected) + 1) * 0.02
    rows = -1 if "n," in kind else 1
    flat = f"""own (float[n,3,64,64] x, {kind} extra) => (float[n,3,64,64] y) {{
        g = Constant<value = float[1] {{1.5}}>() s = Constant<value_ints = [{rows},{len(expected)}]>()
        w = Constant<value = float[{len(expected)},1] {{{", ".join(f"{weight:.2f}" for weight in weights)}}}>()
        axes = Constant<value_ints = [2,3]>()
        f = Cast<to = 1>(extra) r = Reshape(f, s) m = MatMul(r, w) p = Unsqueeze(m, axes)
        t = Mul(x, g) u = Add(t, p) y = Tanh(u)
    }}"""  # fmt: skip
    result = add(flat, "--edit", f"it:extra={text}")
    assert result.exit_code == 0, result.stderr
    x = pictures()
    shift = float(np.dot(expected, weights))
    np.testing.assert_allclose(fakes(home, x, np.ones((2, 1), np.float32)), np.tanh(1.5 * x + shift), atol=1e-5)


#: Makes blue what it was not: with blue first the output is nearer to the picture, but not near.
TINTED = whole(
    PICTURE, "c = Constant<value = float[1,3,1,1] {-0.4, 0.0, 0.4}>() a = Mul(x, g) t = Add(a, c) y = Tanh(t)"
)
#: Words of the message, graph, options.
SAID: dict[str, tuple[str, tuple[object, ...]]] = {
    "gives no value to alpha (float32 [n]), style (int64 [n]). Pass --edit NAME:alpha=VALUE,style=VALUE": (EDITOR, ()),
    "the edit old gives no value to style (int64 [n])": (EDITOR, (*EDITS[:2], "--edit", "old:alpha=1")),
    "has no further input 'beta'. Available: alpha, style": (EDITOR, ("--edit", "a:alpha=1,style=1,beta=1")),
    "two edits have the name 'smile'": (EDITOR, EDITS[:2] * 2),
    "is not of the form NAME or NAME:INPUT=VALUE": (EDITOR, ("--edit", "a:alpha")),
    "--range '1' is not of the form LOW,HIGH": (EDITOR, (*EDITS, "--range", "1")),
    "0.5 does not fit style (int64 [n])": (EDITOR, ("--edit", "a:alpha=1,style=0.5")),
    "[1,2] does not fit alpha (float32 [n]): it has the shape [2]": (EDITOR, ("--edit", "a:style=1,alpha=[1,2]")),
    "no.npy does not fit alpha": (EDITOR, ("--edit", "a:style=1,alpha=no.npy")),
    "Pass --image-size N": (BYTES, ()),
    "the network is for 64 px. Remove --image-size": (EDITOR, (*EDITS, "--image-size", 32)),
    "net.onnx is an ONNX file, which takes no --half": (EDITOR, (*EDITS, "--half")),
    "has no input 'x'. Available: photo, alpha, style": (EDITOR, (*EDITS, "--input", "x")),
    "has no output 'x'. Available: edited": (EDITOR, (*EDITS, "--output", "x")),
    "--layout nhwc does not fit": (EDITOR, (*EDITS, "--layout", "nhwc")),
    "cannot tell the order of the channels": (TINTED, ()),
    "look alike on the trial picture": (whole(PICTURE, "y = Identity(x)"), ()),
    "the output does not look like the picture": (whole(PICTURE, "t = Mul(x, g) u = Tanh(t) y = Neg(u)"), ()),
    "several inputs may be the picture: x, z. Pass --input NAME": (
        f"own ({PICTURE} x, {PICTURE} z) => ({PICTURE} y) {{ t = Add(x, z) y = Tanh(t) }}",
        (),
    ),
    "does not tell where the channels are. Pass --layout": (whole("float[n,a,b,c]", SOFT), ("--image-size", 64)),
}


@pytest.mark.usefixtures("tried_here")
@pytest.mark.parametrize("message", SAID)
def test_what_must_be_said_is_named(add: Callable[..., Result], home: Path, message: str) -> None:
    graph, options = SAID[message]
    result = add(graph, *options)
    assert result.exit_code == 2
    assert message in words(result)
    assert not home.exists()


def test_options_for_networks_are_refused_for_checkpoints(command: Command, home: Path, tmp_path: Path) -> None:
    (tmp_path / "G.ckpt").touch()
    result = command("models", "add", "mine", tmp_path / "G.ckpt", "--range", "0,1")
    assert result.exit_code == 2 and "G.ckpt is not an ONNX file, which takes no --range" in words(result)


def external(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer.add(name="w", data_type=1, dims=[1], data_location=1)
    weight.external_data.add(key="location", value="../../etc/passwd")
    model.graph.node[-2].input[1] = "w"


def declared(*dims: int, data: bytes | None = None) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        weight = model.graph.initializer.add(name="w", data_type=1, dims=dims)
        if data is not None:
            weight.raw_data = data
        model.graph.node[-2].input[1] = "w"

    return change


def twice(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = model.graph.node[-2].output[0]


def weight_twice(model: onnx.ModelProto) -> None:
    for _ in range(2):
        model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "w"))


def with_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Tanh", ["a"], ["b"])
    model.functions.append(helper.make_function("own.ops", "F", ["a"], ["b"], [node], model.opset_import))


def with_if(model: onnx.ModelProto) -> None:
    branch = helper.make_graph(
        [helper.make_node("Tanh", ["t"], ["b"])], "branch", [], [helper.make_empty_tensor_value_info("b")]
    )
    flag = numpy_helper.from_array(np.array(True), "flag")
    model.graph.initializer.append(flag)
    model.graph.node[-1].CopyFrom(helper.make_node("If", ["flag"], ["y"], then_branch=branch, else_branch=branch))


#: Words of the message, graph, and how the file is changed.
HOSTILE: dict[str, tuple[str, Callable[[onnx.ModelProto], None] | None]] = {
    "lies in another file (../../etc/passwd)": (whole(PICTURE, SOFT), external),
    "take more than 2 GB as they are declared": (whole(PICTURE, SOFT), declared(1 << 30, 1 << 30)),
    "holds 0 values and is declared to have 1,000": (whole(PICTURE, SOFT), declared(1000)),
    "holds 4 bytes and is declared to have 4,000": (whole(PICTURE, SOFT), declared(1000, data=bytes(4))),
    "has a negative length": (whole(PICTURE, SOFT), declared(-1)),
    "two of its values have the name 't'": (whole(PICTURE, SOFT), twice),
    "two of its values have the name 'w'": (whole(PICTURE, SOFT), weight_twice),
    "it has functions of its own (F)": (whole(PICTURE, SOFT), with_function),
    "it has control flow (If)": (whole(PICTURE, SOFT), with_if),
    "its operator Foo is of the domain 'own.ops'": (whole(PICTURE, "y = own.ops.Foo(x)"), None),
    "there is no operator Foo in version 17": (whole(PICTURE, "y = Foo(x)"), None),
    "there is no operator Gelu in version 17": (whole(PICTURE, "y = Gelu(x)"), None),
    "RandomNormalLike gives another output each time": (
        whole(PICTURE, "r = RandomNormalLike(x) t = Add(x, r) y = Tanh(t)"), None,
    ),
    "'net.c' is too large for one picture: 1 x 3 x 40000 x 40000": (
        whole(PICTURE, "c = ConstantOfShape(big) m = ReduceMean(c) t = Add(x, m) y = Tanh(t)"), None,
    ),
    "'net.e' is too large for one picture": (
        whole(PICTURE, "e = Expand(o, big) m = ReduceMean(e) t = Add(x, m) y = Tanh(t)"), None,
    ),
    "'net.l' is too large for one picture": (
        whole(PICTURE, "k = Constant<value_ints = [1,1,900,900]>() l = Tile(x, k) m = ReduceMax(l) t = Add(x, m) "
              "y = Tanh(t)"),
        None,
    ),
    "'net.s' is too large for one picture: 1 x 3 x 64000 x 64000": (
        whole(PICTURE, "e = Constant<value = float[0] {}>() k = Constant<value = float[4] {1.0, 1.0, 1e3, 1e3}>() "
              "s = Resize(x, e, k) m = ReduceMax(s) t = Add(x, m) y = Tanh(t)"),
        None,
    ),
    "values that are not finite (NaN)": (
        whole(PICTURE, "a = Abs(x) b = Neg(a) c = Sub(b, o) l = Log(c) t = Add(x, l) y = Tanh(t)"), None,
    ),
    "does not depend on the picture": (
        whole(PICTURE, "z = Sub(x, x) a = Add(z, o) b = Tanh(a) y = Mul(b, g)", PICTURE), None,
    ),
    "the size of its output depends on": (
        whole(PICTURE, "a = Relu(x) n = NonZero(a) f = Cast<to = 1>(n) k = Constant<value_ints = [-1]>() "
              "v = Reshape(f, k) m = Constant<value_ints = [0]>() u = Unsqueeze(v, m) "
              "w = Constant<value_ints = [1,2]>() q = Unsqueeze(u, w) "
              "three = Constant<value_ints = [1,3,1,1]>() y = Tile(q, three)", "float[n,3,a,b]"),
        None,
    ),
    "gives no picture: no output has three channels. Its outputs: y (float32 [n, 3])": (
        whole(PICTURE, "y = ReduceMean<axes = [2,3], keepdims = 0>(x)", "float[n,3]"), None,
    ),
    "no output has three channels. Its outputs: y (float32 [n, 1, 64, 64])": (
        whole(PICTURE, "y = ReduceMean<axes = [1]>(x)", "float[n,1,64,64]"), None,
    ),
    "the output is not a picture of three channels: its shape is [1, 64, 64]": (
        whole(PICTURE, "y = ReduceMean<axes = [1]>(x)", PICTURE), None,
    ),
    "gives pictures of 32 x 32 pixels for 64 x 64": (
        whole(PICTURE, "y = AveragePool<kernel_shape = [2,2], strides = [2,2]>(x)", "float[n,3,32,32]"), None,
    ),
    "takes no picture: no input has three channels": (whole("float[n,4,64,64]", SOFT), None),
    "of shape [?, 3, 64, 32] is not square": (whole("float[n,3,64,32]", SOFT), None),
    "takes 4 pictures at a time": (whole("float[4,3,64,64]", SOFT), None),
}  # fmt: skip


@pytest.mark.parametrize("message", HOSTILE)
def test_what_must_not_be_run_is_refused_and_leaves_nothing(
    add: Callable[..., Result], home: Path, message: str
) -> None:
    graph, change = HOSTILE[message]
    depends = "depend on the picture" in message
    result = add(graph, *(("--range", "-1,1", "--output-range", "-1,1") if depends else ()), change=change)
    assert result.exit_code == 1, result.output
    assert message in words(result)
    assert not home.exists()


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x08\x08", bytes(1000)])
def test_what_is_no_onnx_file_is_refused(command: Command, home: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.ONNX").write_bytes(content)
    result = command("models", "add", "mine", tmp_path / "net.ONNX")
    assert result.exit_code == 1 and "is not an ONNX file, or" in words(result)
    assert not home.exists()


def test_a_truncated_file_is_refused(command: Command, home: Path, network: Write, tmp_path: Path) -> None:
    path = network(tmp_path / "net.onnx", EDITOR)
    path.write_bytes(path.read_bytes()[:-40])
    result = command("models", "add", "mine", path, *EDITS)
    assert result.exit_code == 1 and "is not a" in words(result)
    assert not home.exists()


@pytest.mark.skipif("sys.platform != 'linux'", reason="memory is bounded on Linux alone")
def test_memory_that_no_shape_tells_is_bounded(
    add: Callable[..., Result], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_trial, "MEGABYTES", 1024)
    nodes = (
        "m = ReduceMax<keepdims = 0>(x) z = Sub(m, m) f = Constant<value = float[4] {1.0, 1.0, 300.0, 300.0}>() "
        "a = Add(f, z) i = Cast<to = 7>(a) c = Tile(x, i) r = ReduceMax<keepdims = 0>(c) t = Add(x, r) y = Tanh(t)"
    )
    result = add(whole(PICTURE, nodes))
    assert result.exit_code == 1 and "it needs more than 1,024 MB of memory" in words(result)
    assert not home.exists()


def test_modules_in_the_working_directory_are_not_run(
    add: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "numpy", "dadfi_fast"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'must-not-be')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert add(whole(PICTURE, SOFT)).exit_code == 0
    assert not (tmp_path / "must-not-be").exists()


@pytest.mark.parametrize("opset", [8, 999])
def test_versions_that_cannot_be_read_are_told(add: Callable[..., Result], home: Path, opset: int) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = opset

    result = add(whole(PICTURE, SOFT), change=change)
    assert result.exit_code == 1 and f"it needs version {opset} of the ONNX operators; versions 9 to" in words(result)
    assert not home.exists()


@pytest.mark.usefixtures("tried_here")
@pytest.mark.parametrize("opset", [9, 13, 21])
def test_old_and_new_versions_are_read(add: Callable[..., Result], home: Path, opset: int) -> None:
    graph = f"own ({PICTURE} x) => ({PICTURE} y) {{ t = Add(x, x) y = Tanh(t) }}"
    assert add(graph, opset=opset).exit_code == 0
    x = pictures()
    np.testing.assert_allclose(fakes(home, x, np.ones((2, 1), np.float32)), np.tanh(2 * x), atol=1e-5)


def test_time_is_bounded(add: Callable[..., Result], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_trial, "SECONDS", 0.01)
    result = add(EDITOR, *EDITS)
    assert result.exit_code == 1 and "it ran for more than 0.01 s" in words(result)
    assert not home.exists()


@pytest.mark.usefixtures("tried_here")
def test_what_was_written_must_give_the_fakes_of_the_trial(
    add: Callable[..., Result], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeepfakeModel, "fake", lambda self, images, edit: -images)
    result = add(EDITOR, *EDITS)
    assert result.exit_code == 1 and "does not give the pictures of the trial" in words(result)
    assert not list(home.iterdir())


@pytest.mark.usefixtures("tried_here")
def test_a_range_that_is_said_wrong_changes_what_the_model_does(add: Callable[..., Result], home: Path) -> None:
    x, one = pictures(), np.ones((2, 1), np.float32)
    assert add(whole(PICTURE, SOFT)).exit_code == 0
    right = fakes(home, x, one)
    assert add(whole(PICTURE, SOFT), "--force", "--range", "0,1", "--output-range", "-1,1").exit_code == 0
    assert np.abs(right - fakes(home, x, one)).mean() > 0.1


def test_errors_of_a_runtime_are_told(add: Callable[..., Result], home: Path) -> None:
    result = add(whole(PICTURE, "k = Constant<value_ints = [5,5]>() r = Reshape(x, k) t = Add(x, r) y = Tanh(t)"))
    assert result.exit_code == 1
    assert "the network cannot be run" in words(result) or "is not a valid ONNX file" in words(result)
    assert not home.exists()


def test_the_trial_needs_a_folder_that_it_can_read() -> None:
    with pytest.raises(WeightsError, match="cannot be run"):
        onnx_trial.run_apart(onnx.ModelProto(), pictures(1), np.ones((1, 1), np.float32), batches=[1])
