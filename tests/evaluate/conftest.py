"""Pictures and their table; a generator; and experiments on models whose fakes are known by hand."""

from __future__ import annotations

import functools
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.deepfakes import registry
from dadfi_fast.files import sha256
from dadfi_fast.model_card import cards, write_card

T = TypeVar("T")

#: By level of their grey: what the table says of them, Black_Hair to Young.
LABELS = {
    70: "1,0,0,0,1",
    80: "1,0,0,1,1",
    90: "1,0,0,1,0",
    200: "0,1,0,0,1",
    210: "0,1,0,0,0",
    220: "0,0,1,1,1",
}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Six flat grey pictures of 40 px, named after their level."""
    path = tmp_path / "faces-test.tar"
    with tarfile.open(path, "w") as tar:
        for level in LABELS:
            picture = tmp_path / f"{level}.png"
            Image.fromarray(np.full((40, 40, 3), level, np.uint8)).save(picture)
            tar.add(picture, picture.name)
            picture.unlink()
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The table of `archive`: the last picture is of another split, and one is not there."""
    path = tmp_path / "labels.csv"
    lines = [f"{level}.png,{'val' if level == 220 else 'test'},{labels}" for level, labels in LABELS.items()]
    head = "image,split,Black_Hair,Blond_Hair,Brown_Hair,Male,Young"
    path.write_text("\n".join([head, *lines, "0.png,train,0,0,0,0,0"]) + "\n")
    return path


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A folder of three flat grey pictures of 34 px, two dark and a bright one.

    Without detection the adversary cuts 32 px out of their middle, which is what the toy models take.
    """
    folder = tmp_path / "faces"
    folder.mkdir()
    for level in (60, 90, 160):
        Image.fromarray(np.full((34, 34, 3), level, np.uint8)).save(folder / f"{level}.png")
    return folder


@pytest.fixture(scope="session")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator that puts the same stripes on every crop of 256 px; in a picture of 34 px they are two pixels wide.

    They break the toy model ``fragile`` (see `toy_weights`) and not ``sturdy``.
    """
    from onnx import TensorProto, helper, numpy_helper

    pattern = np.where(np.arange(256) // 15 % 2, 0.05, -0.05).astype(np.float32).reshape(1, 1, 1, 256)
    nodes = [
        helper.make_node("Mul", ["crops", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "pattern"], ["delta"]),
    ]
    constants = {"zero": np.zeros(1, np.float32), "pattern": pattern}
    fixed = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    ends = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", 3, "h", "w"])] for n in ("crops", "delta")]
    graph = helper.make_graph(nodes, "stripes", *ends, fixed)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("generator") / "stripes.onnx"
    path.write_bytes(model.SerializeToString())
    _card(path)
    return path


def _card(generator: Path, **facts: Any) -> None:
    own = {"name": generator.stem, "family": "generator", "file": generator.name, "sha256": sha256(generator)}
    sizes = {"image_size": 0, "parameters": 0, "licence": "Apache-2.0", "lim": 0.05, "preset": "s"}
    write_card(generator.with_suffix(".md"), own | sizes | facts, "A toy.")


@pytest.fixture
def carded(stripes: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copies `stripes` under another name, with more facts on its card."""

    def make(name: str, **facts: Any) -> Path:
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(stripes.read_bytes())
        _card(path, **facts)
        return path

    return make


@pytest.fixture
def toys(toy_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy models stand for those that ship."""
    for name in ("load_models", "load_attributes"):
        monkeypatch.setattr(registry, name, functools.partial(getattr(registry, name), threads=1))
    monkeypatch.setattr(registry, "readable_cards", lambda folder=None: cards(folder or toy_weights))


@pytest.fixture
def make_setup(toys: None, faces: Path, stripes: Path) -> Callable[..., Any]:
    """Makes a setup: the generator `stripes` on `faces`, without detection, against the toy models."""
    from dadfi_fast.evaluate.experiment import Setup

    def make(**changes: Any) -> Any:
        settings = {"sources": (faces,), "generators": (str(stripes),), "detector": "none", "backend": "openvino"}
        return Setup(**(settings | changes))

    return make


@pytest.fixture(scope="module")
def once() -> Callable[[Callable[[], T]], T]:
    """Runs what it is given for the first test of a file; the others get the same result, to be left as it is."""
    results: list[T] = []

    def get(run: Callable[[], T]) -> T:
        if not results:
            results.append(run())
        return results[0]

    return get


@pytest.fixture
def differentiable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy models as attacks get them; ``fragile`` and ``sturdy`` do what their ONNX files do."""
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F

    from dadfi_fast.deepfakes.base import Editor
    from dadfi_fast.deepfakes.edits import ATTRIBUTES, Targets
    from dadfi_fast.deepfakes.torch_model import Target
    from dadfi_fast.evaluate import compared_methods
    from dadfi_fast.model_card import Card

    class Toy(nn.Module):
        def __init__(self, gain: float) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(gain), requires_grad=False)

        def forward(self, x: Tensor, labels: Tensor) -> Tensor:
            detail = x - F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
            return x + self.gain * detail + 0.5 * labels.amax(1)[:, None, None, None]

    def load(cards: list[Card]) -> list[Target]:
        gains = {"fragile": 40.0, "sturdy": 0.0}
        return [
            Target(card.name, Editor(Toy(gains[card.name]), 32), card.sha256, Targets(ATTRIBUTES), ATTRIBUTES)
            for card in cards
        ]

    monkeypatch.setattr(compared_methods, "load_targets", load)


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A folder of two grey pictures, none of which is in `faces`."""
    folder = tmp_path / "others"
    folder.mkdir()
    for level in (75, 140):
        Image.fromarray(np.full((34, 34, 3), level, np.uint8)).save(folder / f"{level}.png")
    return folder
