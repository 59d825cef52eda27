"""Write the pictures of what a photo, its protection and two fakes look like.

python tools/make_picture.py           docs/images/protection.jpg, in the README
python tools/make_picture.py --refine  docs/images/refine.jpg: the generator alone, and 20 steps from there
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from dadfi_fast.check.preprocess import cut_out, find_faces, read
from dadfi_fast.cli.main import main
from dadfi_fast.deepfakes.registry import load_attributes, load_models
from dadfi_fast.faces.align import cut
from dadfi_fast.faces.detector import choose_detector
from dadfi_fast.types import LEVELS, Float32, UInt8

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "examples" / "photos" / "portrait.jpg"
IMAGES = ROOT / "docs" / "images"
REFINE = ("--refine", "20", "--refine-look", "75", "--refine-models", "stargan-128")
#: Pixels a side of one of the pictures.
SIDE = 256
#: How many times the difference is shown stronger than it is.
GAIN = 20


def protected(folder: Path, *options: str) -> UInt8:
    """The example portrait as `dadfi-fast protect` writes it."""
    command = ["protect", str(PHOTO), "--out", str(folder), "--quiet", "--check", "0", *options]
    main(command, standalone_mode=False, prog_name="dadfi-fast")
    return read(folder / PHOTO.name)


def panels(before: UInt8, after: UInt8) -> list[UInt8]:
    """Original, protected, difference, and the fakes of both with the second edit (blond hair)."""
    find, _ = choose_detector()
    (where, *_), has_face = find_faces(after, find)
    assert has_face, "no face in the example portrait"
    model, classifier = load_models()[0], load_attributes()
    (crop,) = cut_out(before, after, [where], sizes={model.image_size, classifier.image_size})
    labels = classifier.labels(crop.original[classifier.image_size][None], model.attributes)
    edit = model.edits(labels)[1]
    fakes = [model.fake(side[model.image_size][None], edit)[0] for side in (crop.original, crop.protected)]
    whole = [cut(pixels, where) for pixels in (before, after)]
    difference = GAIN * (whole[1].astype(np.int16) - whole[0]) + 128
    return [*whole, np.clip(difference, 0, 255).astype(np.uint8), *map(levels, fakes)]


def levels(fake: Float32) -> UInt8:
    """[3, S, S] in [-1, 1] to [S, S, 3] uint8."""
    return np.rint((fake.transpose(1, 2, 0) + 1) * LEVELS).astype(np.uint8)


def write(path: Path, *ways: tuple[str, ...]) -> None:
    """Protect the portrait in each way (options of protect), and put its pictures in a row."""
    rows = []
    for options in ways:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(panels(read(PHOTO), protected(Path(folder), *options)))
    step = SIDE + 4
    sheet = Image.new("RGB", (step * len(rows[0]) - 4, step * len(rows) - 4), "white")
    for y, row in enumerate(rows):
        for x, panel in enumerate(row):
            picture = Image.fromarray(np.ascontiguousarray(panel)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            sheet.paste(picture, (x * step, y * step))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=92, subsampling=0)


if __name__ == "__main__":
    if "--refine" in sys.argv:
        write(IMAGES / "refine.jpg", (), REFINE)
    else:
        write(IMAGES / "protection.jpg", ())
