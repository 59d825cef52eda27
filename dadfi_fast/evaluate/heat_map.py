"""Plain figures of two names to a value: coloured squares with the value in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dadfi_fast.evaluate.bar_chart import CHARACTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Inches of a square, and of what is around a matrix.
SQUARE: Final = 0.62
REST: Final = 0.8
#: From light to dark, also in grey.
MAP: Final = "Blues"


@dataclass(frozen=True)
class HeatMap:
    """One quantity; NaN leaves a square empty."""

    title: str
    values: Sequence[Sequence[float]]  # by row, then by column; the last columns may be missing
    limit: float | None = None  # what the darkest colour stands for; the largest value where None


def heat_maps(
    figure: Figure,
    shown: Sequence[HeatMap],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    marked: Sequence[Sequence[bool]],
    mark: str,
) -> None:
    """Draw ``shown`` (at least one) side by side, sized to what they hold.

    Args:
        rows: what the rows are called, from top to bottom; shown once, on the left.
        columns: what the columns are called, from left to right.
        marked: the squares that are framed in each of them.
        mark: what the frame says, for the legend.
    """
    from matplotlib.patches import Patch

    side = CHARACTER * max(map(len, rows)) + 0.4
    below = CHARACTER * max(map(len, columns))
    widths = [len(matrix.values[0]) for matrix in shown]
    width = SQUARE * sum(widths) + 0.3 * len(shown) + side
    figure.set_size_inches(max(width, 4.5), SQUARE * len(rows) + below + REST)
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False, width_ratios=widths)[0]
    for axis, matrix in zip(axes, shown, strict=True):
        _draw(axis, matrix, marked)
        names = columns[: len(matrix.values[0])]
        axis.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes[0].set_yticks(range(len(rows)), rows)
    if any(map(any, marked)):
        frame = Patch(facecolor="white", edgecolor="black", linewidth=2, label=mark)
        figure.legend(handles=[frame], loc="outside lower center", frameon=False)


def _draw(axis: Axes, matrix: HeatMap, marked: Sequence[Sequence[bool]]) -> None:
    from matplotlib.patches import Rectangle

    values = np.array(matrix.values, dtype=float)
    top = matrix.limit or max(float(np.nanmax(values)), 1e-9)
    axis.imshow(values, cmap=MAP, vmin=0, vmax=top)
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            colour = "white" if value > 0.6 * top else "black"
            axis.text(column, row, f"{value:.2g}", ha="center", va="center", color=colour, fontsize="small")
        if marked[row][column]:
            axis.add_patch(Rectangle((column - 0.44, row - 0.44), 0.88, 0.88, fill=False, linewidth=2))
    axis.set_title(matrix.title, fontsize="medium")
    axis.tick_params(length=0)
