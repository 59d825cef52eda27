"""The model of many machines: its arithmetic, by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from dadfi_fast.errors import UsageError

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from cluster_cost import INPUTS, KINDS, Cluster, main

#: Numbers that can be worked out in one's head. A CPU machine does 100 photos/s, a GPU 1000, the store takes 50,000.
SIMPLE = {
    "photos": 1e6, "megapixels": 1, "faces": 1, "megabytes": 1, "cpu_ms": 8, "cpu_ms_megapixel": 1, "cpu_ms_face": 5,
    "overhead": 1, "io_ms": 1, "start": 100, "cpu_cores": 1, "cpu_price": 3.6, "cpu_network": 8, "gpus": 8,
    "gpu_price": 36, "gpu_network": 80, "gpu_cores": 2, "gpu_decode": 4000, "gpu_encode": 4000, "gpu_detect": 4000,
    "gpu_faces": 4000, "store_read": 1000, "store_write": 1000, "store_prefixes": 100, "store_gets": 500,
    "store_puts": 600, "gets_price": 1, "puts_price": 2, "rows": 1e6,
}  # fmt: skip


def model(**changed: float) -> Cluster:
    """The simple one, but for ``changed``."""
    return Cluster({**SIMPLE, **changed})


def test_simple_names_every_input() -> None:
    assert set(SIMPLE) == set(INPUTS)


def test_what_a_photo_takes() -> None:
    assert model().core_seconds() == pytest.approx(0.010)
    assert model(megapixels=3, faces=3).core_seconds() == pytest.approx(0.022)  # 8 + 3 x 1 + 2 x 5 + 1
    assert model().gpu_seconds() == pytest.approx(0.001)
    assert model(faces=5, megapixels=2).gpu_seconds() == pytest.approx(0.0025)  # (2 + 2 + 1 + 5) / 4000


@pytest.mark.parametrize(
    ("kind", "changed", "count", "rate", "limit"),
    [
        ("cpu", {}, 1, 100, "cores"),
        ("cpu", {"overhead": 1.25}, 1, 80, "cores"),
        ("cpu", {"cpu_network": 0.4}, 2, 100, "network"),  # 50 photos of 8 Mbit a second and machine
        ("cpu", {}, 1000, 50_000, "store, requests"),
        ("gpu", {}, 1, 1000, "GPU"),
        ("gpu", {}, 40, 40_000, "GPU"),
        ("gpu", {"gpu_cores": 0.5}, 4, 2000, "cores"),
        ("gpu", {"gpu_network": 32}, 8, 4000, "network"),
        ("gpu", {"store_read": 20}, 1000, 20_000, "store, reading"),
        ("gpu", {"store_write": 10}, 1000, 10_000, "store, writing"),
        ("gpu", {"rows": 5000}, 1000, 5000, "manifest"),
    ],
)
def test_the_slowest_limits(kind: str, changed: dict[str, float], count: int, rate: float, limit: str) -> None:
    estimate = model(**changed).estimate(kind, count)
    assert (estimate.rate, estimate.limit) == (pytest.approx(rate), limit)


def test_costs() -> None:
    one = model().estimate("gpu", 1)
    assert one.hours == pytest.approx(1100 / 3600)  # 100 s to start, 1000 s at work
    assert one.cost == pytest.approx(11 + 3)  # 1100 s at $0.01; $3 for the requests
    ten = model().estimate("gpu", 10)
    assert ten.cost == pytest.approx(20 + 3)  # each of the ten starts for 100 s


@pytest.mark.parametrize(("kind", "most"), [("gpu", 50), ("cpu", 500)])
def test_where_it_stops(kind: str, most: int) -> None:
    assert model().most(kind) == most
    at, beyond = model().estimate(kind, most), model().estimate(kind, 2 * most)
    assert at.rate == pytest.approx(beyond.rate) and beyond.cost > at.cost


def test_more_never_slows_and_never_stops_costing() -> None:
    for kind in KINDS:
        estimates = [Cluster().estimate(kind, count) for count in (1, 3, 10, 30, 100, 300, 1000)]
        rates = [each.rate for each in estimates]
        assert rates == sorted(rates) and estimates[-1].cost > estimates[0].cost


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gpu_pric": 3.0}, "did you mean 'gpu_price'"),
        ({"gpus": 0.0}, "gpus is 0 ; it must be above 0"),
        ({"rows": float("nan")}, "must be above 0"),
        ({"rows": float("inf")}, "must be above 0"),
    ],
)
def test_what_cannot_be_assumed(values: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Cluster(values)


def test_what_concerns_a_gpu_is_an_assumption() -> None:
    assert {INPUTS[name].origin for name in INPUTS if name.startswith("gpu")} == {"assumed"}


def tool(*words: object) -> Result:
    """What ``python tools/cluster_cost.py`` does with these words."""
    return CliRunner().invoke(main, list(map(str, words)))


def test_inputs_and_estimates() -> None:
    result = tool()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split()[:4] == ["input", "value", "unit", "origin"]
    assert sum(line.startswith(("gpu  ", "cpu  ")) for line in lines) == 22
    assert "GPUs wait for what they share" in lines[-2]


def test_json_and_other_assumptions() -> None:
    usual, cheaper = (
        json.loads(tool("--json", *more).stdout)
        for more in ((), ("--assume", "gpu-price=1.5", "--assume", "rows=1000"))
    )
    price = next(each for each in cheaper["inputs"] if each["name"] == "gpu_price")
    assert (price["value"], price["origin"]) == (1.5, "given")
    assert cheaper["estimates"][0]["cost"] < usual["estimates"][0]["cost"]
    assert cheaper["estimates"][10]["limit"] == "manifest" and cheaper["most"]["gpu"] < usual["most"]["gpu"]


def test_inputs_alone() -> None:
    assert "$/million\n" not in tool("--inputs").stdout


@pytest.mark.parametrize(
    ("value", "message"), [("gpus", "NAME=NUMBER"), ("gpus=many", "NAME=NUMBER"), ("gpu=3", "did you mean 'gpus'")]
)
def test_wrong_assumptions(value: str, message: str) -> None:
    result = tool("--assume", value)
    assert result.exit_code == 2 and message in result.stderr


def test_the_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra evaluate is not installed")
    assert tool("--plot", tmp_path / "c.png").exit_code == 0
    with Image.open(tmp_path / "c.png") as drawn:
        assert drawn.size[0] > 900
