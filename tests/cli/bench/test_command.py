"""The commands ``bench throughput`` and ``bench kernels``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from dadfi_fast.bench import kernels, throughput
from dadfi_fast.bench.rows import Row, summarise
from dadfi_fast.cli.bench import providers, scale
from dadfi_fast.kernels import binding
from dadfi_fast.protect.assembly import Assembly

Command = Callable[..., Result]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / "a.jpg")
    return folder


@pytest.fixture
def setups(monkeypatch: pytest.MonkeyPatch) -> list[throughput.Setup]:
    """What the benchmark was asked for; it is not run."""
    calls: list[throughput.Setup] = []

    class Bench:
        cases = ("one", "two")

        class backends:  # noqa: N801
            class chosen:  # noqa: N801
                describe = "openvino-cpu f32"

            missing = ("torch is not installed",)

        def __enter__(self) -> Bench:
            return self

        def __exit__(self, *_: object) -> None: ...

        def run(self, *, repeats: int, tick: Callable[[], object]) -> list[Row]:
            for _ in range(2 * (repeats + 1)):
                tick()
            facts = [{"share": 0.75, "slowest": True}, {"largest_difference_levels": 0.123}, {}]
            return [
                summarise(f"case {i}", "p", [float(i + 1)], unit="x", driver="", config=f) for i, f in enumerate(facts)
            ]

    def prepare(setup: throughput.Setup, scratch: Path) -> Bench:
        calls.append(setup)
        assert scratch.is_dir()
        return Bench()

    monkeypatch.setattr(throughput, "prepare", prepare)
    return calls


def test_a_table_goes_to_stdout_and_rows_are_appended(
    command: Command, photos: Path, setups: list[throughput.Setup], tmp_path: Path
) -> None:
    call = ("bench", "throughput", "--photos", photos, "--detector", "none", "--json", tmp_path / "rows.jsonl")
    for _ in range(2):
        result = command(*call, "--count", 5, "--repeats", 2, "--workers", 3, "--generator", "g")
        assert result.exit_code == 0, result.output
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["case", "provider", "unit", "p20", "p50", "p80", "n", "note"]
    assert "75% of the time, the slowest stage" in lines[0]
    assert "outputs at most 0.12 levels apart" in lines[1]
    assert "not measured: torch is not installed" in result.stderr
    assert len([json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]) == 6
    setup = setups[0]
    assert (setup.photos, setup.count, setup.workers) == (photos, 5, 3)
    assert setup.parts == Assembly(generator="g", backend="auto", device="auto", detector="none")


def test_quiet_says_nothing_on_stderr(command: Command, photos: Path, setups: list[throughput.Setup]) -> None:
    result = command("bench", "throughput", "--photos", photos, "--detector", "none", "--quiet")
    assert (result.stderr, len(setups)) == ("", 1)


def test_without_photos_the_examples_are_taken(
    command: Command, setups: list[throughput.Setup], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(scale, "EXAMPLES", tmp_path)
    assert command("bench", "throughput", "--detector", "none").exit_code == 0
    assert setups[0].photos == tmp_path
    monkeypatch.setattr(scale, "EXAMPLES", tmp_path / "not there")
    result = command("bench", "throughput", "--detector", "none")
    assert result.exit_code == 2
    assert "--photos" in result.stderr


@pytest.mark.parametrize("options", [["--count", "0"], ["--repeats", "0"], ["--workers", "0"], ["--photos", "no such"]])
def test_wrong_usage(command: Command, options: list[str]) -> None:
    assert command("bench", "throughput", *options).exit_code == 2


def test_both_are_listed(command: Command) -> None:
    text = command("bench", "--help").stdout
    assert "throughput" in text and "kernels" in text


ROW = summarise(
    "generator-s batch 1",
    "openvino-cpu bf16",
    [2.0],
    unit="crops/s",
    driver="",
    config={"largest_difference_levels": 0.5, "rms_difference_levels": 0.01},
)


def test_all_backends_are_measured_on_the_generator_alone(
    command: Command, photos: Path, setups: list[throughput.Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, object]] = []
    monkeypatch.setattr(providers, "side_by_side", lambda **settings: [calls.append(settings), ROW][1:])
    result = command("bench", "throughput", "--backend", "all", "--photos", photos, "--preset", "m", "--repeats", 2)
    assert result.exit_code == 0, result.stderr
    assert setups == []
    assert "outputs at most 0.5 levels apart (rms 0.01)" in result.stdout
    expected = {"photos": photos, "generator": None, "device": "auto", "presets": ("m",), "repeats": 2}
    assert expected.items() <= calls[0].items()


def test_presets_are_for_all_backends(command: Command, photos: Path) -> None:
    result = command("bench", "throughput", "--photos", photos, "--preset", "m")
    assert result.exit_code == 2
    assert "--preset is for --backend all" in result.stderr


class TestKernels:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kernels, "SIZE", 16)
        monkeypatch.setitem(kernels.BEYOND_CACHE, "cpu", 1 << 16)
        monkeypatch.setattr(kernels, "bodies", lambda: ({"torch eager": kernels.eager}, ["torch.compile: no compiler"]))

    @pytest.fixture
    def no_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(binding, "missing", lambda: "PyTorch finds no NVIDIA GPU")

    def test_without_a_gpu_it_says_so_and_measures_the_processor(
        self, command: Command, no_gpu: None, tmp_path: Path
    ) -> None:
        result = command("bench", "kernels", "--batch", 2, "--repeats", 2, "--json", tmp_path / "rows.jsonl")
        assert result.exit_code == 0, result.stderr
        assert "no kernel runs here (PyTorch finds no NVIDIA GPU): measuring the CPU implementations" in result.stderr
        assert "not measured: torch.compile: no compiler" in result.stderr
        rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
        assert [row["provider"] for row in rows] == ["torch-cpu", *["torch eager-cpu"] * 4]
        assert {row["unit"] for row in rows} == {"GB/s"}
        assert [line for line in result.stdout.splitlines() if "% of a copy" in line]

    def test_a_gpu_that_was_named_is_never_replaced(self, command: Command, no_gpu: None) -> None:
        result = command("bench", "kernels", "--device", "cuda")
        assert result.exit_code == 2
        assert "the kernels cannot run on cuda: PyTorch finds no NVIDIA GPU" in result.stderr

    @pytest.mark.gpu
    def test_on_a_gpu_every_version_has_its_row(self, command: Command, tmp_path: Path) -> None:
        if (why := binding.missing()) is not None:
            pytest.skip(why)
        result = command("bench", "kernels", "--repeats", 1, "--json", tmp_path / "rows.jsonl")
        assert result.exit_code == 0, result.stderr
        rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
        assert {"vectorised-cuda", "reference-cuda"} <= {row["provider"] for row in rows}
