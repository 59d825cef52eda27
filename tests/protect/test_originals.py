"""Inputs are never written to, by whatever path the output folder leads to them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dadfi_fast.errors import DadfiError, DiskError, UsageError
from dadfi_fast.protect.manifest import NAME
from dadfi_fast.storage.disk import OutFolder
from tests.protect.conftest import Run

posix = pytest.mark.skipif(sys.platform == "win32", reason="links need a right of their own on Windows")


@pytest.fixture
def bind() -> Iterator[Callable[[Path, Path], None]]:
    """Mounts a folder at another place, where the system lets us."""
    with ExitStack() as stack:

        def mount(folder: Path, place: Path) -> None:
            place.mkdir(parents=True)
            if shutil.which("mount") is None or os.geteuid() != 0:
                pytest.skip("only root can mount")
            if subprocess.run(["mount", "--bind", folder, place], check=False, capture_output=True).returncode:
                pytest.skip("this container cannot mount")
            stack.callback(subprocess.run, ["umount", place], check=True)

        yield mount


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@posix
@pytest.mark.parametrize(
    ("link", "to", "error"),
    [
        ("out", "in", UsageError),
        ("out/sub", "in/sub", DiskError),  # the very folder of the input
        ("out/sub", "in/other", DiskError),  # another one of the inputs
        ("out/sub", "in", DiskError),
        ("out/sub/deep", "in/other", DiskError),  # below a folder that is ours
        ("out/sub/deep", "in", DiskError),
    ],
)
@pytest.mark.parametrize("how", ["link", "mount"])
def test_an_output_folder_that_is_one_of_the_inputs_is_refused(
    tmp_path: Path,
    photos: Callable[..., Path],
    run: Run,
    bind: Callable[[Path, Path], None],
    link: str,
    to: str,
    error: type[DadfiError],
    how: str,
) -> None:
    source = photos(dict.fromkeys(("a.jpg", "sub/a.jpg", "sub/deep/a.jpg", "other/a.jpg")))
    before = contents(source)
    alias = tmp_path / link
    alias.parent.mkdir(parents=True, exist_ok=True)
    bind(tmp_path / to, alias) if how == "mount" else alias.symlink_to(tmp_path / to)
    with pytest.raises(error, match="inputs are never"):
        run(on_exists="overwrite")
    assert contents(source) == before


def test_an_input_folder_that_is_mounted_from_the_output_folder_is_refused(
    tmp_path: Path, photos: Callable[..., Path], run: Run, bind: Callable[[Path, Path], None]
) -> None:
    kept, source = photos({"sub/a.jpg": None}), tmp_path / "source"
    source.mkdir()
    bind(kept / "sub", source / "sub")
    before = contents(kept)
    with pytest.raises(DiskError, match="inputs are never"):
        run(source, out=kept, on_exists="overwrite")
    assert {name: data for name, data in contents(kept).items() if name != NAME} == before


@posix
def test_an_input_that_is_a_link_into_the_output_folder_fails(
    tmp_path: Path, photos: Callable[..., Path], run: Run
) -> None:
    source, original = photos({"b.jpg": None}), tmp_path / "out" / "a.jpg"
    original.parent.mkdir()
    shutil.copy(source / "b.jpg", original)
    before = original.read_bytes()
    (source / "a.jpg").symlink_to(original)
    _, rows = run(on_exists="overwrite")
    assert {name: row["status"] for name, row in rows.items()} == {"a.jpg": "failed", "b.jpg": "written"}
    assert original.read_bytes() == before


@posix
def test_a_link_at_a_temporary_name_is_not_followed(tmp_path: Path) -> None:
    original = tmp_path / "a.jpg"
    original.write_bytes(b"original")
    out = OutFolder(tmp_path / "out")
    for number in range(1, 9):
        (out.path / f".dadfi-{os.getpid()}-{number}.partial").symlink_to(original)
    out.commit(out.stage("b.jpg", b"new"), "b.jpg")
    assert original.read_bytes() == b"original"
    assert (out.path / "b.jpg").read_bytes() == b"new" and not (out.path / "b.jpg").is_symlink()
