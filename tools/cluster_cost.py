"""A model of many machines: photos a second, and what a million cost, and what the next machine waits for.

    python tools/cluster_cost.py --plot cluster.png
    python tools/cluster_cost.py --assume gpu_price=1.8 --assume gpu_decode=5000

Arithmetic, not a measurement. Every number that goes in stands in `INPUTS` with where it comes from, and can be given
another value. Nothing that concerns a GPU has been measured: those are guesses to be replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from dadfi_fast.cli import console
from dadfi_fast.errors import UsageError
from dadfi_fast.palette import COLOURS
from dadfi_fast.registry import Registry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURED: Final = "measured"  # on the machine of docs/cost.md
DOCUMENTED: Final = "documented"  # by whoever offers it
ASSUMED: Final = "assumed"
#: Machines with GPUs are counted in GPUs, the others in machines.
KINDS: Final = ("gpu", "cpu")
#: How many GPUs or machines are listed.
COUNTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


@dataclass(frozen=True)
class Input:
    """A number that the model starts from."""

    value: float
    unit: str
    origin: str  # MEASURED, DOCUMENTED or ASSUMED
    what: str


_INPUTS: Final = {
    "photos": Input(10e6, "", ASSUMED, "photos in the job, to spread the startup cost"),
    "megapixels": Input(1.82, "MP", MEASURED, "megapixels per photo: the London portraits"),
    "faces": Input(1, "", MEASURED, "faces per photo"),
    "megabytes": Input(0.365, "MB", MEASURED, "file size of a photo; the protected file has the same size"),
    "cpu_ms": Input(9.12, "core-ms", MEASURED, "a portrait on a CPU, excluding the part that grows with its size"),
    "cpu_ms_megapixel": Input(6.16, "core-ms", MEASURED, "each additional megapixel"),
    "cpu_ms_face": Input(5.24, "core-ms", MEASURED, "each additional face"),
    "overhead": Input(1.10, "", MEASURED, "measured run relative to these sums: 24.2 core-ms for a London portrait"),
    "io_ms": Input(1.6, "core-ms", MEASURED, "reading, hashing, writing and the manifest, always on the CPU"),
    "start": Input(60, "s", ASSUMED, "startup time of a machine, paid but unproductive"),
    "cpu_cores": Input(64, "", ASSUMED, "cores of a machine without a GPU, as fast as the measured ones"),
    "cpu_price": Input(2.5, "$/h", ASSUMED, "price of that machine"),
    "cpu_network": Input(25, "Gbit/s", ASSUMED, "network of that machine, each way"),
    "gpus": Input(8, "", ASSUMED, "GPUs per machine"),
    "gpu_price": Input(3.0, "$/h", ASSUMED, "price of one GPU with its share of the machine"),
    "gpu_network": Input(100, "Gbit/s", ASSUMED, "network of a machine with GPUs, each way"),
    "gpu_cores": Input(16, "", ASSUMED, "CPU cores per GPU"),
    "gpu_decode": Input(3500, "MP/s", ASSUMED, "JPEG decoding by a GPU; not measured here"),
    "gpu_encode": Input(1500, "MP/s", ASSUMED, "JPEG encoding by a GPU; not measured here"),
    "gpu_detect": Input(10_000, "photos/s", ASSUMED, "detection by a GPU; not measured here"),
    "gpu_faces": Input(20_000, "faces/s", ASSUMED, "generator and blending by a GPU; not measured here"),
    "store_read": Input(100, "GB/s", ASSUMED, "read bandwidth of the store for all machines together"),
    "store_write": Input(50, "GB/s", ASSUMED, "write bandwidth of the store for all machines together"),
    "store_prefixes": Input(16, "", ASSUMED, "key prefixes that inputs and outputs are spread over"),
    "store_gets": Input(5500, "/s", DOCUMENTED, "reads per prefix (Amazon S3)"),
    "store_puts": Input(3500, "/s", DOCUMENTED, "writes per prefix (Amazon S3)"),
    "gets_price": Input(0.4, "$/million", DOCUMENTED, "price of reads (Amazon S3 Standard, list price)"),
    "puts_price": Input(5.0, "$/million", DOCUMENTED, "price of writes (Amazon S3 Standard, list price)"),
    "rows": Input(20_000, "/s", ASSUMED, "photos per second that the scheduling process can hand out and record"),
}
INPUTS: Final[Registry[Input]] = Registry("input of the model")
for _name, _input in _INPUTS.items():
    INPUTS.add(_name)(_input)


@dataclass(frozen=True)
class Estimate:
    """What so many machines (or GPUs) come to."""

    kind: str  # gpu or cpu
    count: int
    rate: float  # photos a second, at work
    limit: str  # what the next machine would wait for
    hours: float  # for the job, starting included
    cost: float  # $ for a million photos, store included


class Cluster:
    """The model, with some inputs of one's own.

    Raises:
        UsageError: there is no input of such a name, or its value is not above 0.
    """

    def __init__(self, given: Mapping[str, float] | None = None) -> None:
        self.values = {name: INPUTS[name].value for name in INPUTS}
        for name, value in (given or {}).items():
            unit = INPUTS[name].unit
            if not 0 < value < float("inf"):
                raise UsageError(f"{name} is {value:g} {unit}; it must be above 0")
            self.values[name] = value

    def core_seconds(self) -> float:
        """Of CPU cores, for one photo, where they do everything."""
        v = self.values
        ms = v["cpu_ms"] + v["cpu_ms_megapixel"] * v["megapixels"] + v["cpu_ms_face"] * max(0.0, v["faces"] - 1)
        return (ms + v["io_ms"]) / 1000

    def gpu_seconds(self) -> float:
        """Of one GPU, for one photo: its stages share the same CPUs and memory, so they add up."""
        v = self.values
        codec = v["megapixels"] * (1 / v["gpu_decode"] + 1 / v["gpu_encode"])
        return codec + 1 / v["gpu_detect"] + v["faces"] / v["gpu_faces"]

    def own(self, kind: str) -> dict[str, float]:
        """Photos a second that one machine (or GPU) could do, by what holds it up."""
        v = self.values
        bits = 8e6 * v["megabytes"]
        if kind == "cpu":
            cores = v["cpu_cores"] / (self.core_seconds() * v["overhead"])
            return {"cores": cores, "network": 1e9 * v["cpu_network"] / bits}
        return {
            "GPU": 1 / (self.gpu_seconds() * v["overhead"]),
            "cores": 1000 * v["gpu_cores"] / v["io_ms"],
            "network": 1e9 * v["gpu_network"] / v["gpus"] / bits,
        }

    def shared(self) -> dict[str, float]:
        """Photos a second that everything that all machines share allows, by its name."""
        v = self.values
        return {
            "store, reading": 1000 * v["store_read"] / v["megabytes"],
            "store, writing": 1000 * v["store_write"] / v["megabytes"],
            "store, requests": v["store_prefixes"] * min(v["store_gets"], v["store_puts"]),
            "manifest": v["rows"],
        }

    def estimate(self, kind: str, count: int) -> Estimate:
        """For ``count`` GPUs (``kind`` gpu) or machines (cpu)."""
        v = self.values
        limits = {name: count * rate for name, rate in self.own(kind).items()} | self.shared()
        limit = min(limits, key=lambda name: limits[name])
        rate = limits[limit]
        seconds = v["start"] + v["photos"] / rate
        machines = count * v[f"{kind}_price"] * seconds / 3600 / v["photos"] * 1e6
        return Estimate(kind, count, rate, limit, seconds / 3600, machines + v["gets_price"] + v["puts_price"])

    def most(self, kind: str) -> int:
        """As many GPUs or machines as are of use: one more waits for something that all share."""
        own, shared = min(self.own(kind).values()), min(self.shared().values())
        return max(1, int(shared / own))


def draw(model: Cluster, figure: Figure) -> None:
    """Photos a second and costs, by the number of GPUs or machines."""
    left, right = figure.subplots(1, 2)
    counts = [round(10 ** (n / 20)) for n in range(61)]
    for kind, name, colour in (("gpu", "GPUs (nothing measured)", COLOURS[0]), ("cpu", "CPU machines", COLOURS[1])):
        estimates = [model.estimate(kind, count) for count in counts]
        left.loglog(counts, [each.rate for each in estimates], color=colour, label=name)
        right.loglog(counts, [each.cost for each in estimates], color=colour, label=name)
    shared = model.shared()
    lowest = min(shared, key=lambda name: shared[name])
    left.axhline(shared[lowest], color="#555555", linewidth=0.8, linestyle=":", label=f"shared by all: {lowest}")
    left.set(xlabel="GPUs or machines", ylabel="photos per second, modelled")
    right.set(xlabel="GPUs or machines", ylabel="$ for a million photos, modelled")
    left.legend(fontsize=8)
    figure.suptitle("A model: arithmetic from assumptions, no measurement of a cluster or a GPU", fontsize=10)


def _given(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    numbers = {}
    for value in values:
        name, _, number = value.partition("=")
        try:
            numbers[name.strip().replace("-", "_")] = float(number)
        except ValueError:
            raise click.BadParameter(f"{value!r} is not of the form NAME=NUMBER, such as gpu_price=2.5") from None
    return numbers


@click.command()
@click.option(
    "--assume", "given", metavar="NAME=NUMBER", multiple=True, callback=_given,
    help="Another value for an input; once for each.",
)  # fmt: skip
@click.option("--inputs", "only_inputs", is_flag=True, help="List the inputs, and where each comes from, alone.")
@click.option("--json", "as_json", is_flag=True, help="Inputs and estimates as JSON on stdout.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.png", help="Draw it (needs matplotlib)."
)
def main(given: dict[str, float], only_inputs: bool, as_json: bool, plot: Path | None) -> None:
    """Model 1 to 1000 GPUs or machines: photos per second, costs, and where it stops growing.

    Arithmetic from inputs, most of which are assumptions that --assume replaces; no GPU and no cluster was measured.
    "waits for" names what holds the job up: cores, GPU and network are those of each machine, and more machines help;
    the store and the manifest are shared by all, and more machines do not help.
    """
    try:
        model = Cluster(given)
    except UsageError as error:
        raise click.UsageError(str(error)) from error
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
        _plot(model, plot)


def _origin(name: str, given: Mapping[str, float]) -> str:
    return "given" if name in given else INPUTS[name].origin


def _plot(model: Cluster, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    draw(model, figure)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
