"""Finding inputs: files, folders and globs, in order, without touching what is none of ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dadfi_fast.errors import NothingToDo, UsageError
from dadfi_fast.protect.discover import discover
from dadfi_fast.protect.results import Entry, Failed


def tree(top: Path, *names: str) -> Path:
    """Files of one byte."""
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return top


def list_inputs(*sources: Path | str, out: Path, form: str = "keep") -> list[tuple[str, str]]:
    """(name, target) of every input."""
    return [(entry.name, entry.target) for entry in discover([str(s) for s in sources], out, form=form)]


def test_a_tree_is_mirrored_in_name_order(tmp_path: Path) -> None:
    top = tree(tmp_path / "in", "b.jpg", "a.jpg", "sub/z.jpg", "sub/deep/y.jpg", "another/x.txt")
    names = ["a.jpg", "b.jpg", "another/x.txt", "sub/z.jpg", "sub/deep/y.jpg"]
    assert list_inputs(top, out=tmp_path / "out") == [(name, name) for name in names]


def test_junk_is_passed_over(tmp_path: Path) -> None:
    junk = ["Thumbs.db", ".DS_Store", "desktop.ini", "._a.jpg", "__MACOSX/a.jpg", "@eaDir/a.jpg", ".git/config"]
    ours = ["dadfi-manifest.jsonl", ".dadfi-12-3.partial"]
    top = tree(tmp_path / "in", "a.jpg", ".hidden.jpg", *junk, *ours)
    assert [name for name, _ in list_inputs(top, out=tmp_path / "out")] == [".hidden.jpg", "a.jpg"]


def test_the_output_folder_within_a_source_is_left_out(tmp_path: Path) -> None:
    top = tree(tmp_path / "in", "a.jpg", "out/a.jpg", "out/sub/b.jpg", "outer/c.jpg")
    (tmp_path / "link").symlink_to(top / "out")
    assert [name for name, _ in list_inputs(top, out=tmp_path / "link")] == ["a.jpg", "outer/c.jpg"]


def test_an_output_folder_that_is_made_during_the_walk_is_left_out(tmp_path: Path) -> None:
    top = tree(tmp_path / "in", "a.jpg", "z/b.jpg")
    walk = discover([str(top)], top / "y")
    first = next(walk)
    tree(top / "y", "a.jpg")
    assert [entry.name for entry in (first, *walk)] == ["a.jpg", "z/b.jpg"]


def test_links_that_lead_back_end(tmp_path: Path) -> None:
    top = tree(tmp_path / "in", "a.jpg", "sub/b.jpg")
    (top / "sub" / "up").symlink_to(top)
    (top / "sub" / "self").symlink_to(top / "sub")
    (top / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    assert [name for name, _ in list_inputs(top, out=tmp_path / "out")] == ["a.jpg", "sub/b.jpg"]


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    top = tree(tmp_path / "in", "a.jpg")
    os.mkfifo(top / "pipe.jpg")
    assert [name for name, _ in list_inputs(top, out=tmp_path / "out")] == ["a.jpg"]


def test_files_and_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path / "p", "a.jpg", "b.png", "sub/c.jpg")
    monkeypatch.chdir(tmp_path)
    out = Path("out")
    assert list_inputs("p/a.jpg", out=out) == [("a.jpg", "a.jpg")]
    assert list_inputs("p/a.jpg", "p/b.png", "p/a.jpg", out=out) == [("a.jpg", "a.jpg"), ("b.png", "b.png")]
    assert list_inputs("p/**/*.jpg", out=out) == [("a.jpg", "a.jpg"), ("sub/c.jpg", "sub/c.jpg")]


def test_several_folders_land_side_by_side(tmp_path: Path) -> None:
    one, two = tree(tmp_path / "one", "a.jpg", "s/b.jpg"), tree(tmp_path / "two", "a.jpg", "s/b.jpg")
    targets = dict(list_inputs(one, two, out=tmp_path / "out"))
    assert targets[(two / "a.jpg").as_posix()] == "a-2.jpg"
    assert sorted(targets.values()) == ["a-2.jpg", "a.jpg", "s/b-2.jpg", "s/b.jpg"]


@pytest.mark.parametrize(
    ("source", "out", "error", "words"),
    [
        ("in", "in", UsageError, "is also a SOURCE"),
        ("in/../in", "in", UsageError, "is also a SOURCE"),
        ("in/sub", "in", UsageError, "is inside --out"),
        ("in/a.jpg", "in", UsageError, "is inside --out"),
        ("in/*.jpg", "in", UsageError, "is inside --out"),
        ("missing", "out", UsageError, "missing does not exist"),
        ("in/*.bmp", "out", NothingToDo, "no file matches"),
    ],
)
def test_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, out: str, error: type[Exception], words: str
) -> None:
    tree(tmp_path / "in", "a.jpg", "sub/b.jpg")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        discover([source], Path(out))


def test_a_folder_that_cannot_be_read_is_a_failure_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top, scan = tree(tmp_path / "in", "a.jpg", "sub/b.jpg", "z/c.jpg"), os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    kinds = {
        entry.name if isinstance(entry, Entry) else entry.entry.name: type(entry)
        for entry in discover([str(top)], top / "o")
    }
    assert kinds == {"a.jpg": Entry, "sub": Failed, "z/c.jpg": Entry}
