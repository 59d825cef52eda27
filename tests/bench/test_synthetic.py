"""Folders of very many photos: as many as wanted, all different, and damaged where they say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from dadfi_fast.bench import synthetic
from dadfi_fast.bench.synthetic import DAMAGES, SyntheticPhotos, make
from dadfi_fast.errors import NothingToDo, PhotoError, UsageError
from dadfi_fast.images.decode import decode, open_picture


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> SyntheticPhotos:
    """Sixty files, a sixth of them damaged."""
    root = Path(__file__).resolve().parents[2]
    folder = tmp_path_factory.mktemp("many") / "in"
    return make(root / "examples" / "photos", folder, count=60, size=40, damaged=1 / 6)


def readable(path: Path) -> bool:
    """Whether it can be decoded."""
    try:
        decode(open_picture(path.read_bytes(), max_pixels=10**6), path)
    except PhotoError:
        return False
    return True


def test_every_file_is_what_its_name_says(corpus: SyntheticPhotos) -> None:
    names = dict(corpus.names())
    assert sorted(names) == sorted(path.relative_to(corpus.folder).as_posix() for path in corpus.folder.rglob("*.jpg"))
    assert {name: readable(corpus.folder / name) for name in names} == {
        name: bad is None for name, bad in names.items()
    }


def test_the_damaged_are_spread_evenly_and_of_every_kind(corpus: SyntheticPhotos) -> None:
    damages = [damage for _, damage in corpus.names()]
    assert len(damages) == 60 and [n for n, damage in enumerate(damages) if damage] == list(range(5, 60, 6))
    assert [damage for damage in damages if damage] == list(DAMAGES) * 2


def test_photos_differ_and_have_their_size(corpus: SyntheticPhotos) -> None:
    photos = [corpus.folder / name for name, damage in corpus.names() if damage is None]
    assert len({path.read_bytes() for path in photos}) == 50
    shapes = [decode(open_picture(path.read_bytes(), max_pixels=10**6), path).pixels.shape[:2] for path in photos]
    assert {min(shape) for shape in shapes} == {40} and 40 <= max(map(max, shapes)) <= 53


def test_the_same_seed_makes_the_same_files(corpus: SyntheticPhotos, tmp_path: Path, examples: Path) -> None:
    again = make(examples, tmp_path / "again", count=60, size=40, damaged=1 / 6, threads=1)
    assert all((again.folder / name).read_bytes() == (corpus.folder / name).read_bytes() for name, _ in corpus.names())
    other = make(examples, tmp_path / "other", count=3, size=40, damaged=0, seed=1)
    assert all((other.folder / name).read_bytes() != (corpus.folder / name).read_bytes() for name, _ in other.names())


def test_folders_hold_some_of_the_files_each(tmp_path: Path, examples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "A_FOLDER", 4)
    photos = make(examples, tmp_path / "in", count=9, size=32, damaged=0)
    assert sorted(len(list(folder.iterdir())) for folder in photos.folder.iterdir()) == [1, 4, 4]


def test_what_cannot_be_made(tmp_path: Path, examples: Path) -> None:
    with pytest.raises(UsageError, match="already exists"):
        make(examples, tmp_path, count=3, size=32, damaged=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingToDo, match="can be read"):
        make(tmp_path / "empty", tmp_path / "in", count=3, size=32, damaged=0)
