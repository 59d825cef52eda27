"""The settings of a training run: one frozen object, from a recipe (TOML) and what the command line changes in it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dadfi_fast.errors import UsageError
from dadfi_fast.registry import did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RECIPES = Path(__file__).parent / "recipes"
#: What a setting may be.
CHOICES: Mapping[str, tuple[str, ...]] = {
    "preset": ("s", "m", "l"),
    "bound": ("tanh", "clamp", "hinge-only"),
    "gradient": ("white-box", "query"),
    "teacher": ("universal", "per-image"),
    "distortion_loss": ("shortfall", "log"),
}


@dataclass(frozen=True)
class TrainConfig:
    """What DADFI's training depends on. Lengths are on the [-1, 1] scale unless a line says otherwise."""

    # What is trained.
    preset: str = "s"
    lim: float = 0.05
    bound: str = "tanh"  # tanh, clamp, hinge-only
    gated: bool = False  # weaker where a picture is plain and bright, or plain and dark (models.generator.gate)
    models: tuple[str, ...] = ("stargan-128",)
    target_weights: tuple[float, ...] = ()  # weight of each of ``models`` in the loss; none: 1 each
    latent_window: int = 0  # side of the random window that a latent encoder gets, in pixels; 0: the whole crop
    joint: bool = False  # every model at each step, their terms summed (Eq. 7, 14); else one of them, drawn

    # Pictures.
    image_size: int = 256  # pixels a side that the generator sees
    stored_size: int = 176  # pixels a side that are held in memory
    limit: int = 0  # use no more pictures than this; 0: all
    zoom: float = 0.15  # random framing: share of the side
    shift: float = 0.06

    # Optimisation (section "Experimental settings" of the paper, misprints mended).
    steps: int = 2600
    batch: int = 16
    lr: float = 1e-3
    lr_recognizers: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-6
    decay_from: float = 0.5  # share of the steps after which the learning rates fall linearly to 0
    patience: int = 0  # stop after so many checkpoints without gain on the validation split; 0: never
    bf16: bool = True
    seed: int = 0
    device: str = "auto"  # cpu, cuda, cuda:N; auto takes a GPU where there is one

    # Objective: Eq. 10 and 14, then what the paper has not.
    lambda_x: float = 1.0
    lambda_y: float = 1.0
    mu: float = 0.5
    lambda_distortion: float = 0.0  # 0 is the paper
    distortion_loss: str = "shortfall"  # shortfall: of the root below the goal's; log: weighs by inverse vulnerability
    distortion_goal: float = 0.25  # d_mask at which a fake counts as broken beyond doubt
    distortion_floor: float = 1e-3  # log: what lies below it weighs no more, as nothing may be able to raise it
    lambda_visible: float = 0.0  # 0 is the paper
    psnr_goal: float = 38.5  # dB at which the perturbation counts as invisible
    masking: bool = False  # whether a change counts for less where the picture is busy
    axis_weights: tuple[float, ...] = (1.0, 1.0, 1.0)  # what a change counts for: luma, blue-yellow, red-green
    lambda_flip: float = 0.0  # for each unit of FLIP above its goal
    flip_goal: float = 0.035
    lambda_ssimulacra2: float = 0.0  # for each point of SSIMULACRA2 below its goal
    ssimulacra2_goal: float = 80.0
    lambda_contrast: float = 0.0  # for each unit of Weber contrast of blue against yellow above its goal
    contrast_goal: float = 0.02
    seen_count: int = 3  # pictures of a batch that FLIP and SSIMULACRA2 see: they cost more than a deepfake model does
    seen_side: int = 256  # pixels that those are enlarged to; SSIMULACRA2 wants 256
    seen_window: int = 0  # side of the random window of those that they look at, in pixels; 0: all
    seen_as: int = 512  # pixels of the photo's face that they stand for: sets how far away FLIP's viewer is
    dynamic: float = 0.0  # how strongly models that lag on the validation split are preferred; 0: all alike

    # How the models are asked: differentiated, or only called (section "Query-based gradient").
    gradient: str = "white-box"  # white-box, query
    query_directions: int = 16
    query_sigma: float = 0.02  # root mean square of a try
    pool: str = ""  # folder of snapshots, cards NAME-*.md of each model: one is drawn at each step; none: the model
    surrogates: bool = False  # whether small networks that learn to imitate the models stand in for them

    # The basic perturbations adv_i (Eq. 5, 6, 11, 12).
    teacher: str = "universal"  # universal: one for all pictures of a model; per-image: anew for each batch
    teacher_batches: int = 20  # that the universal one is made from
    teacher_steps: int = 10
    teacher_step: float = 0.01
    teacher_momentum: float = 0.5

    # What happens to the photo on its way to the adversary; off is the paper.
    transforms: bool = False
    ease: float = 0.0  # share of the steps over which the transforms grow from none to full
    photo_scales: tuple[float, ...] = (0.5, 0.69, 0.75, 1.0)  # side of the crop in the photo over ours
    jpeg_share: float = 0.6
    jpeg_quality: tuple[int, int] = (50, 95)
    jpeg_floors: tuple[int, ...] = ()  # lowest quality at each of photo_scales; none: that of jpeg_quality at all
    subsampled_from: float = 0.0  # smallest of photo_scales at which JPEG may halve the resolution of colour
    blur_share: float = 0.1
    blur_sigma: float = 1.0  # pixels, at most
    crop_share: float = 0.94  # the adversary's crop, in sides of ours (his margin over ours)
    crop_zoom: float = 0.06  # his crop is up to this share larger or smaller
    crop_shift: float = 0.03  # its centre moves by up to this share of the side
    crop_power: float = 2.0  # power of the uniform draw that says how far he goes: 1 goes far more often than 2

    def __post_init__(self) -> None:
        if self.pool and self.surrogates:
            raise UsageError("pool and surrogates cannot be combined: surrogates imitate the models themselves")
        if self.target_weights and len(self.target_weights) != len(self.models):
            raise UsageError(
                f"target_weights must have one weight for each of models: {len(self.models)}, not"
                f" {len(self.target_weights)}"
            )
        if len(self.axis_weights) != 3:
            raise UsageError(f"axis_weights must be three weights, not {len(self.axis_weights)}")
        if self.jpeg_floors and len(self.jpeg_floors) != len(self.photo_scales):
            raise UsageError(
                f"jpeg_floors must have one quality for each of photo_scales: {len(self.photo_scales)}, not"
                f" {len(self.jpeg_floors)}"
            )


