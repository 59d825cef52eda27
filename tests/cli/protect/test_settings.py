"""``protect --batch auto --workers auto --profile``: what is said and kept of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from dadfi_fast.device import cores
from dadfi_fast.types import UInt8

Command = Callable[..., Result]


@pytest.fixture
def protect(command: Command, tmp_path: Path, smooth: Callable[[int, int], UInt8]) -> Command:
    """Protects three pictures with the generator that ships, every picture one face, and no check."""
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.fromarray(np.roll(smooth(60, 80), number)).save(tmp_path / "in" / f"{number}.png")

    def run(*arguments: object) -> Result:
        fixed = ("--out", tmp_path / "out", "--detector", "none", "--check", 0)
        return command("protect", tmp_path / "in", *fixed, *arguments)

    return run


def test_batch_and_workers_are_said_and_kept(protect: Command, tmp_path: Path) -> None:
    result = protect("--workers", 3)
    assert "; 4 faces a call, 3 workers; detector: none" in result.stderr
    row = json.loads((tmp_path / "out" / "dadfi-manifest.jsonl").read_text().splitlines()[0])
    assert row["backend"].endswith("; 4 faces a call, 3 workers")


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ((), {"batch": 4, "workers": cores()}),
        (("--batch", 2), {"batch": 2, "workers": cores()}),
        (("--batch", "auto", "--workers", 1), {"batch": 4, "workers": 1}),
        (("--processes", 2, "--workers", 1), None),  # each worker has its own
    ],
)
def test_the_settings_in_json(protect: Command, options: tuple[object, ...], settings: dict[str, int] | None) -> None:
    assert json.loads(protect("--json", "--quiet", *options).stdout)["settings"] == settings


def test_profile(protect: Command, tmp_path: Path) -> None:
    assert protect("--profile", tmp_path / "trace.json", "--batch", 2, "--workers", 1).exit_code == 0
    spans = [event for event in json.loads((tmp_path / "trace.json").read_text()) if event["ph"] == "X"]
    assert {span["name"] for span in spans} == {"read", "decode", "detect", "crop", "perturb", "encode", "write"}


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--profile", "MISSING/t.json"), 1, "--profile"),
        (("--profile", "t.json", "--watch"), 2, "--profile and --watch cannot be combined"),
    ],
)
def test_what_cannot_be_profiled(
    protect: Command, tmp_path: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    result = protect(options[0], tmp_path / options[1], *options[2:])
    assert result.exit_code == code and message in result.stderr
