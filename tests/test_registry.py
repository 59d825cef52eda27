from __future__ import annotations

import pytest

from dadfi_fast.errors import UsageError
from dadfi_fast.registry import Registry, did_you_mean


@pytest.fixture
def colours() -> Registry[int]:
    table: Registry[int] = Registry("colour")
    for number, name in enumerate(("green", "red", "blue")):
        table.add(name)(number)
    return table


def test_entries_come_back_in_the_order_of_registration(colours: Registry[int]) -> None:
    assert list(colours) == ["green", "red", "blue"]
    assert [colours[name] for name in colours] == [0, 1, 2]
    assert "red" in colours and "pink" not in colours


def test_add_returns_what_it_decorates(colours: Registry[int]) -> None:
    assert colours.add("grey")(7) == 7
    assert colours["grey"] == 7


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gren", "did you mean 'green'?"),
        ("xyzzy", None),  # nothing is near
        ("", None),
    ],
)
def test_an_unknown_name_is_told_with_what_there_is(colours: Registry[int], name: str, hint: str | None) -> None:
    with pytest.raises(UsageError, match="unknown colour") as caught:
        colours[name]
    assert "green, red, blue" in str(caught.value)
    assert ("did you mean" in str(caught.value)) == (hint is not None)
    assert hint is None or hint in str(caught.value)


def test_a_name_is_entered_once(colours: Registry[int]) -> None:
    with pytest.raises(AssertionError, match="red is entered twice"):
        colours.add("red")


@pytest.mark.parametrize(
    ("name", "sentence", "expected"),
    [
        ("gren", False, " (did you mean 'green'?)"),
        ("gren", True, " Did you mean 'green'?"),
        ("violet", False, ""),
        ("violet", True, ""),
    ],
)
def test_the_nearest_name_is_proposed(name: str, sentence: bool, expected: str) -> None:
    assert did_you_mean(name, ["green", "red"], sentence=sentence) == expected
