"""``--strength auto``: the weakest strength that is enough, by models whose answers are known by hand."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.backends.generator_file import GeneratorFile, load_generator_file
from dadfi_fast.check.preprocess import around, cut_out
from dadfi_fast.deepfakes.onnx_model import AttributeModel, DeepfakeModel
from dadfi_fast.errors import UsageError
from dadfi_fast.faces.adversary import to_models
from dadfi_fast.faces.align import cut
from dadfi_fast.images.decode import decode, open_picture
from dadfi_fast.images.encode import encode
from dadfi_fast.metrics.defence import SUCCESS
from dadfi_fast.model_card import WEIGHTS
from dadfi_fast.protect.blend import blend
from dadfi_fast.protect.config import DEFAULT_STRENGTH, SCALES, ProtectConfig
from dadfi_fast.protect.crop import squares
from dadfi_fast.protect.stages import Stages
from dadfi_fast.protect.strength import GROWTH, UNBROKEN, Judges, Part, Trial, judge_cards, part_of, weakest
from dadfi_fast.types import Budget, Face, Float32, Float64, Metadata, UInt8
from tests.protect.conftest import Boxes, Run, Stripes

NEVER = 1.0


def trial(*needed: float, asked: list[tuple[float, int | None]] | None = None, growth: float = GROWTH) -> Trial:
    """A model whose pairs are broken from these strengths on; ``asked`` gets all that it is asked for.

    Args:
        growth: d_mask grows as this power of the strength.
    """

    def distances(strength: float, edit: int | None) -> Float64:
        if asked is not None:
            asked.append((strength, edit))
        of = [SUCCESS * 1.001 * (strength / max(need, 1e-3)) ** growth for need in needed]
        return np.array(of if edit is None else [of[edit]])

    return distances


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("short", [0.0, 0.001])
@pytest.mark.parametrize("growth", [0.3, GROWTH, 4.0])
def test_the_weakest_that_is_enough(scale: float, short: float, growth: float) -> None:
    """Whichever it is, and whatever d_mask grows as; no strength is tried twice."""
    asked: list[tuple[float, int | None]] = []
    assert weakest([trial(0, scale - short, 0, asked=asked, growth=growth)]) == scale
    assert asked[0] == (SCALES[-1], None) and len(set(asked)) == len(asked)


@pytest.mark.parametrize("scale", SCALES)
def test_few_pairs_are_asked(scale: float) -> None:
    """Where d_mask grows as expected: all pairs at the strength that is chosen, and the hardest one below it."""
    asked: list[tuple[float, int | None]] = []
    weakest([trial(0, 0, 0, scale - 0.001, 0, asked=asked)])
    below = [] if scale == SCALES[0] else [(SCALES[SCALES.index(scale) - 1], 3)]
    chosen = [] if scale == SCALES[-1] else [(scale, edit) for edit in (3, 0, 1, 2, 4)]
    assert asked == [(SCALES[-1], None), *chosen, *below]


def test_a_pair_without_a_mask_is_left_out() -> None:
    whole = trial(0, SCALES[1], 0)
    assert weakest([lambda strength, edit: np.append(whole(strength, edit), np.nan)]) == SCALES[1]
    assert weakest([lambda strength, edit: np.full(2, np.nan)]) is None


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ([[NEVER] * 5], None),
        ([[0.0] * 4 + [NEVER]], None),  # 0.8 of them
        ([[0.0] * 9 + [NEVER]], SCALES[0]),  # 0.9 of them
        ([[0.0] * 9 + [SCALES[1]] + [NEVER]], SCALES[1]),  # 9 of 11 would not do
        ([[0.0] * 5, [NEVER] * 5], SCALES[0]),  # out of reach: it does not count
        ([[0.0] * 5, [SCALES[2]] * 5], SCALES[2]),
        ([[0.0] * 5, [SCALES[2]] * 3 + [NEVER] * 2], None),  # it counts, and is not broken enough
        ([[], [SCALES[1]]], SCALES[1]),  # no edit of the first changes the picture
        ([[]], None),
        ([], None),
    ],
)
def test_shares_and_models_that_count(models: Sequence[Sequence[float]], expected: float | None) -> None:
    assert weakest([trial(*needed) for needed in models]) == expected


def test_a_model_out_of_reach_is_asked_once() -> None:
    asked: list[tuple[float, int | None]] = []
    weakest([trial(0, 0), trial(NEVER, NEVER, asked=asked)])
    assert asked == [(SCALES[-1], None)]


class Amplifier(DeepfakeModel):
    """Adds 0.3 to the picture and makes it ``gain`` times as loud: a change of L levels has d_mask (gain L / 127.5)^2.

    Args:
        bright: its gain for pictures whose mean is above 0.
    """

    def __init__(self, gain: float, *, bright: float | None = None, size: int = 32) -> None:
        self.name, self.attributes, self.image_size = "amplifier", ("Male", "Young"), size
        self._gain, self._bright, self.calls = gain, gain if bright is None else bright, 0

    def edits(self, labels: Float32) -> Float32:
        return np.zeros((2, len(labels), 2), np.float32)

    def fake(self, images: Float32, edit: Float32) -> Float32:
        assert len(images) == len(edit) in (1, 2)
        self.calls += 1
        grey = np.float32(0.2) * np.sign(images.mean())
        return np.clip(grey + (images - grey) * (self._bright if grey > 0 else self._gain) + 0.3, -1, 1)


class Blind(AttributeModel):
    """Sees nothing in any picture."""

    def __init__(self) -> None:
        self.image_size = 16

    def labels(self, images: Float32, names: Sequence[str], *, unknown_as: float | None = None) -> Float32:
        return np.zeros((len(images), len(names)), np.float32)


class Lighter(Stripes):
    """The whole budget upwards, so that it is the same in every pixel at any size."""

    def run(self, crops: Float32) -> Float32:
        return np.full_like(crops, self.budget.eps)


#: A level of grey at 0.2, and one at -0.2.
LIGHT, DARK = 153, 102
FACE = Boxes((0.3, 0.3, 0.7, 0.7))


def png(left: int = DARK, right: int = DARK) -> bytes:
    """A picture of two greys."""
    pixels = np.full((160, 320, 3), left, np.uint8)
    pixels[:, 160:] = right
    Image.fromarray(pixels).save(buffer := BytesIO(), "PNG")
    return buffer.getvalue()


@pytest.fixture
def auto(run: Run) -> Callable[..., Any]:
    """A run with ``--strength auto`` by one model, and its row of ``a.png``, or of another name."""

    def go(model: DeepfakeModel, *, name: str = "a.png", **options: Any) -> tuple[Any, dict[str, Any]]:
        options = {"detector": FACE, "attack": Lighter(Budget(DEFAULT_STRENGTH)), **options}
        judges = Judges([model], Blind())
        summary, rows = run(strength="auto", judges=("model",), judged_by=judges, **options)
        return summary, rows[name]

    return go


# (gain x levels / 127.5)^2 is above 0.05 from gain x levels = 28.51 on; the scales are 4, 5, 6, 8, 9 and 10 levels.
@pytest.mark.parametrize(
    ("gain", "strength", "levels"),
    [(7.5, 0.03, 4), (7.0, 0.04, 5), (5.0, 0.05, 6), (4.0, 0.06, 8), (3.4, 0.07, 9), (3.0, 0.08, 10)],
)
def test_the_row_and_the_file_have_the_weakest_strength(
    photos: Callable[..., Path], auto: Callable[..., Any], tmp_path: Path, gain: float, strength: float, levels: int
) -> None:
    photos({"a.png": png()})
    model = Amplifier(gain)
    summary, row = auto(model)
    assert (row["status"], row["strength"], row["linf"], row["reason"]) == ("written", strength, levels, None)
    assert (summary.unbroken, summary.linf) == (0, levels) and 2 <= model.calls <= 2 + 2 * len(SCALES)
    written = tmp_path / "out" / "a.png"
    assert np.asarray(Image.open(written)).max() == DARK + levels
    assert f'Strength="{strength:g}"'.encode() in written.read_bytes()


def test_what_no_strength_breaks_gets_the_default_and_a_word(
    photos: Callable[..., Path], auto: Callable[..., Any]
) -> None:
    photos({"a.png": png(), "b.png": png()})
    model = Amplifier(2.5)
    summary, row = auto(model)
    assert (row["strength"], row["linf"], summary.unbroken, summary.to_dict()["unbroken"]) == (0.05, 6, 2, 2)
    assert row["reason"].startswith(UNBROKEN) and row["reason"].endswith("the default strength 0.05")
    assert model.calls == 2 * 2, "the original and the strongest of each photo"


def test_each_face_has_its_own(photos: Callable[..., Path], auto: Callable[..., Any], tmp_path: Path) -> None:
    photos({"a.png": png(DARK, LIGHT)})
    both = Boxes((0.15, 0.3, 0.35, 0.7), (0.65, 0.3, 0.85, 0.7))
    _, row = auto(Amplifier(7.5, bright=5.0), detector=both)
    assert (row["strength"], row["linf"], row["reason"]) == (0.05, 6, None)
    pixels = np.asarray(Image.open(tmp_path / "out" / "a.png")).astype(int)
    assert (pixels[:, :160].max() - DARK, pixels[:, 160:].max() - LIGHT) == (4, 6)
    _, row = auto(Amplifier(7.5, bright=2.5), detector=both, on_exists="overwrite")
    assert row["reason"].startswith(f"{UNBROKEN} of 1 of 2 faces")


def test_files_are_those_of_the_strength_itself(
    photos: Callable[..., Path], auto: Callable[..., Any], run: Run, tmp_path: Path, encoded: Callable[..., bytes]
) -> None:
    photos({"a.jpg": encoded(size=(160, 200), quality=90)})
    _, row = auto(Loud(14.0, size=64), name="a.jpg", attack=Stripes(Budget(DEFAULT_STRENGTH)))
    assert row["strength"] in SCALES and row["strength"] != DEFAULT_STRENGTH and row["reason"] is None
    run(strength=row["strength"], out=tmp_path / "fixed", detector=FACE, attack=Stripes(Budget(row["strength"])))
    assert (tmp_path / "fixed" / "a.jpg").read_bytes() == (tmp_path / "out" / "a.jpg").read_bytes()


class Loud(Amplifier):
    """Amplifies what differs between columns, such as stripes, of which coarse JPEG tables leave nothing."""

    def fake(self, images: Float32, edit: Float32) -> Float32:
        change = images - np.roll(images, 3, axis=-1)
        return np.clip(images + self._gain * change + np.float32(0.3), -1, 1)


def test_the_files_own_compression_is_accounted_for(
    photos: Callable[..., Path], auto: Callable[..., Any], encoded: Callable[..., bytes]
) -> None:
    """What is enough in a PNG is too little, or nothing, in the same picture's JPEG."""
    size = {"size": (160, 200)}
    photos({"a.png": encoded("PNG", **size), "b.jpg": encoded(quality=60, **size), "c.jpg": encoded(quality=3, **size)})
    options = {"attack": Stripes(Budget(DEFAULT_STRENGTH)), "workers": 1}
    rows = [auto(Loud(14.0, size=64), name=name, **options)[1] for name in ("a.png", "b.jpg", "c.jpg")]
    assert rows[0]["reason"] is None and rows[0]["strength"] == SCALES[0]
    assert rows[1]["reason"] is None and rows[1]["strength"] > SCALES[0]
    assert rows[2]["reason"].startswith(UNBROKEN)
    _, row = auto(Loud(14.0, size=64), name="c.jpg", format="png", **options)
    assert row["reason"] is None, "the format that is written counts, not that of the source"


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("box", [(0.31, 0.37, 0.64, 0.71), (-0.1, 0.5, 0.3, 1.2), (0.0, 0.0, 1.0, 1.0)])
def test_a_part_is_stored_as_it_is_in_the_whole_photo(
    smooth: Callable[[int, int], UInt8], subsampling: str, box: tuple[float, float, float, float]
) -> None:
    """Otherwise the model would see another picture than the adversary of `check` does."""
    noise = np.random.default_rng(0).integers(-20, 20, (157, 211, 3))
    pixels = np.clip(smooth(157, 211) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer := BytesIO(), "JPEG", quality=80, subsampling=subsampling)
    photo = replace(decode(open_picture(buffer.getvalue(), max_pixels=10**6), Path("a.jpg")), metadata=Metadata())
    assert photo.encoding.subsampling == subsampling
    (face,) = Boxes(box).find(photo.pixels)
    where, delta = squares([face]), Stripes(Budget(0.06)).run(np.zeros((1, 3, 64, 64), np.float32))
    part = part_of(photo, face, where[0])

    def stored(protected: Any) -> UInt8:
        return decode(open_picture(encode(protected), max_pixels=10**6), Path("a.jpg")).pixels

    copy = replace(photo, pixels=photo.pixels.copy())
    whole = stored(blend(copy, [face], where, delta, Budget(0.06)))
    (crop,) = cut_out(photo.pixels, whole, around([face], *whole.shape[:2]), sizes=[48])
    judged = to_models(cut(stored(part.protected(delta[0], Budget(0.06))), part.seen), [48])
    original = to_models(cut(part.photo.pixels, part.seen), [48])
    assert np.array_equal(original[48], crop.original[48])
    # Colour is interpolated across the part's edge, so its last row or column may differ.
    assert np.abs(judged[48] - crop.protected[48])[:, 1:-1, 1:-1].max() < 1e-6


