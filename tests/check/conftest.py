"""Files to check whose fakes are known by hand, and a browser to look at a page with."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.check.pairs import Pair
from dadfi_fast.check.preprocess import Find
from dadfi_fast.check.result import CheckResult, check_files
from dadfi_fast.deepfakes.onnx_model import AttributeModel, DeepfakeModel
from dadfi_fast.deepfakes.registry import load_attributes, load_models
from dadfi_fast.types import Face

ROOT = Path(__file__).resolve().parents[2]
#: A fine pattern, which breaks the model ``fragile`` and not ``sturdy``.
CHECKER = (6 * (1 - 2 * (np.indices((32, 32)).sum(axis=0) % 2)))[..., None]


def pytest_configure(config: pytest.Config) -> None:
    """Enter the marker of the tests that want a browser."""
    config.addinivalue_line("markers", "browser: needs Chromium and its driver")


@pytest.fixture(scope="session")
def toys(toy_weights: Path) -> tuple[list[DeepfakeModel], AttributeModel]:
    """The models ``fragile`` and ``sturdy``, and the classifier."""
    models = load_models(("fragile", "sturdy"), folder=toy_weights, threads=1)
    return models, load_attributes(folder=toy_weights, threads=1)


@pytest.fixture(scope="session")
def put(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pair]:
    """Writes a grey original of a level and its protected version, or one that is not protected at all."""
    folder = tmp_path_factory.mktemp("files")

    def write(name: str, *, level: int = 60, safe: bool = True) -> Pair:
        stem = f"{len(list(folder.iterdir()))}"
        pair = Pair(name, folder / f"{stem}-in.png", folder / f"{stem}-out.png")
        pixels = np.full((32, 32, 3), level, np.uint8)
        Image.fromarray(pixels).save(pair.original)
        Image.fromarray((pixels + CHECKER * safe).astype(np.uint8)).save(pair.protected)
        return pair

    return write


@pytest.fixture(scope="session")
def check(toys: tuple[list[DeepfakeModel], AttributeModel]) -> Callable[..., CheckResult]:
    """Checks pairs with the toy models; the whole image counts as one face unless ``find`` says otherwise."""

    def whole(pixels: np.ndarray) -> list[Face]:
        height, width = pixels.shape[:2]
        side = max(height, width) / 1.5  # the adversary's margin: his square is the picture
        return [Face((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2, 1.0)]

    def run(
        pairs: list[Pair], *, models: list[DeepfakeModel] | None = None, find: Find = whole, **more: Any
    ) -> CheckResult:
        all_models, classifier = toys
        return check_files(pairs, models=models or all_models, classifier=classifier, detector=find, **more)

    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium; skipped with the reason where there is none."""
    make = runpy.run_path(str(ROOT / "tools" / "make_report_images.py"))["Browser"]
    try:
        opened = make()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with opened:
        yield opened
