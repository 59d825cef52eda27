"""``doctor`` on Ray and on stores: what is there, and what installs the rest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from dadfi_fast.cli.doctor.engines import STORES, engines, stores


def test_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.2")
    findings = [*engines(gpus=0), *stores()]
    assert [(f.kind, f.name) for f in findings] == [
        ("engine", "processes"), ("engine", "ray"), ("store", "s3://"), ("store", "gs://"),
    ]  # fmt: skip
    assert all(f.ok and f.mend is None for f in findings)
    assert findings[1].note.startswith("ray 1.2; ") and findings[2].note.startswith("s3fs 1.2; ")


def test_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    findings = [f for f in (*engines(gpus=0), *stores()) if not f.ok]
    assert [f.mend for f in findings] == [f"pip install 'dadfi-fast[{extra}]'" for extra in ("ray", "s3", "gcs")]


@pytest.mark.parametrize(("gpus", "words"), [(0, "--processes N"), (1, "--processes N"), (4, "one per GPU (4)")])
def test_processes(gpus: int, words: str) -> None:
    assert words in next(engines(gpus=gpus)).note


def test_the_extras_are_there() -> None:
    text = (Path(__file__).resolve().parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    for package, extra in (("ray", "ray"), *STORES.values()):
        assert any(line.startswith(f"{package}>=") for line in extras[extra]), extra
