"""The figures of a check as files, PNG and SVG; wants matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from dadfi_fast.check.report.chart import BRIGHTEST
from dadfi_fast.check.result import CheckResult
from dadfi_fast.check.visibility import NOTICED, Visibility
from dadfi_fast.errors import DiskError
from dadfi_fast.metrics.defence import SUCCESS, success

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Apart in grey, too (Paul Tol's bright scheme).
COLOURS: Final = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
#: Inches of a figure's width, and of a row in it.
WIDTH, ROW = 6.4, 0.28
FORMATS: Final = ("png", "svg")


def write_figures(verdict: CheckResult, traces: Visibility, folder: Path, *, sizes: Mapping[str, int]) -> list[Path]:
    """Write ``success``, ``distances``, ``spectrum`` and ``visibility``, each as PNG and SVG; the paths.

    Args:
        verdict: what was found.
        traces: what was changed.
        folder: is made where it is missing.
        sizes: pixels a side at which each model works.

    Raises:
        DiskError: the folder cannot be written to.
    """
    drawings: dict[str, Callable[[Figure], None]] = {
        "success": lambda figure: draw_success(figure, verdict),
        "distances": lambda figure: draw_distances(figure, verdict),
        "spectrum": lambda figure: draw_spectrum(figure, traces, sizes),
        "visibility": lambda figure: draw_visibility(figure, traces),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [path for name, draw in drawings.items() for path in save(draw, folder / name)]
    except OSError as error:
        raise DiskError(f"cannot write to {folder}: {error}. Choose another folder with --figures.") from error


def draw_success(figure: Figure, verdict: CheckResult) -> None:
    """Share of broken fakes (SR_mask) for each condition, a bar a model, with k of K beside it."""
    models, conditions = verdict.models, verdict.conditions
    rows = len(models) * len(conditions)
    figure.set_size_inches(WIDTH, ROW * rows + 1.3)
    axis = figure.subplots()
    height = 0.8 / len(models)
    for i, model in enumerate(models):
        masks = [verdict.distances(model, condition).mask for condition in conditions]
        counts = [int(success(mask).sum()) for mask in masks]
        shares = [count / mask.size for count, mask in zip(counts, masks, strict=True)]
        places = [place + (i - (len(models) - 1) / 2) * height for place in range(len(conditions))]
        bars = axis.barh(places, shares, height=height, color=COLOURS[i % len(COLOURS)], label=model)
        texts = [f"{count} of {mask.size}" for count, mask in zip(counts, masks, strict=True)]
        axis.bar_label(bars, texts, padding=3, fontsize="x-small")
    axis.set_yticks(range(len(conditions)), conditions)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.25)
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axis.set_xlabel(f"share of fakes that are broken (d_mask above {SUCCESS}); {len(verdict.samples)} photos")
    figure.legend(loc="outside lower center", ncols=min(len(models), 4), frameon=False)


def draw_distances(figure: Figure, verdict: CheckResult) -> None:
    """How many fakes of the files as written have which d_mask, with the threshold."""
    figure.set_size_inches(WIDTH, 3.2)
    axis = figure.subplots()
    edges = np.geomspace(1e-3, 4, 49).tolist()
    for i, model in enumerate(verdict.models):
        mask = verdict.distances(model).mask
        values = np.clip(mask[~np.isnan(mask)], edges[0], edges[-1])
        axis.hist(values, edges, histtype="step", color=COLOURS[i % len(COLOURS)], label=model)
    axis.axvline(SUCCESS, color="black", linestyle="--", linewidth=1, label=f"threshold {SUCCESS}")
    axis.set_xscale("log")
    axis.set_xlabel("d_mask")
    axis.set_ylabel("fakes")
    axis.legend(frameon=False)


def draw_spectrum(figure: Figure, traces: Visibility, sizes: Mapping[str, int]) -> None:
    """Energy of the change by fineness, and what each model can see of it."""
    figure.set_size_inches(WIDTH, 3.2)
    axis = figure.subplots()
    energy = traces.spectrum
    cycles = np.arange(1, energy.shape[1] + 1)
    for plane, name, colour in zip(energy, ("brightness (Y)", "colour (Cb, Cr)"), COLOURS, strict=False):
        axis.plot(cycles, plane, color=colour, label=name)
    for size in sorted(set(sizes.values())):
        axis.axvline(size / 2, color="grey", linestyle="--", linewidth=1, label=f"finest at {size} px")
    marks = [2**k for k in range(int(np.log2(cycles[-1])) + 1)]
    axis.set_xscale("log", base=2)
    axis.set_xlim(1, cycles[-1])
    axis.set_xticks(marks, [str(mark) for mark in marks])
    axis.set_ylim(bottom=0)
    axis.set_xlabel(f"cycles across the face's crop; mean of {traces.n} faces")
    axis.set_ylabel("mean square change, levels²")
    axis.legend(frameon=False)


def draw_visibility(figure: Figure, traces: Visibility) -> None:
    """The mean colour difference by place in the face's crop."""
    figure.set_size_inches(4.4, 4)
    axis = figure.subplots()
    image = axis.imshow(traces.visible, vmin=0, vmax=BRIGHTEST, cmap="viridis")
    bar = figure.colorbar(image, ax=axis, extend="max", label="colour difference (CIE76)")
    bar.ax.axhline(NOTICED, color="white")
    axis.set_title(f"{traces.share_visible:.0%} of pixels above {NOTICED}; {traces.n} faces", fontsize="medium")
    axis.set_axis_off()


def save(draw: Callable[[Figure], None], stem: Path) -> list[Path]:
    """Write what ``draw`` draws beside ``stem``, in every one of `FORMATS`; the same drawing gives the same files."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    paths = [stem.with_suffix(f".{form}") for form in FORMATS]
    with mpl.rc_context({"svg.hashsalt": "dadfi-fast"}):
        figure = Figure(layout="constrained")  # without pyplot: no window, no state
        draw(figure)
        for path in paths:
            figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths
