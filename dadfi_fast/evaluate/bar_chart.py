"""Plain figures of rows: horizontal bars, one panel a figure, a tick where the control lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dadfi_fast.palette import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Inches: of a bar, of all that is above and below the bars, of a panel, and of a character of a label.
BAR, REST, PANEL, CHARACTER = 0.24, 1.2, 2.4, 0.075


@dataclass(frozen=True)
class Panel:
    """One quantity of all rows; NaN leaves a place empty."""

    title: str
    values: Sequence[float]
    controls: Sequence[float] = ()  # empty: there is none
    limit: float | None = None  # the end of the axis; as the values want where None
    log: bool = False  # each step of the axis ten times the one before; for values above 0


def bars(
    figure: Figure, panels: Sequence[Panel], *, labels: Sequence[str], groups: Sequence[str], control: str
) -> None:
    """Draw ``panels`` (at least one) side by side, sized to what they hold.

    Args:
        labels: of the rows, from top to bottom.
        groups: what the rows belong to; each group has a colour.
        control: what the ticks are, for the legend.
    """
    from matplotlib.patches import Patch

    names = list(dict.fromkeys(groups))
    colours = [COLOURS[names.index(group) % len(COLOURS)] for group in groups]
    width = PANEL * len(panels) + CHARACTER * max(map(len, labels))
    figure.set_size_inches(width, BAR * len(labels) + REST)
    rows = range(len(labels))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=True):
        axis.barh(rows, [_drawn(value) for value in panel.values], color=colours, height=0.7)
        if panel.controls:
            axis.plot(panel.controls, rows, "|", color="black", markersize=11, markeredgewidth=2)
        axis.set_title(panel.title, fontsize="medium")
        if panel.log:
            axis.set_xscale("log")
        else:
            axis.set_xlim(0, panel.limit)
        axis.grid(axis="x", alpha=0.3)
        axis.set_axisbelow(True)
    axes[0].set_yticks(rows, labels)
    axes[0].invert_yaxis()
    handles: list[object] = [Patch(color=colours[groups.index(name)], label=name) for name in names]
    if any(panel.controls for panel in panels):
        handles += axes[0].plot([], [], "|", color="black", markersize=11, markeredgewidth=2, label=control)
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4), frameon=False)


def _drawn(value: float) -> float:
    return value if value == value else 0.0
