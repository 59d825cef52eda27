from __future__ import annotations

from pathlib import Path

import pytest

from dadfi_fast.errors import UsageError
from dadfi_fast.training.config import RECIPES, TrainConfig, load_config


@pytest.mark.parametrize("recipe", sorted(p.stem for p in RECIPES.glob("*.toml")))
def test_every_recipe_loads(recipe: str) -> None:
    assert isinstance(load_config(recipe, {}), TrainConfig)


def test_the_paper_is_the_paper() -> None:
    config = load_config("paper", {})
    assert (config.image_size, config.batch, config.limit, config.mu, config.lim) == (300, 50, 200, 0.5, 0.05)
    assert config.steps == 100 * config.limit // config.batch  # 100 epochs
    assert (config.beta1, config.beta2, config.epsilon) == (0.9, 0.99, 1e-6)
    assert config.joint and len(config.models) == 3
    assert config.lambda_distortion == config.lambda_visible == 0 and not config.transforms


def test_changes_win_over_the_recipe_and_lists_become_tuples() -> None:
    config = load_config("release", {"steps": 7, "jpeg_quality": [60, 80], "lr": 1})
    assert (config.steps, config.jpeg_quality, config.lr) == (7, (60, 80), 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lambda_distorsion": 1.0}, "did you mean 'lambda_distortion'"),
        ({"steps": "many"}, "steps must be a int"),
        ({"steps": True}, "steps must be a int"),  # a bool is an int to Python, not to us
        ({"photo_scales": [1.0, 2.0], "jpeg_floors": [90]}, "one quality for each of photo_scales: 2, not 1"),
        ({"axis_weights": [1.0, 0.2]}, "three weights"),
    ],
    ids=["misspelt", "text", "bool", "too few floors", "too few weights"],
)
def test_a_wrong_setting_is_told(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_config("release", changes)


def test_a_recipe_of_the_users(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("steps = 3\n")
    assert load_config(str(path), {}).steps == 3
    path.write_text("steps = \n")
    with pytest.raises(UsageError, match="not TOML"):
        load_config(str(path), {})


def test_an_unknown_recipe_is_told_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="Available: initiative, mse, paper, release"):
        load_config("released", {})
