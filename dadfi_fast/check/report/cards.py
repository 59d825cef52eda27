"""The cards of the page: one for each photo, with its pictures and all that became of its fakes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dadfi_fast.check.conditions import WRITTEN
from dadfi_fast.check.file_result import FaceResult, FileResult
from dadfi_fast.check.gallery import GAIN, Fake, Gallery, Shots
from dadfi_fast.check.report.markup import Content, Markup, name, picture, tag
from dadfi_fast.files import sha256
from dadfi_fast.metrics.defence import success
from dadfi_fast.metrics.visibility import FaceAppearance


@dataclass(frozen=True)
class Counts:
    """Of some fakes: how many there are, and what became of them."""

    total: int
    broken: int
    empty: int  # the edit changed nothing, so there was nothing to break

    @classmethod
    def of(cls, look: FaceResult) -> Counts:
        """Those of all models, faces and edits of a photo."""
        every = np.concatenate([each.mask.ravel() for each in look.distances.values()] or [np.empty(0)])
        return cls(every.size, int(success(every).sum()), int(np.isnan(every).sum()))

    def words(self) -> str:
        """What became of them, in words."""
        nothing = f"; {self.empty} edits changed nothing" if self.empty else ""
        return f"{self.broken} of {self.total} fakes broken{nothing}"


def card(
    sample: FileResult,
    number: int,
    gallery: Gallery,
    edits: Mapping[str, Sequence[str]],
    seen: FaceAppearance | None = None,
    codes: Sequence[str] = (),
) -> Markup:
    """The card of one photo.

    Args:
        sample: its figures.
        number: of the card in the page, for its ids.
        gallery: its pictures.
        edits: the edits' names by model.
        seen: how visible the change is, where it was measured.
        codes: what encoders made of it, in words.
    """
    look = sample.looks[WRITTEN.name]
    models = {model: i for i, model in enumerate(edits)}
    shown = gallery.of(sample.pair)
    parts: list[Content] = [
        tag("h3", name(sample.pair.name), id=f"photo-{number}"),
        tag(
            "p",
            _badges(look),
            Counts.of(look).words() + _weakest(look, edits) if look.distances else None,
            class_="outcome",
        ),
        tag("p", _figures(sample, look, seen), class_="small"),
        [tag("p", line, class_="small") for line in codes],
        [_face(shots, look, models, edits) for shots in shown],
        _missing(shown, look),
        _hashes(sample),
    ]
    return tag(
        "article",
        parts,
        class_="card",
        aria_labelledby=f"photo-{number}",
        data_name=sample.pair.name,
        data_state="protected" if look.protected else "open",
        data_face="yes" if look.found else "no",
        data_weakest=f"{_low(look.weakest):.5f}",
        data_linf=sample.linf,
        data_psnr=f"{min(sample.psnr, 999):.2f}",
        data_jpeg=seen.jpeg_equivalent if seen else 999,
    )


def _badges(look: FaceResult) -> Iterator[Markup]:
    word, css = ("every fake broken", "good") if look.protected else ("some fakes not broken", "bad")
    if look.distances:
        yield tag("b", word, class_=f"badge {css}")
    if not look.found:
        yield tag("b", "no face found: the middle was tried", class_="badge")


def _weakest(look: FaceResult, edits: Mapping[str, Sequence[str]]) -> str:
    low = look.weakest
    for model, each in look.distances.items():
        faces, columns = np.nonzero(each.mask == low)
        if len(faces):
            where = f" of face {faces[0] + 1}" if look.faces > 1 else ""
            return f". Least changed: {plain(edits[model][columns[0]])} by {model}{where}, d_mask {low:.3f}"
    return ""


def _figures(sample: FileResult, look: FaceResult, seen: FaceAppearance | None) -> str:
    faces = f"{look.faces} face{'s' * (look.faces != 1)}" if look.found else "no face"
    if not sample.linf:
        return f"{faces}; no pixel differs from the original"
    ssim = "" if math.isnan(sample.ssim) else f", SSIM {sample.ssim:.4f}"
    jpeg = f", looks like JPEG of quality {seen.jpeg_equivalent}" if seen else ""
    return f"{faces}; largest difference {sample.linf} of 255 levels, PSNR {sample.psnr:.1f} dB{jpeg}{ssim}"


def _face(shots: Shots, look: FaceResult, models: Mapping[str, int], edits: Mapping[str, Sequence[str]]) -> Markup:
    ranked = sorted(shots.fakes, key=lambda fake: _low(fake.d_mask, empty=math.inf))
    head = tag("h4", f"Face {shots.number} of {look.faces}") if look.faces > 1 else None
    row = tag("div", _photo(shots), [_fake(fake, models, edits) for fake in ranked[:1]], class_="row")
    rest = [_fake(fake, models, edits) for fake in ranked[1:]]
    words = f"{len(rest)} more fakes of this face, the least changed first"
    more = tag("details", tag("summary", words), tag("div", rest, class_="grid")) if rest else None
    return tag("div", head, row, more, class_="face")


def _photo(shots: Shots) -> Iterator[Markup]:
    side = 192
    for data, label, css in (
        (shots.original, "original", "original"),
        (shots.protected, "protected", "protected"),
        (shots.difference, f"difference \u00d7{GAIN}", "difference"),
    ):
        yield tag("figure", picture(data, label, side=side), tag("figcaption", label), class_=css)


def _fake(fake: Fake, models: Mapping[str, int], edits: Mapping[str, Sequence[str]]) -> Markup:
    edit = plain(edits[fake.model][fake.edit])
    alt = f"{edit} by {fake.model}: fake of the original, fake of the protected"
    button = tag("button", picture(fake.both, alt, side=96, wide=2), type="button")
    css, word = _state(fake.d_mask)
    caption = tag("figcaption", tag("b", edit), f" {fake.model} ", tag("span", word, class_=css))
    return tag("figure", button, caption, class_="fake", data_m=models[fake.model], data_s=css)


def _state(d_mask: float) -> tuple[str, str]:
    if math.isnan(d_mask):
        return "none", "the edit changed nothing"
    if success(np.array(d_mask)):
        return "good", f"broken {d_mask:.2f}"
    return "bad", f"not broken {d_mask:.3f}"


def _missing(shown: Sequence[Shots], look: FaceResult) -> Markup | None:
    if not shown:
        return tag("p", "Its images were left out to keep the page small.", class_="small")
    if len(shown) < look.faces:
        return tag("p", f"Images of the {len(shown)} least protected of {look.faces} faces.", class_="small")
    return None


def _hashes(sample: FileResult) -> Markup:
    files = (("original", sample.pair.original), ("protected", sample.pair.protected))
    lines = [[tag("dt", label), tag("dd", tag("code", _hash(path)))] for label, path in files]
    return tag("details", tag("summary", "sha256 of the files"), tag("dl", lines))


def _hash(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        return f"cannot be read any more: {error.strerror}"


def plain(edit: str) -> str:
    """An edit's name as people write it."""
    return edit.replace("_", " ")


def _low(value: float, *, empty: float = -1.0) -> float:
    return empty if math.isnan(value) else value
