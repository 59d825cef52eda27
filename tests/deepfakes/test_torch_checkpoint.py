"""Files of strangers: what is read, what is refused, and that nothing in them runs."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dadfi_fast.deepfakes.torch_checkpoint import read_tensors
from dadfi_fast.errors import WeightsError


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


def cut(path: Path, *, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def saved(content: object, *, zipped: bool = True) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path, _use_new_zipfile_serialization=zipped)


def truncated(*, zipped: bool) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        torch.save({"a": torch.rand(1000)}, path, _use_new_zipfile_serialization=zipped)
        cut(path, keep=0.5)

    return make


def zip_of(name: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"something")

    return make


BAD: list[tuple[str, Callable[[Path], object], str]] = [
    ("empty", lambda path: path.write_bytes(b""), "is empty. Download it again"),
    ("text", lambda path: path.write_text("<html>quota exceeded</html>"), "is not a checkpoint of PyTorch"),
    ("text that looks like a pickle", lambda path: path.write_text("cposix\nsystem\n."), "is not a checkpoint of"),
    ("zip cut short", truncated(zipped=True), "is truncated or damaged"),
    ("pickle cut short", truncated(zipped=False), "is truncated, damaged or not a checkpoint"),
    ("zip of a download", zip_of("models/200000-G.ckpt"), "Unpack it and pass the checkpoint inside"),
    (
        "plain pickle",
        lambda path: path.write_bytes(pickle.dumps({"a": 1})),
        "is truncated, damaged or not a checkpoint",
    ),
    ("TorchScript", zip_of("model/constants.pkl"), "TorchScript archive, which contains code"),
    ("a list", saved([torch.rand(2)]), "holds a list, not weights by name"),
    ("a number", saved({"net": {"step": 3}}), r"more than tensors \(net/step is a int\)"),
    ("not finite", saved({"net": {"a": torch.tensor([1.0, float("nan")])}}), "net/a has values that are not finite"),
    ("sparse", saved({"a": torch.eye(3).to_sparse_coo()}), "a is not a plain tensor"),
    ("without storage", saved({"a": torch.empty(3, device="meta")}), "a is not a plain tensor"),
]


@pytest.mark.parametrize(("make", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_what_holds_no_weights_is_refused(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    path = tmp_path / "x.ckpt"
    make(path)
    with pytest.raises(WeightsError, match=words) as caught:
        read_tensors(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "write",
    [
        lambda content, path: torch.save(content, path),
        lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
        lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2)),
        lambda content, path: path.write_bytes(pickle.dumps(content, protocol=4)),
    ],
    ids=["torch", "torch before 1.6", "pickle", "pickle of a later protocol"],
)
def test_code_is_named_and_not_run(tmp_path: Path, write: Callable[[object, Path], object]) -> None:
    path, trace = tmp_path / "x.ckpt", tmp_path / "trace"
    write({"weight": Bomb(trace)}, path)
    with pytest.raises(WeightsError, match=r"is refused: .* would call (posix|nt)\.mkdir\. Get a file"):
        read_tensors(path)
    assert not trace.exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(1, 1), tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"would call torch\.nn\.modules\.linear\.Linear\. Get a file .* state dict"):
        read_tensors(tmp_path / "x.pt")


@pytest.mark.parametrize("zipped", [True, False], ids=["since torch 1.6", "before"])
def test_tables_of_tensors_are_read(tmp_path: Path, zipped: bool) -> None:
    table = OrderedDict(weight=torch.rand(2, 3), count=torch.tensor(7))
    saved({"net": table, "bias": torch.nn.Parameter(torch.rand(2))}, zipped=zipped)(tmp_path / "x.ckpt")
    content = read_tensors(tmp_path / "x.ckpt")
    assert torch.equal(content["net"]["weight"], table["weight"]) and content["net"]["count"] == 7
    assert content["bias"].shape == (2,)


def packed(path: Path) -> None:
    """A checkpoint of a million zeros in some kB."""
    plain = path.with_suffix(".plain")
    torch.save({"a": torch.zeros(1_000_000)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))


def nested(depth: int) -> object:
    table: object = {"a": torch.zeros(1)}
    for _ in range(depth):
        table = {"a": table}
    return table


def doubled(depth: int) -> object:
    """Tables that hold the same table twice: 2**depth paths."""
    table: object = {"a": torch.zeros(1)}
    for _ in range(depth):
        table = {"a": table, "b": table}
    return table


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (saved({"a": torch.zeros(1).expand(10**10)}), "claims 10000000000 numbers"),
        (saved({"a": torch.zeros(8).as_strided((9, 9), (0, 0))}), "claims 81 numbers"),
        (saved(nested(5)), "nested more than"),
        (saved(nested(200)), "nested more than|recursion"),
        (saved(doubled(40)), "nested more than"),
        (packed, "unpacks to"),
        (lambda path: os.mkfifo(path), "is not a file"),
        (lambda path: path.mkdir(), "is not a file"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="no pipes")
def test_what_claims_more_than_it_is_is_refused(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    make(tmp_path / "a.ckpt")
    with pytest.raises(WeightsError, match=words):
        read_tensors(tmp_path / "a.ckpt")