class BlueStripes(Stripes):
    """As the generator's: blue against yellow."""

    def run(self, crops: Float32) -> Float32:
        return super().run(crops) * np.array([-0.3, -0.2, 1.0], np.float32)[:, None, None]


@pytest.mark.parametrize("options", [{}, {"format": "png"}, {"quality": 70}])
def test_what_is_judged_is_what_is_written(
    photos: Callable[..., Path], auto: Callable[..., Any], smooth: Callable[[int, int], UInt8], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any],
) -> None:  # fmt: skip
    """Of a JPEG whose steps are coarse, that is the blocks of the face, and not pixels that were encoded."""
    Image.fromarray(smooth(320, 320)).save(buffer := BytesIO(), "JPEG", quality=85)
    photos({"a.jpg": buffer.getvalue()})
    judged: dict[float, UInt8] = {}
    as_stored = Stages._as_stored

    def watched(self: Stages, part: Part, delta: Float32, budget: Budget, **how: bool) -> UInt8:
        judged[budget.eps] = pixels = as_stored(self, part, delta, budget, **how)
        return pixels

    monkeypatch.setattr(Stages, "_as_stored", watched)
    row = auto(Loud(60.0, size=64), name="a.jpg", attack=BlueStripes(Budget(DEFAULT_STRENGTH)), **options)[1]
    assert row["status"] == "written" and row["strength"] in judged
    (written,) = (tmp_path / "out").glob("a.*")
    after = decode(open_picture(written.read_bytes(), max_pixels=10**6), written).pixels.astype(int)
    part = judged[row["strength"]]
    around_face = after[64:256, 64:256]  # the adversary's square, and its part on the grid of 32 pixels
    assert part.shape == around_face.shape
    inner = (slice(2, -2), slice(2, -2))  # colour is interpolated across the part's edge
    assert np.abs(part[inner] - around_face[inner]).mean() < 0.15, "levels; a part's colours are subsampled once more"


