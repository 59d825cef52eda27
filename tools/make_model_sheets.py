"""Write docs/models/NAME.png: what each deepfake model that ships makes of the faces in examples/photos.

The pictures that the models are measured on may not be shown here; ``dadfi-fast evaluate plausibility`` writes the same
sheet of whatever pictures it is given.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from dadfi_fast.check.adversary import cut_out, look, read
from dadfi_fast.deepfakes.portable import DeepfakeModel
from dadfi_fast.deepfakes.registry import load_attributes, load_models
from dadfi_fast.evaluate.edit_accuracy import levels
from dadfi_fast.evaluate.sheet import Column, sheet
from dadfi_fast.faces.detector import choose_detector
from dadfi_fast.types import Float32

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = ROOT / "examples" / "photos"
SHEETS = ROOT / "docs" / "models"
#: Faces on a sheet.
FACES = 8


def faces(sizes: set[int]) -> dict[int, Float32]:
    """The first faces of the example photos as the adversary crops them: size -> [N, 3, size, size] in [-1, 1]."""
    find, _ = choose_detector()
    crops = []
    for path in sorted(PHOTOS.iterdir()):
        pixels = read(path)
        squares, found = look(pixels, find)
        crops += cut_out(pixels, pixels, squares if found else (), sizes=sizes)
    return {size: np.stack([crop.original[size] for crop in crops[:FACES]]) for size in sizes}


def columns(model: DeepfakeModel, x: Float32, labels: Float32) -> list[Column]:
    """The faces ``x`` [N, 3, S, S] and each of their edits."""
    edited = zip(model.edit_names, model.edits(labels), strict=True)
    return [Column("original", levels(x)), *(Column(name, levels(model.fake(x, edit))) for name, edit in edited)]


def write() -> None:
    """One sheet a model."""
    models, classifier = load_models(), load_attributes()
    x = faces({model.image_size for model in models} | {classifier.image_size})
    SHEETS.mkdir(parents=True, exist_ok=True)
    for model in models:
        labels = classifier.labels(x[classifier.image_size], model.attributes, unknown_as=0)
        picture = sheet(columns(model, x[model.image_size], labels))
        Image.fromarray(picture).save(SHEETS / f"{model.name}.png", optimize=True)


if __name__ == "__main__":
    write()
