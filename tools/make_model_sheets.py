"""Write docs/models: a page on the deepfake models that ship, from their cards, and a contact sheet of each.

The sheets show the faces in examples/photos: the pictures that the models are measured on may not be shown here.
``dadfi-fast evaluate plausibility`` writes the same sheets of whatever pictures it is given.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from dadfi_fast.check.fake_sets import levels
from dadfi_fast.check.preprocess import cut_out, find_faces, read
from dadfi_fast.deepfakes.onnx_model import DeepfakeModel
from dadfi_fast.deepfakes.registry import load_attributes, load_models
from dadfi_fast.evaluate.contact_sheet import Column, draw_sheet
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
        squares, has_face = find_faces(pixels, find)
        crops += cut_out(pixels, pixels, squares if has_face else (), sizes=sizes)
    return {size: np.stack([crop.original[size] for crop in crops[:FACES]]) for size in sizes}


def columns(model: DeepfakeModel, x: Float32, labels: Float32) -> list[Column]:
    """The faces ``x`` [N, 3, S, S] and each of their edits."""
    edited = zip(model.edit_names, model.edits(labels), strict=True)
    return [Column("original", levels(x)), *(Column(name, levels(model.fake(x, edit))) for name, edit in edited)]


HEAD = """\
# The deepfake models that ship

What `check` samples through and what the generator is trained against. They are small models of the published families,
trained by this project on CelebA (celeba176, 14,476 pictures); every fact below is in the cards in
`dadfi_fast/weights`, and `dadfi-fast models list --json` prints them. What disturbs them is not thereby shown to
disturb the official models of 128 or 256 px, which `dadfi-fast models add` takes, nor
[a network of your own](../own-models.md), which it takes too.
[How they are trained](../deepfake-training.md).

Edit accuracy is the share of edited pictures of celeba176-test in which the classifier attributes-64, which takes no
part in training, sees what was asked for; only pictures that lacked it count, and hair colours only where they are
added. `dadfi-fast evaluate plausibility` measures it again, together with what the edits leave alone and the Frechet
distance: [its table](../experiments/plausibility.md).

This page is written by `python tools/make_model_sheets.py`.
"""


def page(models: list[DeepfakeModel]) -> str:
    """The page, Markdown."""
    parts = [HEAD]
    for card in (model.card for model in models):
        shares = card.extra["edit_accuracy"]
        figures = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        commands = card.extra["command"]
        parts.append(
            f"## {card.name}\n\n"
            f"{card.path.read_text(encoding='utf-8').split('+++', 2)[2].strip().partition(chr(10))[2].strip()}\n\n"
            f"- {card.image_size} px, {card.parameters:,} parameters, {card.file.stat().st_size / 1e6:.1f} MB\n"
            f"- {card.extra['steps']:,} steps, {card.extra['minutes']:.0f} minutes on {card.extra['machine']}\n"
            f"- edit accuracy (n = {card.extra['test_n']:,}): {figures}\n"
            f"{_curve(card.extra.get('curve', []))}"
            f"- licence: {card.licence}\n\n"
            "Command"
            + "s" * isinstance(commands, list)
            + ":\n\n"
            + "".join(f"    {command}\n" for command in ([commands] if isinstance(commands, str) else commands))
            + f"\n![Edits of {card.name}]({card.name}.jpg)\n"
        )
    return "\n".join(parts)


def _curve(points: list[dict[str, float]]) -> str:
    if not points:
        return ""
    steps = ", ".join(f"{point['step']:,}: {point['edit_accuracy']:.2f}" for point in points)
    return f"- mean edit accuracy by step (n = {points[0]['n']:.0f}): {steps}\n"


def write() -> None:
    """The page, and one sheet a model."""
    models, classifier = load_models(), load_attributes()
    x = faces({model.image_size for model in models} | {classifier.image_size})
    SHEETS.mkdir(parents=True, exist_ok=True)
    for model in models:
        labels = classifier.labels(x[classifier.image_size], model.attributes, unknown_as=0)
        picture = draw_sheet(columns(model, x[model.image_size], labels))
        Image.fromarray(picture).save(SHEETS / f"{model.name}.jpg", quality=88, optimize=True)
    (SHEETS / "README.md").write_text(page(models), encoding="utf-8")


if __name__ == "__main__":
    write()