def load_config(recipe: str, changes: Mapping[str, Any]) -> TrainConfig:
    """The recipe called ``recipe`` (or the TOML file at that path) with ``changes`` laid over it.

    Raises:
        UsageError: there is no such recipe, a key is unknown, or a value is not of the key's kind.
    """
    path = Path(recipe) if recipe.endswith(".toml") else RECIPES / f"{recipe}.toml"
    if not path.is_file():
        raise UsageError(
            f"unknown recipe {recipe!r}. Available: {', '.join(sorted(p.stem for p in RECIPES.glob('*.toml')))}"
        )
    try:
        values = {**tomllib.loads(path.read_text(encoding="utf-8")), **changes}
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    return TrainConfig(**{key: _value(key, value, path) for key, value in values.items()})


def _value(key: str, value: Any, path: Path) -> Any:
    defaults = {f.name: f.default for f in dataclasses.fields(TrainConfig)}
    if key not in defaults:
        raise UsageError(f"{path.name}: unknown setting {key!r}{did_you_mean(key, defaults)}")
    kind = type(defaults[key])
    if kind is tuple and isinstance(value, list | tuple):
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise UsageError(f"{path.name}: {key} must be a {kind.__name__}, not {value!r}")
    if value not in CHOICES.get(key, (value,)):
        raise UsageError(f"{path.name}: {key} must be one of {', '.join(CHOICES[key])}, not {value!r}")
    return value
