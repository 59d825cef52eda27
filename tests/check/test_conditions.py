"""What happens to pictures on the way to the adversary."""

from __future__ import annotations

import numpy as np
import pytest

from dadfi_fast.check.conditions import WRITTEN, parse, parse_all
from dadfi_fast.errors import UsageError


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    yy, xx = np.mgrid[:height, :width]
    return np.stack([yy * 3, xx * 2, yy + xx], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("text", ["jpeg:90", "jpeg:1", "jpeg:100", "blur:3", "noise:0.05"])
def test_only_the_protected_picture_changes(text: str) -> None:
    before = picture()
    original, protected = parse(text).treat(before, before)
    assert original is before
    assert protected.shape == before.shape
    assert protected.dtype == np.uint8
    assert (protected != before).any()
    assert np.array_equal(before, picture())  # not written to


@pytest.mark.parametrize(
    ("factor", "shape"),
    [
        ("0.5", (20, 30, 3)),
        ("2", (80, 120, 3)),
        ("0.05", (2, 3, 3)),
    ],
)
def test_resize_treats_both_alike(factor: str, shape: tuple[int, ...]) -> None:
    original, protected = parse(f"resize:{factor}").treat(picture(), picture())
    assert original.shape == shape
    assert np.array_equal(original, protected)


def test_a_thin_picture_keeps_a_pixel() -> None:
    assert parse("resize:0.1").treat(picture(3, 60), picture(3, 60))[1].shape == (1, 6, 3)


def test_lower_quality_changes_more() -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    errors = [np.abs(parse(f"jpeg:{q}").treat(noisy, noisy)[1].astype(int) - noisy).mean() for q in (95, 75, 30)]
    assert errors == sorted(errors)


def test_noise_is_uniform_on_the_original_and_within_its_bound() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    moved = parse("noise:0.05").treat(grey, picture(64, 64))[1].astype(int) - 128
    assert (moved.min(), moved.max()) == (-6, 6)  # 0.05 is 6.375 levels
    assert np.abs(np.bincount((moved + 6).ravel(), minlength=13) / moved.size - 1 / 13).max() < 0.01


def test_noise_does_not_wrap_around() -> None:
    white = np.full((8, 8, 3), 255, np.uint8)
    assert parse("noise:0.2").treat(white, white)[1].min() >= 255 - 25


def test_another_margin_is_another_adversary_and_changes_no_picture() -> None:
    condition, before = parse("margin:0.9"), picture()
    assert (condition.adversary, condition.margin) == ("A2", 0.9)
    assert condition.treat(before, before) == (before, before)  # the very same arrays
    assert {WRITTEN.adversary, parse("jpeg:75").adversary} == {"A1"}


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["margin:0.9", "1.1"], ["margin:0.9", "margin:1.1"]),
        (
            ["jpeg:90", "75", "margin:0.9", "1.1", "blur:3"],
            ["jpeg:90", "jpeg:75", "margin:0.9", "margin:1.1", "blur:3"],
        ),
        ([], []),
    ],
)
def test_a_value_alone_is_of_the_kind_before_it(texts: list[str], names: list[str]) -> None:
    assert [condition.name for condition in parse_all(texts)] == names


def test_a_value_without_a_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown condition '90'"):
        parse_all(["90", "jpeg:75"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jpg:90", "did you mean 'jpeg'"),
        ("jpeg", "invalid condition"),
        ("jpeg:0", "an integer from 1 to 100"),
        ("jpeg:90.5", "an integer from 1 to 100"),
        ("jpeg:nan", "an integer from 1 to 100"),
        ("resize:0", "from 0.05 to 4"),
        ("resize:nan", "from 0.05 to 4"),
        ("blur:4", "odd"),
        ("noise:0.3", "from 0.01 to 0.2"),
        ("margin:1", "other than 1"),  # the crops of the plain check
        ("margin:3", "from 0.5 to 2"),
        ("margin:nan", "from 0.5 to 2"),
    ],
)
def test_what_is_no_condition(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text)
