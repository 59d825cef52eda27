"""A folder for added models that no other test sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from dadfi_fast import model_card


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data folder, which is not there yet."""
    monkeypatch.setenv(model_card.MODELS_VARIABLE, str(tmp_path / "models"))
    return tmp_path / "models"