def test_a_face_beyond_the_photo_changes_nothing(photos: Callable[..., Path], auto: Callable[..., Any]) -> None:
    photos({"a.png": png()})
    _, row = auto(Amplifier(7.0), detector=Boxes((3.0, 3.0, 3.2, 3.2)))
    assert (row["status"], row["linf"], row["strength"]) == ("written", 0, DEFAULT_STRENGTH)


def test_a_resumed_run_and_one_with_other_models(
    photos: Callable[..., Path], auto: Callable[..., Any], run: Run
) -> None:
    photos({"a.png": png()})
    model, options = Amplifier(7.0), {"detector": FACE, "attack": Lighter(Budget())}
    auto(model)
    calls = model.calls
    summary, _ = auto(model)
    assert (summary.done, model.calls) == (1, calls)
    other = Judges([Amplifier(4.0)], Blind())
    summary, rows = run(strength="auto", judges=("another",), judged_by=other, **options)
    assert (summary.changed, rows["a.png"]["strength"]) == (1, 0.04)
    summary, rows = run(strength="auto", judges=("another",), judged_by=other, on_exists="overwrite", **options)
    assert (summary.written, rows["a.png"]["strength"]) == (1, 0.06)


def test_a_fixed_strength_stands_in_the_row(photos: Callable[..., Path], run: Run, nobody: Boxes) -> None:
    photos({"a.jpg": None})
    assert run(strength=0.02)[1]["a.jpg"]["strength"] == 0.02
    assert run(strength=0.02, detector=nobody, on_exists="overwrite")[1]["a.jpg"]["strength"] is None


