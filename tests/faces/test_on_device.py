"""The ways between photo and crop on tensors, against those on arrays."""

from __future__ import annotations

import numpy as np
import pytest

from dadfi_fast.faces import align
from dadfi_fast.faces.align import Square
from dadfi_fast.faces.shrink import shrink
from dadfi_fast.images.decode import upright
from dadfi_fast.types import LEVELS, UInt8

torch = pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture
def picture() -> UInt8:
    """Noise, of which every pixel counts."""
    return np.random.default_rng(0).integers(0, 256, (331, 257, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (257, 331),  # as it is
        (200, 300),  # a linear resize alone
        (128, 128),  # linear, and the area filter by 2
        (60, 77),  # linear, and the area filter by 2, from the last bit of what is not halved
        (40, 52),  # halved first
        (20, 26),  # halved twice
        (300, 400),  # enlarged
    ],
)
def test_shrink(picture: UInt8, width: int, height: int) -> None:
    from dadfi_fast.faces import on_device

    small = on_device.shrink(torch.from_numpy(picture), width, height).permute(1, 2, 0).numpy()
    expected = shrink(picture, width, height)
    assert small.shape == expected.shape and np.abs(small - expected).max() <= 1
    assert (small == small.round()).all()


@pytest.mark.parametrize(
    "where", [Square(10, 20, 200), Square(-30, -40, 90), Square(200, 300, 80), Square(-5, -5, 400)]
)
def test_cut_and_to_network(picture: UInt8, where: Square) -> None:
    from dadfi_fast.faces import on_device

    crop = on_device.cut(torch.from_numpy(picture), where)
    expected = align.cut(picture, where)
    assert np.array_equal(crop.numpy(), expected)
    levels = on_device.to_network(crop, 64).numpy() - align.to_network(expected, 64)
    assert np.abs(levels).max() * LEVELS <= 1.01


@pytest.mark.parametrize("side", [16, 32, 90, 333])
def test_to_photo(side: int) -> None:
    from dadfi_fast.faces import on_device

    delta = np.random.default_rng(0).uniform(-0.05, 0.05, (3, 32, 32)).astype(np.float32)
    result = on_device.to_photo(torch.from_numpy(delta), side).numpy()
    assert np.abs(result - align.to_photo(delta, side)).max() < 1e-3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright(picture: UInt8, orientation: int) -> None:
    from dadfi_fast.faces import on_device

    result = on_device.upright(torch.from_numpy(picture), orientation)
    assert result.is_contiguous() and np.array_equal(result.numpy(), upright(picture, orientation))


def test_search_through_small_copies(picture: UInt8) -> None:
    """A detector that is handed copies sees what it sees in the picture."""
    from dadfi_fast.faces.detector import Detector
    from dadfi_fast.types import Face

    class Told(Detector):
        name = "told"
        seen: list[tuple[int, ...]]

        @classmethod
        def missing(cls, model: object) -> str | None:
            return None

        def find(self, pixels: UInt8) -> list[Face]:
            self.seen.append(pixels.shape)
            return [Face(2, 3, 8, 9, 0.9)]

    detector, sizes = Told(), list[tuple[int, int]]()
    detector.seen = []

    def small(width: int, height: int) -> UInt8:
        sizes.append((width, height))
        return shrink(picture, width, height)

    assert detector.search(331, 257, small) == detector(picture)
    assert sizes == [(shape[1], shape[0]) for shape in detector.seen[: len(sizes)]] and len(sizes) > 1
