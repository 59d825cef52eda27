"""Reads PyTorch checkpoints of strangers: tensors in tables, and nothing else.

A checkpoint is a pickle, and a pickle can run code when it is loaded. What torch calls ``weights_only`` builds tensors
and tables alone; what is asked for besides is named, and the file refused.
"""

from __future__ import annotations

import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from dadfi_fast.errors import WeightsError

ZIP: Final = b"PK\x03\x04"
#: How a pickle of any protocol that torch writes begins.
PICKLE: Final = b"\x80"
#: Tables in tables, and values in all of them: checkpoints have two, and some thousands.
_DEPTH, _VALUES = 4, 100_000
#: What trainings call the weights, the averaged ones first, where they save more than these.
STATES: Final = ("params_ema", "state_dict", "model_state_dict", "model", "params")
#: Where torch says what a pickle asked for.
CULPRIT: Final = re.compile(r"GLOBAL ([\w.]+)|function (<.+?>)|but got (<.+?>)")


def read_tensors(path: Path) -> dict[str, Any]:
    """The tensors in ``path`` by name, or tables of them by name; all on the CPU and finite.

    Raises:
        WeightsError: the file is no checkpoint, is damaged, or holds more than tensors.
    """
    content = _loaded(path)
    _require_tensors(content, path)
    return content


def _loaded(path: Path) -> dict[str, Any]:
    """What is in ``path``; values are not looked at."""
    _look(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch warns of (other protocols, archives) it then refuses
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen classes here, from KeyError to UnpicklingError
        raise WeightsError(_reason(path, error)) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not weights by name (a state dict)")
    return content


def is_safetensors(path: Path) -> bool:
    """Whether the file begins as a safetensors file does: eight bytes of length, and a table in JSON."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def read_state(path: Path) -> dict[str, Any]:
    """As `read_tensors`, of safetensors files too, and of checkpoints of trainings, which keep more than weights."""
    if not path.is_file() or not is_safetensors(path):
        content = _unwrapped(_loaded(path))
        _require_tensors(content, path)
        return content
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        content = load_file(path)
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise WeightsError(f"{path} is truncated or damaged ({error}). Download it again.") from error
    _require_tensors(content, path)
    return content


def _unwrapped(content: dict[str, Any]) -> dict[str, Any]:
    """The weights within what trainings save beside their optimizer and epoch."""
    states = (content[name] for name in STATES if isinstance(content.get(name), dict))
    return next(states, content)


@contextmanager
def of_family(family: str, path: Path) -> Iterator[None]:
    """Names or shapes that do not fit are the file's fault, not ours."""
    try:
        yield
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        detail = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"{path} looks like {family}, but its parameter names or shapes differ ({detail})"
        ) from error


def _look(path: Path) -> None:
    """Tell from the outside what is no checkpoint."""
    if not path.is_file():
        raise WeightsError(f"{path} is not a file")
    with path.open("rb") as file:
        head = file.read(4)
    if not head:
        raise WeightsError(f"{path} is empty. Download it again.")
    if head != ZIP and not head.startswith(PICKLE):
        raise WeightsError(f"{path} is not a checkpoint of PyTorch or TensorFlow")
    if head == ZIP:
        _look_into_zip(path)


def _look_into_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError) as error:
        raise WeightsError(f"{path} is truncated or damaged ({error}). Download it again.") from error
    if unpacked > path.stat().st_size:  # torch packs nothing
        raise WeightsError(f"{path} is refused: it unpacks to {unpacked} bytes, more than any PyTorch checkpoint does")
    if "constants.pkl" in names:
        raise WeightsError(
            f"{path} is a TorchScript archive, which contains code. Pass a file with the state dict only."
        )
    if "data.pkl" not in names:
        raise WeightsError(f"{path} is a zip archive without weights. Unpack it and pass the checkpoint inside.")


def _reason(path: Path, error: Exception) -> str:
    match = CULPRIT.search(str(error))
    what = next(filter(None, match.groups())) if match else _called(path)
    if what:
        fix = "Get a file that contains only the state dict"
        return f"{path} is refused: it holds more than tensors, and loading it would call {what}. {fix}."
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return f"{path} is truncated, damaged or not a checkpoint ({line}). Download it again."


def _called(path: Path) -> str | None:
    """What the first pickle in a file refers to, if it refers to anything; torch names it for its own protocol only."""
    texts: list[str] = []
    with path.open("rb") as file:
        try:
            for operation, argument, _ in pickletools.genops(file):
                if operation.name == "GLOBAL":
                    return str(argument).replace(" ", ".")
                if operation.name == "STACK_GLOBAL":
                    return ".".join(texts[-2:])
                texts += [argument] if isinstance(argument, str) else []
        except ValueError:  # no pickle, or it ends too early
            pass
    return None


def _require_tensors(table: dict[Any, Any], path: Path, prefix: str = "", depth: int = 1) -> int:
    """See that there is nothing but plain, finite tensors; how many values there are."""
    count = 0
    for name, value in table.items():
        where = f"{prefix}{name}"
        if isinstance(value, dict):
            if depth == _DEPTH:
                raise WeightsError(f"{path} is refused: its tables are nested more than {_DEPTH} deep")
            count += _require_tensors(value, path, f"{where}/", depth + 1)
        elif not isinstance(value, Tensor):
            kind = type(value).__name__
            raise WeightsError(f"{path} is refused: it holds more than tensors ({where} is a {kind})")
        elif value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise WeightsError(f"{path}: {where} is not a plain tensor")
        elif value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise WeightsError(f"{path} is refused: {where} claims {value.numel()} numbers, and the file has fewer")
        elif not value.isfinite().all():
            raise WeightsError(f"{path}: {where} has values that are not finite: the file is damaged")
        count += 1
        if count > _VALUES:
            raise WeightsError(f"{path} is refused: it has more than {_VALUES} values")
    return count