def test_the_judges_are_the_generators_targets_and_added_models(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy_weights: Path
) -> None:
    generator = load_generator_file()
    shipped = {path.stem for path in WEIGHTS.glob("*.md")}
    names = [card.name for card in judge_cards(generator)]
    assert names and set(names) < shipped, "some that ship are not its targets"
    (tmp_path / "mine").mkdir()
    for suffix in (".onnx", ".md"):
        shutil.copy(toy_weights / f"fragile{suffix}", tmp_path / "mine")
    card = tmp_path / "mine" / "fragile.md"
    card.write_text(card.read_text().replace("+++\n", "+++\nsource = 'added'\n", 1))
    monkeypatch.setenv("DADFI_MODELS", str(tmp_path))
    assert [each.name for each in judge_cards(generator)] == [*names, "fragile"]


def test_a_generator_without_targets_needs_an_added_model(tmp_path: Path) -> None:
    generator = load_generator_file()
    text = re.sub(
        r"targets = \[.*?\n\]", "targets = []", generator.onnx.with_suffix(".md").read_text(), flags=re.DOTALL
    )
    shutil.copy(generator.onnx, tmp_path / "own.onnx")
    (tmp_path / "own.md").write_text(text.replace('file = "generator-s.onnx"', 'file = "own.onnx"'))
    assert hashlib.sha256((tmp_path / "own.onnx").read_bytes()).hexdigest() == generator.sha256
    own: GeneratorFile = load_generator_file(str(tmp_path / "own.onnx"))
    with pytest.raises(UsageError, match=r"--strength auto needs a deepfake model .* Pass a number, or add a model"):
        judge_cards(own)


def test_models_to_choose_by_go_with_auto_alone(tmp_path: Path) -> None:
    for options in ({"strength": "auto"}, {"judges": ("a",)}):
        with pytest.raises(UsageError, match="--strength auto"):
            ProtectConfig(sources=("in",), out=tmp_path, **options)  # type: ignore[arg-type]


def test_the_photo_stays_as_it_is() -> None:
    pixels = np.full((96, 96, 3), DARK, np.uint8)
    photo = decode(open_picture(png(), max_pixels=10**6), Path("a.png"))
    photo, face = replace(photo, pixels=pixels), Face(30, 30, 66, 66, 0.9)
    deltas = Lighter(Budget()).run(np.zeros((1, 3, 64, 64), np.float32))
    chosen = Judges([Amplifier(7.0)], Blind()).scale(photo, [face], squares([face]), deltas, base=0.05)
    assert (photo.pixels == DARK).all() and chosen.strengths == (0.04,) and chosen.unbroken == 0
    assert np.allclose(chosen.deltas, 0.04) and np.allclose(deltas, 0.05)
