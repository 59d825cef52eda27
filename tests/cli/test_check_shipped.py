"""``protect`` and ``check`` on an example photo and a model that ships."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Command = Callable[..., Result]


@pytest.mark.slow
def test_protection_does_more_than_noise(command: Command, root: Path, tmp_path: Path) -> None:
    photo = root / "examples" / "photos" / "portrait.jpg"
    result = command("protect", photo, "--out", tmp_path, "--backend", "openvino", "--check", 0)
    assert result.exit_code == 0, result.output
    also = ("--also", "noise:0.05,jpeg:30", "--models", "stargan-128", "--visibility", 0)
    result = command("check", tmp_path / photo.name, "--original", photo, *also, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    noise = report["conditions"]["noise:0.05"]["models"]["stargan-128"]
    protected = report["models"]["stargan-128"]
    assert protected["d_mask_p50"] > 10 * noise["d_mask_p50"]
    assert protected["sr_mask"] > noise["sr_mask"]
