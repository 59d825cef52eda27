"""Names of targets: the input's own, and never one twice."""

from __future__ import annotations

import itertools

import pytest

from dadfi_fast.images.naming import Namer, candidates, renamed


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("a.JPG", "keep", "a.JPG"),
        ("a.gif", "keep", "a.png"),  # a palette would undo the protection
        ("a", "keep", "a"),
        ("a.png", "jpeg", "a.jpg"),
        ("a.JPEG", "jpeg", "a.JPEG"),  # says so already
        ("a.tar.png", "webp", "a.tar.webp"),
        ("a", "tiff", "a.tif"),
    ],
)
def test_renamed(name: str, form: str, expected: str) -> None:
    assert renamed(name, form) == expected


@pytest.mark.parametrize(
    ("names", "form", "expected"),
    [
        (["a.jpg", "a.png"], "keep", ["a.jpg", "a.png"]),
        (["a.jpg", "a.png"], "jpeg", ["a.jpg", "a-2.jpg"]),
        (["a.gif", "a.png"], "keep", ["a-2.png", "a.png"]),  # who keeps his name comes first
        (["a-2.jpg", "a.jpg", "a.png", "a.tif"], "jpeg", ["a-2.jpg", "a.jpg", "a-3.jpg", "a-4.jpg"]),
        (["a.png", "a.txt"], "jpeg", ["a.jpg", "a-2.jpg"]),  # a text takes no picture's name
    ],
)
def test_inputs_that_would_land_on_one_name_are_told_apart(names: list[str], form: str, expected: list[str]) -> None:
    assert list(Namer(form, forget=True).assign(".", names)) == expected


def test_two_trees_are_told_apart_too() -> None:
    namer = Namer("keep", forget=False)
    assert list(namer.assign("x", ["a.jpg"])) == ["x/a.jpg"]
    assert list(namer.assign("x", ["a.jpg"])) == ["x/a-2.jpg"]
    assert list(namer.assign("y", ["a.jpg"])) == ["y/a.jpg"]


def test_candidates() -> None:
    assert list(itertools.islice(candidates("a.b.jpg"), 3)) == ["a.b.jpg", "a.b-2.jpg", "a.b-3.jpg"]


def test_names_and_folders_that_fold_to_one_are_told_apart() -> None:
    namer = Namer("keep", forget=True, folds_case=True)
    targets = [list(namer.assign(folder, names)) for folder, names in (
        (".", ["A.jpg", "a.jpg", "É.jpg", "e\u0301.jpg"]),
        ("Day", ["x.jpg"]),
        ("Day/One", ["x.jpg"]),
        ("day", ["x.jpg", "X.JPG"]),
        ("day/one", ["x.jpg"]),
        ("day-2", ["x.jpg"]),
    )]  # fmt: skip
    assert targets == [
        ["A.jpg", "a-2.jpg", "É.jpg", "e\u0301-2.jpg"],
        ["Day/x.jpg"],
        ["Day/One/x.jpg"],
        ["day-2/x.jpg", "day-2/X-2.JPG"],
        ["day-2/one/x.jpg"],
        ["day-2-2/x.jpg"],
    ]


def test_names_stay_where_nothing_folds() -> None:
    namer = Namer("keep", forget=True)
    assert list(namer.assign("Day", ["A.jpg", "a.jpg"])) == ["Day/A.jpg", "Day/a.jpg"]
    assert list(namer.assign("day", ["A.jpg"])) == ["day/A.jpg"]
