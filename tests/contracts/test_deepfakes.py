"""What every deepfake model promises, whatever its family."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from dadfi_fast.deepfakes.base import Editor
from dadfi_fast.deepfakes.onnx_model import DeepfakeModel
from dadfi_fast.deepfakes.torch_model import load_target
from dadfi_fast.export.release import release_deepfake
from dadfi_fast.model_card import read_card

sys.path.insert(0, str(Path(__file__).parent))
from deepfakes import FAMILIES, Family, shaken

pytestmark = pytest.mark.slow

each = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


Released = Callable[..., tuple[nn.Module, DeepfakeModel]]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    """A family's tiny module, and the models made from it with weights of 32 and of 16 bits."""

    @functools.cache
    def make(number: int) -> tuple[nn.Module, list[DeepfakeModel]]:
        family = FAMILIES[number]
        module = shaken(family.tiny()).half().float()  # of the weights, what 16 bits keep
        what = {"name": "tiny", "family": family.name, "facts": family.facts, "text": ""}
        sizes = {"image_size": 32, "edit_size": family.rule.size}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.onnx, "export", _once(torch.onnx.export))
            folders = [tmp_path_factory.mktemp(family.name) for _ in range(2)]
            cards = [
                release_deepfake(module, folder, half=half, **what, **sizes)
                for folder, half in zip(folders, (False, True), strict=True)
            ]
        return module, [DeepfakeModel(card, threads=1) for card in cards]

    def one(family: Family, *, half: bool = False) -> tuple[nn.Module, DeepfakeModel]:
        module, models = make(FAMILIES.index(family))
        return module, models[half]

    return one


def _once(export: Callable[..., Any]) -> Callable[..., Any]:
    """Trace what is exported the first time alone, as that takes seconds; to be asked for one module only."""
    traced: list[bytes] = []

    def exported(module: nn.Module, *args: Any, **options: Any) -> Any:
        if not traced:
            traced.append(export(module, *args, **options).model_proto.SerializeToString())
        return SimpleNamespace(model_proto=onnx.load_from_string(traced[0]))

    return exported


@each
@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
def test_the_file_is_the_module(family: Family, half: bool, released: Released) -> None:
    module, onnx_model = released(family, half=half)
    labels = torch.eye(5)[:3]
    x = torch.rand(3, 3, 32, 32) * 2 - 1
    for edit in onnx_model.edits(labels.numpy()):
        with torch.no_grad():
            truth = module(x, torch.from_numpy(edit)).clamp(-1, 1)
        np.testing.assert_allclose(onnx_model.fake(x.numpy(), edit), truth, atol=5e-4)


@each
def test_torch_reads_its_weights_from_the_file(family: Family, released: Released) -> None:
    module, onnx_model = released(family)
    target = load_target(read_card(onnx_model.card.path))
    labels, x = torch.eye(5)[:2], torch.rand(2, 3, 32, 32)
    for ours, theirs in zip(target.edits(labels), onnx_model.edits(labels.numpy()), strict=True):
        np.testing.assert_array_equal(ours, theirs)
        torch.testing.assert_close(target.fake(x, ours), module(x, ours))


@each
def test_half_weights_halve_the_file(family: Family, released: Released) -> None:
    files = [released(family, half=half)[1].card.file for half in (False, True)]
    sizes = [
        sum(len(w.raw_data) for w in onnx.load(file).graph.initializer if len(w.dims) > 1) for file in files
    ]  # the graph itself outweighs the weights of so small a model
    assert sizes[1] == pytest.approx(sizes[0] / 2, rel=0.05)


@each
def test_a_picture_is_edited_the_same_alone_and_in_a_batch(family: Family, released: Released) -> None:
    _, onnx_model = released(family)
    x = np.random.default_rng(0).uniform(-1, 1, (4, 3, 32, 32)).astype(np.float32)
    edit = onnx_model.edits(np.eye(5, dtype=np.float32)[:4])[0]
    together = onnx_model.fake(x, edit)
    alone = [onnx_model.fake(x[i : i + 1], edit[i : i + 1])[0] for i in range(4)]
    np.testing.assert_allclose(together, alone, atol=1e-4)


@each
@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
def test_at_the_published_width_all_is_finite_and_the_picture_gets_a_gradient(family: Family, bf16: bool) -> None:
    torch.manual_seed(0)
    module = family.published().eval()
    editor = Editor(module, family.published_size)
    x = (torch.rand(1, 3, 90, 70) * 2 - 1).requires_grad_()  # of another size: the resize is inside
    width = getattr(module, "c_dim", None) or module.styles.in_features
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        fake = editor.fake(x, torch.ones(1, width))
    assert fake.shape == (1, 3, family.published_size, family.published_size)
    assert fake.isfinite().all()
    fake.float().square().mean().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.abs().max() > 0


@each
def test_every_edit_has_a_name_and_an_aim(family: Family) -> None:
    labels = np.array([[1, 0, 0, 1, 0], [0, 0, 1, 0, 1]], np.float32)
    rule = family.rule
    edits, aims = rule(labels), rule.aims(labels)
    assert edits.shape == (len(rule.names), 2, rule.size) and edits.dtype == np.float32
    assert len(aims) == len(rule.names)
    for name, values in aims:
        assert name in rule.attributes and set(values.tolist()) <= {0.0, 1.0} and values.shape == (2,)
