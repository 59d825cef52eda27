from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import torch

from dadfi_fast.card import read_card
from dadfi_fast.deepfakes.portable import DeepfakeModel
from dadfi_fast.deepfakes.stargan import Generator as StarGANGenerator
from dadfi_fast.deepfakes.target import load_target
from dadfi_fast.export.release import release_stargan
from dadfi_fast.export.to_onnx import export_generator
from dadfi_fast.models.generator import Generator


def tiny() -> StarGANGenerator:
    """As after training, no two weights alike: the exporter stores equal ones once."""
    torch.manual_seed(0)
    generator = StarGANGenerator(conv_dim=4, repeat_num=2)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return generator


def test_the_generator_is_plain_operators_with_its_facts(tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    export_generator(Generator("s", lim=0.04), path)
    model = onnx.load(path)
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["InstanceNormalization"] == 13 and kinds["Add"] == 4
    assert {node.domain for node in model.graph.node} == {""}  # nothing that only one runtime has
    assert {p.key: p.value for p in model.metadata_props}["dadfi.lim"] == "0.04"
    assert all(d.dim_param for d in np.array(model.graph.input[0].type.tensor_type.shape.dim)[[0, 2, 3]])


def test_the_file_holds_no_path_of_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    export_generator(Generator("s"), path)
    assert b".py" not in path.read_bytes()


def test_a_stargan_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    generator = tiny()
    generator.half().float()  # the file keeps 16 bits
    card = release_stargan(generator, tmp_path, name="tiny", image_size=32, run={"seed": 0}, text="Tiny.")
    target = load_target(card)
    for name, value in generator.state_dict().items():
        assert torch.equal(target.model.generator.state_dict()[name], value), name


def test_the_portable_model_is_the_torch_model(tmp_path: Path) -> None:
    generator = tiny()
    card = release_stargan(generator, tmp_path, name="tiny", image_size=32, run={"seed": 0}, text="Tiny.")
    x, labels = torch.rand(3, 3, 32, 32) * 2 - 1, torch.eye(5)[:3]
    with torch.no_grad():
        truth = load_target(read_card(card.path)).fake(x, labels)
    np.testing.assert_allclose(DeepfakeModel(card).fake(x.numpy(), labels.numpy()), truth, atol=2e-4)
