"""Contact sheets with headings: a row a picture, a column an edit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dadfi_fast.types import UInt8

#: A tile is at least this wide, in pixels: smaller pictures are enlarged by a whole factor, pixel by pixel.
TILE: Final = 96
#: Pixels between tiles.
GAP: Final = 4


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a sheet."""

    heading: str
    pictures: UInt8  # [N, 3, S, S]
    marks: Sequence[str] = ()  # [N], a word in the corner of each; none where empty


def draw_sheet(columns: Sequence[Column]) -> UInt8:
    """The columns (at least one, all of N pictures of S pixels) side by side under their headings: [H, W, 3] uint8."""
    count, _, _, size = columns[0].pictures.shape
    assert all(column.pictures.shape == columns[0].pictures.shape for column in columns)
    factor = max(1, math.ceil(TILE / size))
    step = size * factor + GAP
    font = ImageFont.load_default()
    headings = [_wrapped(column.heading, font, step - GAP) for column in columns]
    line = math.ceil(sum(font.getmetrics())) if isinstance(font, ImageFont.FreeTypeFont) else 12
    head = max(text.count("\n") + 1 for text in headings) * line + 2 * GAP
    canvas = Image.new("RGB", (step * len(columns) + GAP, head + step * count), "white")
    draw = ImageDraw.Draw(canvas)
    for i, (column, heading) in enumerate(zip(columns, headings, strict=True)):
        left = GAP + i * step
        draw.multiline_text((left, GAP), heading, fill="black", font=font, spacing=0)
        for j, picture in enumerate(column.pictures):
            tile = picture.transpose(1, 2, 0).repeat(factor, axis=0).repeat(factor, axis=1)
            canvas.paste(Image.fromarray(np.ascontiguousarray(tile)), (left, head + j * step))
            if column.marks and column.marks[j]:
                _mark(draw, (left, head + j * step), column.marks[j], font)
    return np.asarray(canvas)


def _wrapped(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    """``text`` in lines of no more than ``width`` pixels where its words allow it; underscores part words."""
    lines = [""]
    for word in text.replace("_", " ").split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def _mark(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont
) -> None:
    box = draw.textbbox((corner[0] + 2, corner[1] + 1), text, font=font)
    draw.rectangle((corner[0], corner[1], box[2] + 2, box[3] + 2), fill="white")
    draw.text((corner[0] + 2, corner[1] + 1), text, fill="black", font=font)
