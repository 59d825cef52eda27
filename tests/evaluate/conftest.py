"""Pictures and their table."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

#: By level of their grey: what the table says of them, Black_Hair to Young.
LABELS = {
    70: "1,0,0,0,1",
    80: "1,0,0,1,1",
    90: "1,0,0,1,0",
    200: "0,1,0,0,1",
    210: "0,1,0,0,0",
    220: "0,0,1,1,1",
}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Six flat grey pictures of 40 px, named after their level."""
    path = tmp_path / "faces-test.tar"
    with tarfile.open(path, "w") as tar:
        for level in LABELS:
            picture = tmp_path / f"{level}.png"
            Image.fromarray(np.full((40, 40, 3), level, np.uint8)).save(picture)
            tar.add(picture, picture.name)
            picture.unlink()
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The table of `archive`: the last picture is of another split, and one is not there."""
    path = tmp_path / "labels.csv"
    lines = [f"{level}.png,{'val' if level == 220 else 'test'},{labels}" for level, labels in LABELS.items()]
    head = "image,split,Black_Hair,Blond_Hair,Brown_Hair,Male,Young"
    path.write_text("\n".join([head, *lines, "0.png,train,0,0,0,0,0"]) + "\n")
    return path
