"""``dadfi-fast bench cluster``: a model of many machines."""

from __future__ import annotations

from pathlib import Path

import click

from dadfi_fast.cli import console
from dadfi_fast.errors import UsageError

_FILE = click.Path(dir_okay=False, path_type=Path)
#: How many GPUs or machines are listed.
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


def _given(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for value in values:
        name, _, number = value.partition("=")
        try:
            found[name.strip().replace("-", "_")] = float(number)
        except ValueError:
            raise click.BadParameter(f"{value!r} is not of the form NAME=NUMBER, such as gpu_price=2.5") from None
    return found


@click.command("cluster")
@click.option(
    "--assume", "given", metavar="NAME=NUMBER", multiple=True, callback=_given,
    help="Another value for an input; once for each.",
)  # fmt: skip
@click.option("--inputs", "only_inputs", is_flag=True, help="List the inputs, and where each comes from, alone.")
@click.option("--json", "as_json", is_flag=True, help="Inputs and estimates as JSON on stdout.")
@click.option("--plot", type=_FILE, metavar="FILE.png", help="Draw it (wants the extra evaluate).")
def cluster(given: dict[str, float], only_inputs: bool, as_json: bool, plot: Path | None) -> None:
    """Model 1 to 1000 GPUs or machines: photos a second, costs, and where it stops growing.

    Arithmetic from inputs, most of which are assumptions that --assume replaces; no GPU and no cluster was measured.
    "waits for" names what holds the job up: cores, GPU and network are those of each machine, and more machines help;
    the store and the manifest are shared by all, and more machines do not help.
    """
    from dataclasses import asdict

    from dadfi_fast.bench.cluster import INPUTS, KINDS, Cluster

    model = Cluster(given)
    inputs = [(name, model.values[name], INPUTS[name].unit, _origin(name, given), INPUTS[name].what) for name in INPUTS]
    estimates = [model.estimate(kind, count) for kind in KINDS for count in COUNTS]
    if as_json:
        names = ("name", "value", "unit", "origin", "what")
        listed = [dict(zip(names, each, strict=True)) for each in inputs]
        most = {kind: model.most(kind) for kind in KINDS}
        console.json({"inputs": listed, "most": most, "estimates": [asdict(each) for each in estimates]})
    else:
        console.table(("input", "value", "unit", "origin", "what"), inputs)
        if not only_inputs:
            rows = [(e.kind, e.count, e.rate, e.limit, e.hours, e.cost) for e in estimates]
            console.result("")
            console.table(("of", "number", "photos/s", "waits for", "hours", "$/million"), rows)
            for kind, name in (("gpu", "GPUs"), ("cpu", "machines without GPU")):
                console.result(f"more than {model.most(kind)} {name} wait for what they share")
    if plot is not None:
        _draw(model, plot)


def _origin(name: str, given: dict[str, float]) -> str:
    from dadfi_fast.bench.cluster import INPUTS

    return "given" if name in given else INPUTS[name].origin


def _draw(model: object, path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("--plot needs matplotlib. Run: pip install 'dadfi-fast[evaluate]'") from error
    from dadfi_fast.bench.cluster import Cluster, draw

    assert isinstance(model, Cluster)
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    draw(model, figure)
    figure.savefig(path, dpi=120)
