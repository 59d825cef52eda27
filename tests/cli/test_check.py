"""The command ``check``, against models whose fakes are known by hand (see `toy_weights`)."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from dadfi_fast.cli.main import main
from dadfi_fast.deepfakes import registry

CHECKER = (6 * (1 - 2 * (np.indices((40, 40)).sum(axis=0) % 2)))[..., None]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Four originals; of three there are protected versions, one of them not protected at all."""
    source, out = tmp_path / "in", tmp_path / "out"
    for folder in (source, out):
        folder.mkdir()
    for i in range(4):
        pixels = np.full((40, 40, 3), 50 + i, np.uint8)
        Image.fromarray(pixels).save(source / f"{i}.png")
        if i < 3:
            Image.fromarray((pixels + CHECKER * (i > 0)).astype(np.uint8)).save(out / f"{i}.png")
    return out, source


@pytest.fixture(autouse=True)
def toys(toy_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("load_models", "load_attributes"):
        monkeypatch.setattr(registry, name, functools.partial(getattr(registry, name), folder=toy_weights, threads=1))


def check(folders: tuple[Path, Path], *options: str) -> Result:
    call = ["check", str(folders[0]), "--original", str(folders[1]), "--detector", "none", *options]
    return CliRunner().invoke(main, call)


def test_json_has_the_promised_form(folders: tuple[Path, Path]) -> None:
    result = check(folders, "--json", "--models", "fragile")
    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert {"n", "models", "adversary", "sr_all", "psnr", "ssim", "linf_max"} <= set(report)
    promised = {"n_edits", "d_pix", "d_mask", "sr", "sr_mask", "n_empty", "fid"}
    assert promised <= set(report["models"]["fragile"])
    assert report["n"] == 3
    assert report["sr_all"] == pytest.approx(2 / 3)


def test_the_table_goes_to_stdout_and_the_rest_to_stderr(folders: tuple[Path, Path]) -> None:
    result = check(folders, "--also", "blur:31, jpeg:90", "--also", "margin:0.9,1.1")
    lines = result.stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:11]] == [
        [condition, "A2" if condition.startswith("margin") else "A1", model]
        for condition in ("written", "blur:31", "jpeg:90", "margin:0.9", "margin:1.1")
        for model in ("fragile", "sturdy")
    ]
    assert lines[-1].startswith("3 files, 3 faces")
    assert "checking 3 of 3 files; detector: none (named by the user)" in result.stderr


class Network:
    """The mean level and a constant as features."""

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return np.stack([pixels.mean((1, 2, 3)), np.ones(len(pixels))], axis=1).astype(np.float32)


def test_the_frechet_distance_comes_with_its_n(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dadfi_fast.check.result.Inception", Network)
    assert "FID" not in check(folders, "--models", "fragile").stdout
    lines = check(folders, "--models", "fragile", "--fid", "6").stdout.splitlines()
    assert lines[-2].startswith("Frechet inception distance (FID) of the fakes: fragile") and "(n = 6)" in lines[-2]
    report = json.loads(check(folders, "--models", "fragile", "--fid", "6", "--json").stdout)
    assert report["models"]["fragile"]["fid"] > 0 and report["models"]["fragile"]["fid_n"] == 6


def test_quiet_says_nothing_on_stderr(folders: tuple[Path, Path]) -> None:
    assert check(folders, "--quiet").stderr == ""


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--models", "fragile", "--check-min", "0.66"], 0),
        (["--models", "fragile", "--check-min", "0.67"], 4),
        (["--models", "fragile,sturdy", "--check-min", "0.1"], 4),  # every model has to fail
        ([], 0),  # without --check-min nothing is asked
    ],
)
def test_check_min(folders: tuple[Path, Path], options: list[str], code: int) -> None:
    result = check(folders, *options)
    assert result.exit_code == code
    assert ("against every model, below --check-min" in result.stderr) == (code == 4)
    assert "SR_mask" in result.stdout  # the figures are there all the same


def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_checked(folders: tuple[Path, Path]) -> None:
    torn = folders[0] / "1.png"
    torn.write_bytes(torn.read_bytes()[:50])
    result = check(folders, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["n"] == 2
    assert "1.png" in result.stderr


def test_too_little_protection_comes_before_unreadable_files(folders: tuple[Path, Path]) -> None:
    torn = folders[0] / "1.png"
    torn.write_bytes(torn.read_bytes()[:50])
    assert check(folders, "--check-min", "1").exit_code == 4


def test_verbose_lists_the_worst_first(folders: tuple[Path, Path]) -> None:
    report = json.loads(check(folders, "--json", "--verbose", "--models", "fragile").stdout)
    assert report["samples"][0]["target"] == "0.png"
    assert [sample["protected"] for sample in report["samples"]] == [False, True, True]
    assert check(folders, "--verbose", "--models", "fragile").stdout.splitlines()[1].split()[0] == "0.png"


def test_visibility_stands_beside_psnr(folders: tuple[Path, Path]) -> None:
    report = json.loads(check(folders, "--json", "--verbose", "--models", "fragile", "--visibility", "1").stdout)
    qualities = {sample["target"]: sample["jpeg_equivalent"] for sample in report["samples"]}
    assert report["n_visibility"] == 1 and 5 <= report["jpeg_equivalent"] <= 98
    assert qualities == {"0.png": None, "1.png": report["jpeg_equivalent"], "2.png": None}  # 0.png was not changed
    lines = check(folders, "--verbose", "--models", "fragile", "--visibility", "1").stdout.splitlines()
    assert lines[0].split()[5:7] == ["psnr", "jpeg_equivalent"]
    assert f"PSNR (dB) {report['psnr']:.4g}, JPEG equivalent {report['jpeg_equivalent']:g}, SSIM" in lines[-1]
    assert "JPEG equivalent" not in check(folders, "--models", "fragile", "--visibility", "0").stdout


def test_a_sample_is_drawn(folders: tuple[Path, Path]) -> None:
    report = json.loads(check(folders, "--json", "--sample", "2").stdout)
    assert (report["n"], report["n_pairs"]) == (2, 3)
    assert json.loads(check(folders, "--json", "--sample", "all").stdout)["n"] == 3


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--models", "fragil"], 2, "did you mean 'fragile'"),
        (["--also", "jpeg:900"], 2, "an integer from 1 to 100"),
        (["--also", "jpeg:90,900"], 2, "an integer from 1 to 100"),
        (["--also", "margin:1"], 2, "other than 1"),
        (["--sample", "0"], 2, "neither an integer"),
        (["--sample", "some"], 2, "neither an integer"),
        (["--check-min", "90"], 2, "0<=x<=1"),  # a share, not a percentage
        (["--detector", "nose"], 2, "unknown detector 'nose'"),
    ],
)
def test_wrong_usage(folders: tuple[Path, Path], options: list[str], code: int, message: str) -> None:
    result = check(folders, *options)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stdout == ""


def test_nothing_to_check(tmp_path: Path) -> None:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    assert check((tmp_path / "out", tmp_path / "in")).exit_code == 3
