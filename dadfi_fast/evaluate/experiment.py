"""The frame of the experiments: what one is asked to do, what it gives, and the files that are written of it."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dadfi_fast import __version__
from dadfi_fast.backends.generator_file import DEFAULT
from dadfi_fast.device import machine
from dadfi_fast.errors import DiskError
from dadfi_fast.files import json_safe
from dadfi_fast.registry import Registry, lazy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dadfi_fast.types import Float32, UInt8

#: One line of figures; NaN stands for a figure that does not exist.
Row: TypeAlias = Mapping[str, Any]
#: What every row names besides its figures.
NAMED: Final = ("data", "split", "n", "models", "generator", "machine", "seed", "command")


@dataclass(frozen=True)
class Progress:
    """Is told how an experiment gets on."""

    tick: Callable[[int], object] = lambda count: None  # so many pictures were just protected, checked or timed
    plan: Callable[[int], object] = lambda count: None  # there are so many of them in all
    stage: Callable[[str], object] = lambda name: None  # what is measured now
    note: Callable[[str], object] = lambda text: None  # something to be said to the user


@dataclass(frozen=True)
class Setup:
    """What an experiment is asked to do."""

    sources: tuple[Path, ...]  # tar archives or folders of faces
    attributes: Path | None = None  # CSV table of their labels
    models: tuple[str, ...] = ()  # names of deepfake models; all where empty
    models_dir: Path | None = None  # where they lie; what ships where None
    sample: int | None = None  # pictures that are drawn; all where None
    fid: int = 0  # pictures in each of the two sets of a Frechet distance; 0: it is not measured
    seed: int = 0  # of everything that is drawn
    generators: tuple[str, ...] = (DEFAULT,)  # their names, or ONNX files; LABEL=NAME calls one LABEL
    strength: float = 0.05  # largest change, on the [-1, 1] scale
    backend: str = "auto"  # what generators run on
    device: str = "auto"
    detector: str = "auto"  # what finds faces, for the owner of a picture and for the adversary
    detector_model: Path | None = None
    methods: tuple[str, ...] = ()  # names of attacks; all that can be made where empty
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by attack: its keyword arguments
    train: tuple[Path, ...] = ()  # archives or folders of other faces, for attacks that are made beforehand
    train_sample: int = 200  # pictures that are drawn of them
    cmua_compat: bool = False  # also count success as CMUA's evaluation does
    watermark: Path | None = None  # a universal perturbation that was made before, [3, S, S] as .npy
    command: str = ""  # what the user typed
    out: Path | None = None  # where what is finished is kept for the next run; nowhere where None
    fresh: bool = False  # measure everything anew, whatever is there
    progress: Progress = field(default_factory=Progress)

    def facts(self) -> dict[str, Any]:
        """What every row says of the run itself."""
        software = f"dadfi-fast {__version__}, Python {platform.python_version()}"
        return {"machine": machine(), "software": software, "seed": self.seed, "command": self.command}


@dataclass(frozen=True, eq=False)
class Result:
    """What an experiment found."""

    name: str
    rows: Sequence[Row]  # at least one; every row has the keys `NAMED`
    columns: Mapping[str, str]  # the keys of `rows` that a table shows, with their heads
    text: str  # what the figures are, Markdown
    draw: Callable[[Figure], None]  # draws them
    answer: str = ""  # what they say in words, Markdown
    sheets: Mapping[str, UInt8] = field(default_factory=dict)  # pictures [H, W, 3] by what they show
    arrays: Mapping[str, Float32] = field(default_factory=dict)  # what was made on the way and can be used again

    def cells(self) -> Iterator[tuple[object, ...]]:
        """A line of the table for each row; None for a figure that does not exist."""
        return (tuple(json_safe(row.get(key)) for key in self.columns) for row in self.rows)


def write(result: Result, out: Path) -> list[Path]:
    """Write ``NAME.json``, ``NAME.md``, ``NAME.png`` and a ``NAME-SHEET.png`` for each sheet to the folder ``out``.

    Arrays become ``NAME-ARRAY.npy``.

    Raises:
        DiskError: the folder cannot be written to.
    """
    assert all(key in row for row in result.rows for key in NAMED), result.name
    document = {"experiment": result.name, "rows": [json_safe(dict(row)) for row in result.rows]}
    paths = [out / f"{result.name}{suffix}" for suffix in (".json", ".md", ".png")]
    try:
        out.mkdir(parents=True, exist_ok=True)
        paths[0].write_text(
            json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )
        paths[1].write_text(markdown(result), encoding="utf-8")
        _plot(result, paths[2])
        paths += [_picture(out / f"{result.name}-{name}.png", pixels) for name, pixels in result.sheets.items()]
        return paths + [_array(out / f"{result.name}-{name}.npy", array) for name, array in result.arrays.items()]
    except OSError as error:
        raise DiskError(f"cannot write to {out}: {error}. Choose another folder with --out.") from error


def markdown(result: Result) -> str:
    """The table, what its figures are, and what they were measured on and with."""
    heads = list(result.columns.values())
    words = [text.strip() for text in (result.answer, result.text) if text.strip()]
    lines = [f"# {result.name}", "", *(line for text in words for line in (text, ""))]
    lines += [_line(heads), _line(["---"] * len(heads))]
    lines += [_line([_cell(cell) for cell in cells]) for cells in result.cells()]
    lines += ["", "Measured with:", "", *_facts(result), ""]
    pictures = [result.name, *(f"{result.name}-{name}" for name in result.sheets)]
    return "\n".join(lines + [f"![{name}]({name}.png)\n" for name in pictures])


def _facts(result: Result) -> Iterator[str]:
    """What the table does not show, each different value once; figures are left to the JSON file."""
    for key in result.rows[0]:
        values = dict.fromkeys(_worded(row.get(key)) for row in result.rows)
        figures = len(values) > 1 and any(isinstance(row.get(key), float) for row in result.rows)
        if key not in result.columns and not figures:
            yield f"- {key}: {'; '.join(value for value in values if value) or 'none'}"


def _worded(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_worded(entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(_worded(entry) for entry in value)
    return "" if value is None else str(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plot(result: Result, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")  # without pyplot: no window, no state; PNG is drawn by Agg
    result.draw(figure)
    figure.savefig(path, dpi=120)


def _picture(path: Path, pixels: UInt8) -> Path:
    from PIL import Image

    Image.fromarray(pixels).save(path)
    return path


def _array(path: Path, array: Float32) -> Path:
    import numpy as np

    np.save(path, array, allow_pickle=False)
    return path


#: The experiments by name; an entry gives the function that runs it.
EXPERIMENTS: Registry[Callable[[], Callable[[Setup], Result]]] = Registry("experiment")
EXPERIMENTS.add("plausibility")(lazy("dadfi_fast.evaluate.plausibility", "run"))
EXPERIMENTS.add("validity")(lazy("dadfi_fast.evaluate.validity", "run"))
EXPERIMENTS.add("robustness")(lazy("dadfi_fast.evaluate.robustness", "run"))
EXPERIMENTS.add("whole-photo")(lazy("dadfi_fast.evaluate.whole_photo", "run"))
EXPERIMENTS.add("speed")(lazy("dadfi_fast.evaluate.speed", "run"))
EXPERIMENTS.add("comparison")(lazy("dadfi_fast.evaluate.comparison", "run"))
EXPERIMENTS.add("single-model")(lazy("dadfi_fast.evaluate.single_model", "run"))
EXPERIMENTS.add("no-fine-tuning")(lazy("dadfi_fast.evaluate.no_fine_tuning", "run"))
EXPERIMENTS.add("ceiling")(lazy("dadfi_fast.evaluate.ceiling", "run"))
EXPERIMENTS.add("trade-off")(lazy("dadfi_fast.evaluate.trade_off", "run"))
