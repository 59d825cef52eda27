from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.evaluate.cmua_comparison import BETTER, judged, words
from dadfi_fast.model_card import Card

OWN, THEIRS = "a" * 64, "b" * 64


def row(method: str, model: str, success: float, flip: float, *, watermark: bool = False) -> dict[str, Any]:
    return {
        "method": method,
        "model": model,
        "sr_mask_jpeg:75": success,
        "flip": flip,
        "psnr": 37.0,
        "generator": OWN if method == "ours" else None,
        "train": [{"archive": "t.tar", "sha256": THEIRS}],
        "train_sample": 20,
        "watermark": [{"archive": "w.npy", "sha256": "0"}] if watermark else [],
        "attacked": {"one": "1", "two": "2"},
    }


def card(*, data: tuple[str, ...] = (THEIRS,), targets: tuple[str, ...] = ("1", "2")) -> Card:
    extra = {"data": [{"sha256": each} for each in data], "targets": [{"name": t, "sha256": t} for t in targets]}
    return Card("ours", "generator", Path("g.md"), Path("g.onnx"), OWN, 0, 1, "none", extra)


def rows(success: tuple[float, float], flip: float, **more: Any) -> list[Any]:
    """Ours on two models, of which CMUA breaks half and a tenth, seen as 0.1."""
    own = [row("ours", model, share, flip) for model, share in zip(("one", "two"), success, strict=True)]
    return judged([*own, row("cmua", "one", 0.5, 0.1, **more), row("cmua", "two", 0.1, 0.1, **more)])


@pytest.mark.parametrize(
    ("success", "flip", "by_model", "whole"),
    [
        ((0.9, 0.2), 0.05, ["yes", "yes"], "yes"),
        ((0.9, 0.0), 0.05, ["yes", "no"], "yes"),  # 0.45 against 0.3 in the mean
        ((0.9, 0.2), 0.20, ["no", "no"], "no"),  # seen more
        ((0.5, 0.1), 0.05, ["no", "no"], "no"),  # no more is broken
        ((0.4, 0.0), 0.05, ["no", "no"], "no"),
    ],
)
def test_better_is_more_broken_and_less_seen(
    success: tuple[float, float], flip: float, by_model: list[str], whole: str
) -> None:
    table = rows(success, flip)
    assert [each[BETTER] for each in table] == [*by_model, None, None]
    text = words(table, {"ours": card()})
    assert f"**ours: {whole}**" in text and f"{by_model.count('yes')} of 2" in text


@pytest.mark.parametrize(
    ("own_card", "message"),
    [
        (card(), "Same data: the generator was trained on these archives; cmua was made on at most 20 pictures"),
        (card(data=(THEIRS, OWN)), "on these and other archives"),
        (card(data=(OWN,)), "Not the same data"),
        (card(data=()), "does not say what it was trained on"),
        (card(targets=("1",)), "The generator has never seen two; cmua has seen all"),
    ],
)
def test_whether_it_is_fair_is_said(own_card: Card, message: str) -> None:
    assert message in words(rows((0.9, 0.2), 0.05), {"ours": own_card})


def test_a_watermark_from_a_file() -> None:
    assert "is not known" in words(rows((0.9, 0.2), 0.05, watermark=True), {"ours": card()})


def test_without_cmua_there_is_no_answer() -> None:
    table = judged([row("ours", "one", 1, 0)])
    assert table[0][BETTER] is None and "Not answered" in words(table, {"ours": card()})
