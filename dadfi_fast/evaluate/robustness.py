"""Whether protection outlives what happens to pictures on their way: compression, shrinking, blur.

`measure` is shared with `whole_photo`: the same conditions on photos as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dadfi_fast.check.conditions import WRITTEN, Condition, parse
from dadfi_fast.check.pairs import Pair
from dadfi_fast.check.result import CheckResult
from dadfi_fast.evaluate.experiment import Result, Row, Setup
from dadfi_fast.evaluate.heat_map import HeatMap, heat_maps
from dadfi_fast.evaluate.methods import NOISE, NULL, Method, generators
from dadfi_fast.evaluate.protocol import PNG, Form, Protocol, noise_before, open_protocol
from dadfi_fast.evaluate.result_cache import Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What is said of files besides, by what was found, the files, and what is done to them first.
See: TypeAlias = Callable[[CheckResult, Sequence[Pair], Condition], dict[str, Any]]
#: What happens to the written file; `WRITTEN` comes first.
CONDITIONS: Final = tuple(map(parse, ("jpeg:95", "jpeg:90", "jpeg:75", "jpeg:50", "resize:0.5", "blur:3")))
COLUMNS: Final = {
    "method": "method",
    "model": "model",
    "condition": "condition",
    "sr_mask": "SR_mask",
    "d_mask": "d_mask",
    "d_pix": "d_pix",
    "n_empty": "empty masks",
    "sr_all": "SR_all",
}
#: What the figure calls SR_all.
ALL: Final = "SR_all"
TEXT: Final = """\
- written: the file as it is (PNG); jpeg: compressed once more at this quality, 4:2:0; resize: by this factor, the
  original likewise; blur: Gaussian, this window in pixels. Then the adversary's own detection and crop.
- SR_mask: share of fakes whose d_mask is above 0.05; SR_all: share of pictures in which every model fails at every edit
  (the same for all models of a condition).
- null: the unchanged picture under the same conditions: what they alone do to the fakes; noise: uniform noise of the
  same strength, all over the picture.
"""


def run(setup: Setup) -> Result:
    """Measure the generators of ``setup`` against its models, under `CONDITIONS`.

    Raises:
        UsageError: a model or a generator is unknown.
        DataError: the pictures cannot be read.
    """
    methods = generators(setup)
    with open_protocol(setup) as protocol:
        rows = protocol.measured("robustness", units(protocol, methods, PNG))
    return Result("robustness", rows, COLUMNS, TEXT, partial(draw, rows=rows), answer(rows))


def units(protocol: Protocol, methods: Sequence[Method], form: Form, *, see: See | None = None) -> list[Unit]:
    """What is measured: every method and the controls, written in this ``form`` and with what ``see`` says of them."""
    every = [condition.name for condition in (WRITTEN, *CONDITIONS)]
    named = partial(protocol.unit, form=asdict(form), conditions=every)
    own = [named(each.name, partial(_protected, protocol, each, form, see), each) for each in methods]
    return [*own, named("null and noise", partial(controls, protocol, form, see=see))]


def _protected(protocol: Protocol, method: Method, form: Form, see: See | None) -> Iterator[Row]:
    with protocol.written(method, form) as pairs:
        result = protocol.check(pairs, conditions=CONDITIONS)
        seen = see(result, pairs, WRITTEN) if see else {}
    for row in figures(method.name, result):
        yield row | seen | protocol.facts(method, [row["model"]])


def answer(rows: Sequence[Row]) -> str:
    """What is left of each generator's protection after the conditions, Markdown."""
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows if row["generator"]):
        own = [row for row in rows if row["method"] == method]
        for model in dict.fromkeys(row["model"] for row in own):
            shares = [f"{row['condition']} {row['sr_mask']:.3f}" for row in own if row["model"] == model]
            lines.append(f"- {method}, {model} (SR_mask): {', '.join(shares)}")
    return "\n".join(lines)


def figures(method: str, result: CheckResult, names: Sequence[tuple[str, str]] = ()) -> Iterator[dict[str, Any]]:
    """A row for every model and condition.

    Args:
        names: conditions, as the verdict and as the rows call them; all those of the verdict where empty.
    """
    for model in result.models:
        for condition, shown in names or zip(result.conditions, result.conditions, strict=True):
            scores = result.scores(model, condition)
            yield {
                "method": method,
                "model": model,
                "condition": shown,
                "sr_mask": scores.sr_mask,
                "d_mask": scores.d_mask,
                "d_pix": scores.d_pix,
                "n_empty": scores.n_empty,
                "sr_all": result.sr_all(condition),
            }


def controls(protocol: Protocol, form: Form, *, see: See | None) -> list[Row]:
    """The rows of the unchanged pictures, written in this ``form`` and with what ``see`` says of them, and of noise."""
    every = (WRITTEN, *CONDITIONS)
    noisy = [noise_before(protocol.setup.strength, condition) for condition in every]
    with protocol.written(protocol.unchanged(), form) as pairs:
        result = protocol.check(pairs, conditions=[*CONDITIONS, *noisy])
        first = {NULL: WRITTEN, NOISE: noisy[0]}
        seen = {name: see(result, pairs, condition) if see else {} for name, condition in first.items()}
    names = {NULL: [each.name for each in every], NOISE: [each.name for each in noisy]}
    return [
        row | seen[method] | protocol.facts(models=[row["model"]])
        for method, own in names.items()
        for row in figures(method, result, list(zip(own, names[NULL], strict=True)))
    ]


def draw(figure: Figure, *, rows: Sequence[Row]) -> None:
    """SR_mask by condition and model, with SR_all, a matrix for each generator and one for noise; then their d_mask."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    by_place = {(row["method"], row["condition"], row["model"]): row for row in rows}

    def matrix(method: str, key: str, limit: float | None) -> HeatMap:
        values = [[by_place[method, condition, model][key] for model in models] for condition in conditions]
        every = [by_place[method, condition, models[0]]["sr_all"] for condition in conditions]
        if key == "sr_mask":
            values = [[*line, last] for line, last in zip(values, every, strict=True)]
        return HeatMap(f"{method}\n{COLUMNS[key]}", values, limit)

    methods = [method for method in dict.fromkeys(row["method"] for row in rows) if method != NULL]
    most = max((row["d_mask"] for row in rows if row["d_mask"] == row["d_mask"]), default=0)
    shown = [matrix(method, "sr_mask", 1) for method in methods]
    shown += [matrix(method, "d_mask", max(most, 1e-9)) for method in methods]
    plain = [[False] * (len(models) + 1)] * len(conditions)
    heat_maps(figure, shown, rows=conditions, columns=[*models, ALL], marked=plain, mark="")
