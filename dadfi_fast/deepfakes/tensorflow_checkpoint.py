"""STGAN's official checkpoints: TensorFlow's files, and which of its variables is which of our weights.

The official release builds the networks with TF-slim in the scopes ``Genc``, ``Gstu`` and ``Gdec``, and slim counts the
layers of a scope as they are made: ``Conv``, ``Conv_1``, ... The optimizer's slots and the discriminator are not read.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dadfi_fast.errors import BackendMissing, WeightsError

Variables: TypeAlias = Mapping[str, NDArray[Any]]

SCOPES: Final = ("Genc/", "Gstu/", "Gdec/")
#: What the names end with that Adam keeps beside the variables.
SLOTS: Final = ("/Adam", "/Adam_1")
#: slim's names of a batch norm, and torch's.
NORM: Final = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
#: The convolutions of a transfer unit, in the order in which they are made.
GATES: Final = ("reset", "update", "info")


def read_variables(prefix: Path) -> dict[str, NDArray[Any]]:
    """The generator's variables in ``PREFIX.index`` and ``PREFIX.data-00000-of-00001``; such files hold no code.

    Raises:
        BackendMissing: TensorFlow is not installed.
        WeightsError: the files are damaged, or one is missing.
    """
    try:
        tensorflow: Any = importlib.import_module("tensorflow")
    except ImportError as error:
        install = "pip install tensorflow-cpu (on macOS: tensorflow); once the model is added, it is no longer needed"
        raise BackendMissing(
            f"cannot read {prefix} without TensorFlow: it is a TensorFlow checkpoint. Run: {install}"
        ) from error
    try:
        reader = tensorflow.train.load_checkpoint(str(prefix))
        names = [n for n in reader.get_variable_to_shape_map() if n.startswith(SCOPES) and not n.endswith(SLOTS)]
        return {name: np.asarray(reader.get_tensor(name)) for name in names}
    except Exception as error:  # TensorFlow's own classes, which may change with its version
        hint = "both files of the pair, .index and .data-00000-of-00001, must be there as they were downloaded"
        raise WeightsError(f"TensorFlow cannot read {prefix} ({_first_line(error)}); {hint}") from error


def to_state(variables: Variables) -> dict[str, Tensor]:
    """The official variables as a state dict of `dadfi_fast.deepfakes.stgan.Generator`.

    Kernels [h, w, in, out] become [out, in, h, w]; transposed ones [h, w, out, in] become [in, out, h, w].

    Raises:
        WeightsError: a variable is missing or one too many: it is not STGAN's default architecture.
    """
    layers = sum(name.endswith("/weights") for name in variables if name.startswith("Genc/"))
    table = _names(max(layers, 2))  # a file of something else has none; then the first name of all is missing
    missing, unknown = sorted(table.keys() - variables.keys()), sorted(variables.keys() - table.keys())
    if missing or unknown:
        what = f"{missing[0]} is missing" if missing else f"{unknown[0]} is unknown"
        raise WeightsError(f"the checkpoint does not hold STGAN's generator with its default options: {what}")
    return {ours: _value(variables[theirs]) for theirs, ours in table.items()}


def _names(layers: int) -> dict[str, str]:
    """Official name -> ours, for so many layers of the encoder."""
    table: dict[str, str] = {}
    for i in range(layers):
        table |= _normed(f"Genc/{_nth('Conv', i)}", f"encoder.{i}")
    for i in range(layers - 1):  # transfer units are made from the deepest up
        ours = f"units.{layers - 2 - i}"
        table |= _biased(f"Gstu/{_nth('Conv2d_transpose', i)}", f"{ours}.up")
        for j, gate in enumerate(GATES):
            table |= _biased(f"Gstu/{_nth('Conv', len(GATES) * i + j)}", f"{ours}.{gate}")
    for i in range(layers - 1):
        table |= _normed(f"Gdec/{_nth('Conv2d_transpose', i)}", f"decoder.{i}")
    return table | _biased(f"Gdec/{_nth('Conv2d_transpose', layers - 1)}", "last")


def _nth(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def _normed(theirs: str, ours: str) -> dict[str, str]:
    norm = {f"{theirs}/BatchNorm/{a}": f"{ours}.1.{b}" for a, b in NORM.items()}
    return {f"{theirs}/weights": f"{ours}.0.weight"} | norm


def _biased(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}/weights": f"{ours}.weight", f"{theirs}/biases": f"{ours}.bias"}


def _value(array: NDArray[Any]) -> Tensor:
    ordered = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
    return torch.from_numpy(np.array(ordered, dtype=np.float32))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
