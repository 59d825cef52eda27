"""The ceilings of small models with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dadfi_fast.deepfakes import taesd
from dadfi_fast.deepfakes.edits import ATTRIBUTES
from dadfi_fast.deepfakes.encoders import code_distance
from dadfi_fast.deepfakes.stargan import Generator
from dadfi_fast.errors import UsageError
from dadfi_fast.evaluate import ceiling
from dadfi_fast.evaluate.experiment import NAMED, Result, Setup, write
from dadfi_fast.export.release import release_deepfake, release_encoder
from dadfi_fast.files import sha256
from tests.deepfakes.test_encoders import encoder

pytestmark = pytest.mark.usefixtures("traced_once")

SMALL: dict[str, Any] = {
    "crop": 32, "steps": 4, "universal_steps": 4, "batch": 4, "draws": 2, "edits": ["Blond_Hair", "Male"],
    "bounds": ["30 dB"], "adversaries": ["A0", "A2"],
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two states of one training: the later one has larger weights, so that it is broken more easily."""
    folder = tmp_path_factory.mktemp("models")
    for steps, scale in ((100, 1.5), (200, 4.0)):
        torch.manual_seed(0)
        generator = Generator(conv_dim=4, repeat_num=1)
        with torch.no_grad():
            for parameter in generator.parameters():
                parameter.mul_(scale)
        what = {"family": "stargan", "image_size": 16, "edit_size": 5}
        facts = {"labels": list(ATTRIBUTES), "steps": steps}
        release_deepfake(generator, folder, name=f"after-{steps}", facts=facts, text="Tiny.", **what)
    return folder


def setup(folder: Path, archive: Path, table: Path, **changes: Any) -> Setup:
    own: dict[str, Any] = {"attributes": table, "models_dir": folder, "sample": 5, "train": (archive,)}
    options = {"ceiling": SMALL | changes.pop("limits", {})}
    return Setup((archive,), options=options, **own | changes)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Result:
    folder = tmp_path_factory.mktemp("faces")
    rng, rows = np.random.default_rng(0), []
    for i in range(6):
        pixels = rng.integers(40, 200, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 40), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
        rows.append(f"{i}.png,test,{int(i < 3)},0,{int(i >= 3)},{i % 2},1")
    table = folder / "labels.csv"
    table.write_text("\n".join(["image,split," + ",".join(ATTRIBUTES), *rows]))
    return ceiling.run(setup(models, folder, table))


def test_every_perturbation_meets_every_question(result: Result, tmp_path: Path) -> None:
    keys = [(row["made"], row["adversary"], row["model"], row["edit"]) for row in result.rows]
    for adversary in ("A0", "A2"):
        for kind in ("alone", "joint", "universal", "generator-s"):
            for model in ("after-100", "after-200"):
                for edit in ("Blond_Hair", "Male"):
                    assert (kind, adversary, model, edit) in keys
    for row in result.rows:
        assert set(NAMED) <= set(row) and row["n"] == 5 and row["trained"] in (100, 200)
    write(result, tmp_path)
    assert json.loads((tmp_path / "ceiling.json").read_text())["experiment"] == "ceiling"
    assert "How far does one perturbation get" in (tmp_path / "ceiling.md").read_text()


def test_what_is_made_for_a_picture_gets_further_than_what_is_made_for_all(result: Result) -> None:
    means = {
        kind: sum(row["d_mask"] for row in result.rows if (row["made"], row["bound"]) == (kind, "30 dB"))
        for kind in ("alone", "joint", "universal")
    }
    assert means["alone"] > 0.9 * means["joint"] and means["joint"] > means["universal"] > 0


def test_a_generator_is_measured_where_it_is_seen_as_much(result: Result) -> None:
    own = [row for row in result.rows if row["made"] == "generator-s"]
    assert all(row["bound"].startswith("JPEG ") and row["generator"] for row in own)
    for row in own:
        same = ("bound", "adversary", "model", "edit")
        (limit,) = [
            r["d_mask"] for r in result.rows if r["made"] == "joint" and [r[k] for k in same] == [row[k] for k in same]
        ]
        assert row["share"] == pytest.approx(row["d_mask"] / limit)


def test_encoders_are_measured_by_their_codes(models: Path, archive: Path, table: Path, tmp_path: Path) -> None:
    for path in models.glob("after-200*"):
        shutil.copy(path, tmp_path)
    state = encoder().state_dict()
    torch.save(state, tmp_path / "encoder.pth")
    original = {"file": "encoder.pth", "sha256": sha256(tmp_path / "encoder.pth")}
    module = taesd.Latents(taesd.load(state))
    what: dict[str, Any] = {"family": "taesd", "image_size": 32, "licence": "none", "text": "Tiny."}
    release_encoder(module, tmp_path, name="latents", facts={"original": original}, **what)
    names, limits = ("after-200", "latents"), {"made": ["alone", "joint"], "adversaries": ["A0"], "steps": 8}
    result = ceiling.run(setup(tmp_path, archive, table, models=names, limits=limits))
    rows = {(row["made"], row["edit"]): row for row in result.rows}
    assert rows.keys() >= {("alone", "code"), ("joint", "code"), ("joint", "Male")}
    study = ceiling._Study(setup(tmp_path, archive, table, models=names), ceiling.Limits.of(SMALL))
    target = study.targets[1]
    noise = study.x + 0.02 * torch.randn(study.x.shape, generator=torch.Generator().manual_seed(0))
    codes = [target.fake(images, torch.zeros(len(images), 0)).numpy() for images in (study.x, noise.clamp(-1, 1))]
    # 30 dB is an rms of 0.063, of which a bound of 0.05 leaves 0.05: more than noise of 0.02, and aimed
    assert rows["alone", "code"]["d_mask"] > 2 * code_distance(*codes).mean() > 0
    assert list(rows["joint", "code"]["steps"]["8"]) == list(names)


def test_whether_it_converged_is_written_down(result: Result) -> None:
    for row in result.rows:
        if row["made"] in ("joint", "universal"):
            assert list(row["steps"])[-1] == "4" and set(row["steps"]["4"]) == {"after-100", "after-200"}


def test_what_is_finished_is_not_measured_again(
    models: Path, archive: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joint_setup = setup(models, archive, table, out=tmp_path, limits={"made": ["joint"], "adversaries": ["A0"]})
    first = ceiling.run(joint_setup)
    monkeypatch.setattr(ceiling, "ascend", None)
    assert [dict(row) for row in ceiling.run(joint_setup).rows] == json.loads(
        json.dumps([dict(row) for row in first.rows])
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limits": {"step": 3}}, "unknown setting ceiling.step"),
        ({"limits": {"steps": "many"}}, "cannot be 'many'"),
        ({"limits": {"bounds": ["loud"]}}, "invalid bound 'loud'"),
        ({"limits": {"adversaries": ["A9"]}}, "unknown adversary 'A9'"),
        ({"limits": {"edits": ["Bald"]}}, "has none of the edits Bald"),
        ({"train": ()}, "--train"),
    ],
    ids=["setting", "value", "bound", "adversary", "edit", "no pictures"],
)
def test_wrong_usage(models: Path, archive: Path, table: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ceiling.run(setup(models, archive, table, **changes))
