"""The config: ranges are checked at the door, and the fingerprint changes with what changes the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.errors import UsageError
from dadfi_fast.protect.config import NAMED, ProtectConfig


def config(**options: Any) -> ProtectConfig:
    """A config with everything else at its default."""
    return ProtectConfig(sources=("in",), out=Path("out"), **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strength": 0.009}, "--strength 0.009 is out of range. Choose a value from 0.01 to 0.1"),
        ({"strength": float("nan")}, "--strength nan"),
        ({"strength": "weak"}, "unknown --strength 'weak'. Available: subtle, strong, auto, or a number"),
        ({"no_face": "blur"}, "unknown --no-face blur. Available: copy, skip, whole"),
        ({"format": "gif"}, "--format gif"),
        ({"on_exists": "ask"}, "--on-exists ask"),
        ({"quality": 101}, "--quality 101"),
        ({"quality": 0}, "--quality 0"),
        ({"verify": 1.5}, "--verify 1.5"),
        ({"max_pixels": 0}, "--max-pixels 0"),
        ({"batch": 0}, "--batch 0"),
        ({"workers": -1}, "--workers -1"),
        ({"animated": "all"}, "unknown --animated all. Available: refuse, first"),
        ({"refine": -1}, "--refine -1 is out of range"),
        ({"refine": 1, "refine_look": 10}, "--refine-look 10 is out of range. Choose a value from 20 to 95"),
        ({"refine_models": "a"}, "--refine-models needs --refine N"),
        ({"refine": 1, "decoder": "dali"}, "--refine and --decoder dali cannot be combined"),
        ({"refine": 1, "strength": "auto", "judges": ("0",)}, "--refine and --strength auto cannot be combined"),
    ],
)
def test_out_of_range(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        config(**options)


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ({"strength": 0.04}, False),
        ({"strength": "auto", "judges": ("a",)}, False),
        ({"detector": "yunet"}, False),
        ({"no_face": "skip"}, False),
        ({"format": "png"}, False),
        ({"quality": 90}, False),
        ({"strip_gps": True}, False),
        ({"animated": "first"}, False),
        ({"mark": False}, False),
        ({"refine": 5, "refine_against": (("a", "0"),)}, False),
        ({"refine_look": 50, "seed": 1}, True),  # nothing is refined
        ({"again": True}, True),  # only asks for more files
        ({"verify": 1.0}, True),  # measures files, does not change them
        ({"workers": 7, "batch": 3}, True),
        ({"decoder": "dali", "device": "cuda"}, True),  # the same pixels by other means
        ({"on_exists": "overwrite", "max_pixels": 5}, True),
    ],
)
def test_fingerprint(options: dict[str, Any], same: bool) -> None:
    assert (config(**options).fingerprint == config().fingerprint) is same
    assert len(config().fingerprint) == 16


def test_a_strength_with_a_name_is_its_number() -> None:
    assert config(strength="subtle").fingerprint == config().fingerprint
    assert config(strength="strong").fingerprint == config(strength=0.07).fingerprint
    assert config(strength="strong").generated == config(strength="strong").strength == NAMED["strong"] == 0.07


def test_the_fingerprint_tells_the_models_apart_that_a_strength_is_chosen_by() -> None:
    fingerprints = {config(strength="auto", judges=judges).fingerprint for judges in (("a",), ("b",), ("a", "b"))}
    assert len(fingerprints) == 3


def test_the_fingerprint_of_manifests_that_are_there() -> None:
    """A younger version must go on where this one stopped, so this is for ever."""
    assert config().fingerprint == "d0ba88f595c1fcd4"


@pytest.mark.parametrize(("device", "calls"), [("cpu", 1), ("cuda", 2), ("cuda:1", 2)])
def test_on_a_gpu_two_batches_are_under_way(tmp_path: Path, device: str, calls: int) -> None:
    assert ProtectConfig(sources=("in",), out=tmp_path, device=device).generator_calls == calls


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "4 faces a call, 6 workers"),
        ({"batch": 1, "workers": 1}, "1 face a call, 1 worker"),
        ({"batch": 7}, "7 faces a call, 6 workers"),
        ({"workers": 3}, "4 faces a call, 3 workers"),
    ],
)
def test_auto_is_four_faces_a_call_and_a_worker_a_core(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr("dadfi_fast.protect.config.cores", lambda: 6)
    assert config(**options).batch_and_workers == said
