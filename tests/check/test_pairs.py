"""Which files belong together, and which of them are drawn."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from dadfi_fast.check.pairs import MANIFEST, Pair, draw, find_pairs
from dadfi_fast.errors import NothingToDo, UsageError


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def manifest(folder: Path, *rows: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def row(source: object, target: str, status: str = "written") -> dict[str, object]:
    return {"source": str(source), "target": target, "status": status}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    return tmp_path / "out", tmp_path / "in"


def names(pairs: list[Pair], root: Path) -> list[tuple[str, str]]:
    return [(p.name, p.original.relative_to(root).as_posix()) for p in pairs]


@pytest.mark.parametrize(
    ("originals", "written", "expected"),
    [
        (["a.jpg", "b/c.jpg"], ["b/c.jpg", "a.jpg"], [("a.jpg", "a.jpg"), ("b/c.jpg", "b/c.jpg")]),
        (["a.jpg"], ["a.png"], [("a.png", "a.jpg")]),  # written in another format
        (["a.jpg", "a.png"], ["a.png"], [("a.png", "a.png")]),  # the same name comes first
        (["a.jpg", "a.webp", "b.jpg"], ["a.png", "b.jpg"], [("b.jpg", "b.jpg")]),  # a.png could be either: left out
        (["a.jpg", "x/b.jpg"], ["a.jpg", "y/b.jpg"], [("a.jpg", "a.jpg")]),  # another folder is another picture
        (["2024.05.01.jpg", "2024.05.02.jpg"], ["2024.05.01.png"], [("2024.05.01.png", "2024.05.01.jpg")]),
    ],
)
def test_mirrored_names(
    folders: tuple[Path, Path], originals: list[str], written: list[str], expected: list[tuple[str, str]]
) -> None:
    out, source = folders
    for name in originals:
        put(source / name)
    for name in written:
        put(out / name)
    assert names(find_pairs(out, source), source) == expected


def test_what_is_no_picture_is_passed_over(folders: tuple[Path, Path]) -> None:
    out, source = folders
    for folder in folders:
        put(folder / "a.jpg")
        (folder / "notes.txt").write_text("not an image")
        put(folder / ".hidden.jpg")
    assert names(find_pairs(out, source), source) == [("a.jpg", "a.jpg")]


def test_the_manifest_says_what_was_written_for_what(folders: tuple[Path, Path]) -> None:
    out, source = folders
    for name in ("a.jpg", "a-2.jpg", "copied.jpg", "gone.jpg"):
        put(out / name)
    for name in ("a.jpg", "sub/a.png", "copied.jpg"):
        put(source / name)
    manifest(
        out,
        row("a.jpg", "a.jpg"),
        row("sub/a.png", "a-2.jpg"),  # renamed: only the manifest knows
        row("copied.jpg", "copied.jpg", "copied"),  # no face in it
        row("gone.jpg", "gone.jpg"),  # the original was removed since
    )
    assert names(find_pairs(out, source), source) == [("a-2.jpg", "sub/a.png"), ("a.jpg", "a.jpg")]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text_can_still_be_printed(folders: tuple[Path, Path]) -> None:
    name = os.fsdecode(b"photo\xe9.png")
    for folder in folders:
        put(folder / name)
    (mirrored,) = find_pairs(*folders)
    manifest(folders[0], row(name, name))
    (listed,) = find_pairs(*folders)
    assert mirrored.name == listed.name == "photo\ufffd.png"
    assert listed.original.is_file()


def test_an_absolute_source_stands_for_itself_in_the_folder_of_originals(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    out, source = folders
    put(out / "a.jpg")
    elsewhere = put(tmp_path / "elsewhere" / "a.jpg")
    manifest(out, row(elsewhere, "a.jpg"))
    assert [pair.original for pair in find_pairs(out, tmp_path)] == [elsewhere]
    with pytest.raises(NothingToDo):
        find_pairs(out, source)


def test_the_last_row_of_a_target_counts(folders: tuple[Path, Path]) -> None:
    out, source = folders
    put(out / "a.jpg")
    put(source / "old.jpg")
    put(source / "new.jpg")
    manifest(out, row("old.jpg", "a.jpg"), row("new.jpg", "a.jpg"))
    assert names(find_pairs(out, source), source) == [("a.jpg", "new.jpg")]


def test_lines_that_a_killed_run_left_are_no_rows(folders: tuple[Path, Path]) -> None:
    out, source = folders
    put(out / "a.jpg")
    put(source / "a.jpg")
    manifest(out, row("a.jpg", "a.jpg"))
    with (out / MANIFEST).open("a") as file:
        file.write('null\n{"source": "b.jpg", "tar')
    assert names(find_pairs(out, source), source) == [("a.jpg", "a.jpg")]


def test_two_files_are_a_pair(tmp_path: Path) -> None:
    one, other = put(tmp_path / "me.jpg"), put(tmp_path / "protected.png")
    assert find_pairs(other, one) == [Pair("protected.png", one, other)]


def test_a_folder_is_not_compared_with_itself(folders: tuple[Path, Path]) -> None:
    put(folders[0] / "a.jpg")
    with pytest.raises(NothingToDo):
        find_pairs(folders[0], folders[0])


def test_paths_that_cannot_be_compared(folders: tuple[Path, Path]) -> None:
    out, source = folders
    picture = put(source / "a.jpg")
    with pytest.raises(UsageError, match="must both be folders, or both files"):
        find_pairs(out, picture)
    with pytest.raises(UsageError, match="does not exist"):
        find_pairs(out / "no", source)
    with pytest.raises(NothingToDo, match="no file in"):
        find_pairs(out, source)


def some(n: int) -> list[Pair]:
    return [Pair(f"{i:03}.jpg", Path(f"in/{i:03}.jpg"), Path(f"out/{i:03}.jpg")) for i in range(n)]


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (None, 20),
        (20, 20),
        (99, 20),
        (7, 7),
    ],
)
def test_draw_takes_no_more_than_there_are(n: int | None, expected: int) -> None:
    drawn = draw(some(20), n=n)
    assert len(set(drawn)) == expected
    assert drawn == sorted(drawn)


def test_draw_depends_on_the_seed_and_not_on_the_order() -> None:
    pairs = some(50)
    assert draw(pairs, n=5, seed=1) == draw(pairs[::-1], n=5, seed=1)
    assert draw(pairs, n=5, seed=1) != draw(pairs, n=5, seed=2)
