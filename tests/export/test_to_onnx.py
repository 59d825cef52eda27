from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx

from dadfi_fast.export.to_onnx import export_generator
from dadfi_fast.models.generator import Generator


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
