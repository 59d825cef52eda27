from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dadfi_fast.errors import DataError
from dadfi_fast.training.data import load_faces


def png(value: int, size: tuple[int, int] = (10, 8)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (value, 0, 255)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "faces"
    path.mkdir()
    for i in (2, 1, 3):
        (path / f"{i}.png").write_bytes(png(i))
    (path / "notes.txt").write_text("not an image")
    return path


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "faces.tar"
    with tarfile.open(path, "w") as tar:
        for file in folder.iterdir():
            tar.add(file, arcname=f"deep/{file.name}")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "attributes.csv"
    path.write_text("image,split,Male,Young\n1.png,train,0,1\n3.png,train,1,1\n")
    return path


def test_an_archive_and_a_folder_are_the_same(folder: Path, archive: Path) -> None:
    one, two = load_faces([folder], image_size=6), load_faces([archive], image_size=6)
    assert one.names == two.names == ("1.png", "2.png", "3.png")
    assert np.array_equal(one.pixels, two.pixels) and one.pixels.shape == (3, 3, 6, 6)


def test_a_batch_is_in_the_networks_range(folder: Path) -> None:
    batch = load_faces([folder], image_size=6).batch(torch.tensor([2, 0]))
    assert batch[0, 0].unique().item() == pytest.approx(3 / 127.5 - 1)
    assert batch[:, 2].unique().item() == 1


def test_labels_are_the_columns_asked_for_and_the_rest_is_left_out(folder: Path, table: Path) -> None:
    faces = load_faces([folder], image_size=6, attributes=table, columns=("Young", "Male"))
    assert faces.names == ("1.png", "3.png")
    assert faces.labels is not None and faces.labels.tolist() == [[1, 0], [1, 1]]


def test_limit(folder: Path) -> None:
    assert len(load_faces([folder], image_size=6, limit=2)) == 2


def test_faults_are_told(folder: Path, table: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column Bald"):
        load_faces([folder], image_size=6, attributes=table, columns=("Bald",))
    with pytest.raises(DataError, match="neither a folder nor a tar archive"):
        load_faces([table], image_size=6)
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image found"):
        load_faces([empty], image_size=6)
    (folder / "0.jpg").write_text("not a picture")
    with pytest.raises(DataError, match=r"0\.jpg cannot be decoded"):
        load_faces([folder], image_size=6)
