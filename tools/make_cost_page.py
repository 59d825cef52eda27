"""Write docs/cost.md and its plots, from the rows in docs/benchmarks, the model of a cluster, and tools/cost_page.md.

``tests/bench/test_cost_page.py`` checks that the page is up to date; the rows come from the commands that it names.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent))

import cluster_cost
from cluster_cost import INPUTS, Cluster

from dadfi_fast.bench import growth, scale

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
PAGE: Final = DOCS / "cost.md"
IMAGES: Final = DOCS / "images"
#: GPUs or machines in the table.
COUNTS: Final = (1, 8, 32, 64, 128, 1000)
#: The words, with names in braces where figures go.
TEMPLATE: Final = Path(__file__).with_name("cost_page.md")


def main() -> None:
    """Write the page and the plots."""
    from matplotlib.figure import Figure

    PAGE.write_text(page(), encoding="utf-8")
    for name, height, draw in (
        ("cost-growth.png", 3.4, lambda figure: growth.draw(rows("cost-cpu"), figure)),
        ("cost-cluster.png", 3.8, lambda figure: cluster_cost.draw(Cluster(), figure)),
    ):
        figure = Figure(figsize=(10, height), layout="constrained")
        draw(figure)
        figure.savefig(IMAGES / name, dpi=110)
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    scale.draw(rows("scale-cpu")[-1], figure)
    figure.savefig(IMAGES / "scale-memory.png", dpi=110)


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of docs/benchmarks/NAME.jsonl."""
    lines = (DOCS / "benchmarks" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def page() -> str:
    """The page, as it should be."""
    cost_rows, model = rows("cost-cpu"), Cluster()
    megapixels, faces, photos = (growth.fit(cost_rows, name) for name in growth.OVER)
    cost = {name: {row["config"][name]: row for row in _of(cost_rows, name)} for name in growth.OVER}
    heads = ("of", "number", "photos/s", "waits for", "hours for the job", "$ per million")
    shared = model.shared()
    codec = model.values["megapixels"] * (1 / model.values["gpu_decode"] + 1 / model.values["gpu_encode"])
    return TEMPLATE.read_text(encoding="utf-8").format(
        machine=cost_rows[0]["machine"]["processor"],
        growth_table=_growth_table(cost_rows),
        n_photo=cost_rows[0]["n"],
        n_runs=next(iter(cost["photos"].values()))["n"],
        mp_base=megapixels.base,
        mp_slope=megapixels.slope,
        face_slope=faces.slope,
        search=cost["faces"][1]["p50"] - cost["megapixels"][12]["p50"],
        mp12=12,
        mp12_cost=cost["megapixels"][12]["p50"],
        faces_one=cost["faces"][1]["p50"],
        run_base=photos.base / 1000,
        run_slope=photos.slope,
        run_most=max(cost["photos"]),
        scale_table=_scale_table(rows("scale-cpu")[-1]),
        input_table=_table(("input", "value", "unit", "origin", "what"), _inputs(model)),
        core_ms=1000 * model.core_seconds(),
        gpu_ms=1000 * model.gpu_seconds(),
        codec_share=codec / model.gpu_seconds(),
        ratio=model.estimate("cpu", 1).rate / model.estimate("gpu", 1).rate,
        estimate_table=_table(heads, _estimates(model)),
        most_gpu=model.most("gpu"),
        most_cpu=model.most("cpu"),
        lowest=min(shared, key=lambda name: shared[name]),
    )


def _of(cost_rows: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [row for row in cost_rows if row["case"] == f"{growth.PREFIX}{name}"]


def _growth_table(cost_rows: Sequence[dict[str, Any]]) -> str:
    def cells() -> Iterator[tuple[object, ...]]:
        for name in growth.OVER:
            of_it = _of(cost_rows, name)
            yield name, *(f"{row['config'][name]:g}" for row in of_it), *[""] * (8 - len(of_it))
            unit, factor = ("core-s per run", 1000) if name == "photos" else ("core-ms per photo", 1)
            yield unit, *(f"{row['p50'] / factor:.3g}" for row in of_it), *[""] * (8 - len(of_it))

    return _table(("", *[" "] * 8), cells())


def _scale_table(row: dict[str, Any]) -> str:
    facts = row["config"]
    rates = ", ".join(f"{row[name]:.0f}" for name in ("p20", "p50", "p80"))
    return _table(
        ("", "figure"),
        (
            ("files, of them damaged", f"{facts['photos']:,}, {facts['damaged']:,}"),
            ("rows or files that are wrong", facts["wrong_rows"]),
            ("memory of the process after a tenth, at the end, at the most", _memory(facts)),
            ("growth after the first fifth", f"{facts['growth_mib_per_10000']:+.2f} MiB for 10,000 files"),
            ("from the start of the process to the first row", f"{facts['start_up_seconds']:.1f} s"),
            ("files/s (20th, 50th, 80th percentile of 20 parts)", rates),
        ),
    )


def _memory(facts: dict[str, Any]) -> str:
    return ", ".join(f"{facts[f'rss_mib_{when}']:.0f}" for when in ("tenth", "end", "peak")) + " MiB"


def _inputs(model: Cluster) -> Iterator[tuple[object, ...]]:
    for name in INPUTS:
        yield f"`{name}`", f"{model.values[name]:,.10g}", INPUTS[name].unit, INPUTS[name].origin, INPUTS[name].what


def _estimates(model: Cluster) -> Iterator[tuple[object, ...]]:
    for kind, name in (("gpu", "GPUs"), ("cpu", "machines")):
        for each in (model.estimate(kind, count) for count in COUNTS):
            yield name, each.count, f"{each.rate:,.0f}", each.limit, f"{each.hours:.2f}", f"{each.cost:.2f}"


def _table(head: Sequence[object], lines: Iterable[Sequence[object]]) -> str:
    rules = ["---"] * len(head)
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in (head, rules, *lines))


if __name__ == "__main__":
    main()
