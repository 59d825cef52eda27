"""The figures of the page, as inline SVG; their colours are those of its style sheet and follow dark and light."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from dadfi_fast.check.report.markup import Markup, join, picture, tag
from dadfi_fast.metrics.defence import SUCCESS
from dadfi_fast.types import Float64

#: Of a chart, in its own units; the plot lies within the margins.
WIDTH, HEIGHT = 340, 170
LEFT, RIGHT, TOP, BOTTOM = 38, 8, 16, 34
#: The axis of distances: from what counts as nothing to the largest that there is.
SMALLEST, LARGEST = 1e-3, 4.0
BINS: Final = 24
TICKS: Final = (0.001, 0.01, SUCCESS, 0.2, 1.0, 4.0)
#: The colour difference that is drawn brightest.
BRIGHTEST: Final = 6.0


def bar(share: float) -> Markup:
    """A bar of a share from 0 to 1; the figure stands beside it in words, so that it is hidden from screen readers."""
    parts = [_rect(0, 0, 100, 10, "track"), _rect(0, 0, 100 * share, 10, "good")]
    return tag("svg", parts, class_="bar", viewBox="0 0 100 10", preserveAspectRatio="none", aria_hidden="true")


def histogram(distances: Sequence[float], *, name: str, about: str) -> Markup:
    """How many fakes have which distance, on a logarithmic axis, with the threshold drawn.

    Args:
        distances: in [0, 4]; what is below the axis is drawn at its start.
        name: what it is called, within the page also its id.
        about: what it shows, for those who do not see it.
    """
    edges = np.append(_edges(SMALLEST, SUCCESS, BINS // 2), _edges(SUCCESS, LARGEST, BINS // 2)[1:])
    counts, _ = np.histogram(np.clip(distances, SMALLEST, LARGEST), edges)
    top = max(1, int(counts.max()))
    bars = [
        _rect(_log(low), _y(count / top), _log(high) - _log(low) - 1, _y(0) - _y(count / top), _kind(low))
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        if count
    ]
    ticks = [_tick(_log(value), f"{value:g}") for value in TICKS]
    threshold = [
        tag("line", x1=_log(SUCCESS), x2=_log(SUCCESS), y1=TOP - 6, y2=_y(0), class_="threshold"),
        _label(_log(SUCCESS) + 4, TOP - 3, "broken →", "start"),
        _label(_log(SUCCESS) - 4, TOP - 3, "← not broken", "end"),
    ]
    return _chart(name, about, [_axes("fakes", str(top)), bars, ticks, _below("d_mask"), threshold])


def spectrum(energy: Float64, *, sizes: Sequence[int], name: str, about: str) -> Markup:
    """Energy of the change by fineness.

    Args:
        energy: [2, N], of brightness and of colour; entry i is that of i + 1 cycles.
        sizes: pixels a side at which the models work; each sees waves up to half of it.
        name: as in `histogram`.
        about: likewise.
    """
    count = energy.shape[1]
    top = max(float(energy.max()), 1e-9)
    curves = [_curve(plane / top, css) for plane, css in zip(energy, ("brightness", "colour"), strict=True)]
    known = [size for size in sorted(set(sizes)) if size / 2 <= count]
    limits = [_limit(size, count, row) for row, size in enumerate(known)]
    marks = [2**k for k in range(1, int(math.log2(count)) + 1)]
    ticks = [_tick(_cycle(mark, count), str(mark)) for mark in marks]
    key = [
        tag("line", x1=x, x2=x + 16, y1=TOP - 6, y2=TOP - 6, class_=f"curve {css}")
        + _label(x + 20, TOP - 3, css, "start")
        for x, css in ((LEFT + 8, "brightness"), (LEFT + 90, "colour"))
    ]
    axes = _axes("levels²", f"{top:.2g}")
    return _chart(name, about, [axes, curves, limits, ticks, map(Markup, key), _below("cycles across the face's crop")])


def heat(values: Float64, *, alt: str) -> Markup:
    """A map of colour differences [S, S], dark for 0, brightest from `BRIGHTEST`."""
    small = cv2.resize(values, (128, 128), interpolation=cv2.INTER_AREA)
    levels = np.clip(np.rint(small * (255 / BRIGHTEST)), 0, 255).astype(np.uint8)
    done, data = cv2.imencode(".png", cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS))
    assert done
    return picture(data.tobytes(), alt, side=128, kind="png")


def _chart(name: str, about: str, parts: Sequence[object]) -> Markup:
    shown = join(parts)  # type: ignore[arg-type]
    text = tag("title", about, id=f"{name}-title")
    return tag(
        "svg", text, shown, class_="chart", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_labelledby=f"{name}-title"
    )


def _axes(unit: str, top: str) -> Markup:
    return join(
        [
            tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=_y(0), y2=_y(0), class_="axis"),
            _label(LEFT - 4, _y(1) + 4, top, "end"),
            _label(LEFT - 4, _y(0), "0", "end"),
            _label(LEFT - 4, _y(0.5), unit, "end"),
        ]
    )


def _below(text: str) -> Markup:
    return _label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, text, "middle")


def _tick(x: float, text: str) -> Markup:
    line = tag("line", x1=x, x2=x, y1=_y(0), y2=_y(0) + 3, class_="axis")
    return Markup(line + _label(x, _y(0) + 14, text, "middle"))


def _limit(size: int, count: int, row: int) -> Markup:
    x = _cycle(size / 2, count)
    line = tag("line", x1=x, x2=x, y1=TOP, y2=_y(0), class_="threshold")
    return Markup(line + _label(x + 3, TOP + 8 + 11 * row, f"{size} px", "start"))


def _curve(shares: Float64, css: str) -> Markup:
    points = (f"{_cycle(i + 1, len(shares)):.1f},{_y(float(share)):.1f}" for i, share in enumerate(shares))
    return tag("path", d="M" + "L".join(points), class_=f"curve {css}")


def _rect(x: float, y: float, width: float, height: float, css: str) -> Markup:
    shown = (f"{max(value, 0):.1f}" for value in (x, y, width, height))
    return tag("rect", class_=css, **dict(zip(("x", "y", "width", "height"), shown, strict=True)))


def _label(x: float, y: float, text: str, anchor: str) -> Markup:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _kind(low: float) -> str:
    return "good" if low >= SUCCESS * 0.999 else "bad"


def _edges(low: float, high: float, count: int) -> Float64:
    return np.geomspace(low, high, count + 1)


def _log(value: float) -> float:
    share = math.log(value / SMALLEST) / math.log(LARGEST / SMALLEST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _cycle(value: float, count: int) -> float:
    return LEFT + math.log(value) / math.log(count) * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)
