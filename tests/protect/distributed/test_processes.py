"""Two processes on a CPU: the same rows and files as one, also where one of them is killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.backends.generator_file import load_generator_file
from dadfi_fast.errors import UsageError
from dadfi_fast.faces.none import Whole
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.distributed import chunker
from dadfi_fast.protect.distributed.manifest_shards import leftover_shards
from dadfi_fast.protect.distributed.processes import Processes
from dadfi_fast.protect.distributed.run import protect_distributed
from dadfi_fast.protect.distributed.worker import ContextFactory, GeneratorContextFactory
from dadfi_fast.protect.manifest import NAME, Facts
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.pipeline import protect
from dadfi_fast.protect.results import Outcome
from dadfi_fast.protect.summary import Summary
from tests.protect.distributed.fatal import Fatal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
]
Fill = Callable[[dict[str, bytes | None]], Path]


@pytest.fixture
def forty(photos: Fill) -> list[str]:
    """Forty photos and a text; their names in order."""
    names = [f"{n % 3}/{n:02}.jpg" for n in range(40)]
    photos({**dict.fromkeys(names), "n.txt": b"hi"})
    return ["n.txt", *sorted(names)]


@pytest.fixture
def factory() -> GeneratorContextFactory:
    """The real generator; whole pictures are faces."""
    sha256 = load_generator_file("generator-s").sha256
    return GeneratorContextFactory(
        generator="generator-s", sha256=sha256, backend="openvino", detector="none", detector_model=None
    )


def settings(tmp_path: Path, out: str) -> ProtectConfig:
    """A run of one thread a process."""
    return ProtectConfig(sources=(str(tmp_path / "in"),), out=tmp_path / out, detector="none", workers=1, batch=2)


def by_two(
    config: ProtectConfig, factory: ContextFactory, tick: Callable[[Outcome], object] = lambda _: None
) -> tuple[Summary, list[str]]:
    """Protects; gives the summary, and what was said."""
    said: list[str] = []
    with closing(Processes([config] * 2, factory)) as pool:
        summary = protect_distributed(
            pool, config, facts=Facts(config.fingerprint, load_generator_file("generator-s").sha256, ""),
            say=said.append, meter=Meter(compute=2, disk=12, generators=2), tick=tick,
        )  # fmt: skip
    return summary, said


def rows(out: Path) -> list[dict[str, Any]]:
    """The manifest, without what differs from run to run."""
    return [{**json.loads(line), "seconds": None} for line in (out / NAME).read_text().splitlines()]


def files(out: Path) -> dict[str, bytes]:
    """Everything but the manifest."""
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != NAME}


def whole(out: Path) -> None:
    """Every file is the one that its row tells of, and there is no other."""
    told = {row["target"]: row["sha256_target"] for row in rows(out) if row["target"]}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in files(out).items()} == told


def test_the_same_as_by_one(forty: list[str], factory: GeneratorContextFactory, tmp_path: Path) -> None:
    one, two = settings(tmp_path, "one"), settings(tmp_path, "two")
    context = factory(one)
    expected = protect(one, detector=Whole(), attack=context.attack, facts=context.facts)
    came: list[str] = []
    summary, said = by_two(two, factory, lambda outcome: came.append(outcome.entry.name))
    assert (summary.written, summary.skipped) == (expected.written, expected.skipped) == (40, 1)
    assert came == forty and rows(two.folder) == rows(one.folder) and files(two.folder) == files(one.folder)
    assert said == [f"workers: {context.facts.backend}"]
    again, _ = by_two(two, factory)
    assert (again.done, again.written) == (41, 0)


def test_one_is_killed(
    forty: list[str], factory: GeneratorContextFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunker, "SIZES", (4, 4))
    config = settings(tmp_path, "out")
    summary, said = by_two(config, Fatal(factory, tmp_path / "died"))
    assert [line for line in said if "was lost (killed by SIGKILL)" in line and "of its 4 inputs" in line]
    assert (summary.written, summary.failed, summary.done) == (40, 0, 0)
    assert [row["source"] for row in rows(config.folder)] == forty
    whole(config.folder)


#: Says who its workers are once there are files, and goes on.
SCRIPT = """
import sys
from pathlib import Path
from dadfi_fast.backends.generator_file import load_generator_file
from dadfi_fast.protect.distributed import chunker
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.distributed.processes import Processes
from dadfi_fast.protect.manifest import Facts
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.distributed.run import protect_distributed
from dadfi_fast.protect.distributed.worker import GeneratorContextFactory

chunker.SIZES = (4, 4)
sha256 = load_generator_file("generator-s").sha256
factory = GeneratorContextFactory(
    generator="generator-s", sha256=sha256, backend="openvino", detector="none", detector_model=None
)
config = ProtectConfig(sources=(sys.argv[1],), out=Path(sys.argv[2]), detector="none", workers=1, batch=4)
pool = Processes([config] * 2, factory)
told = []

def tick(outcome):
    if not told:
        told.append(print(*(hand.process.pid for hand in pool._hands.values()), flush=True))

facts = Facts(config.fingerprint, sha256, "")
summary = protect_distributed(pool, config, facts=facts, meter=Meter(compute=2, disk=12, generators=2), tick=tick)
pool.close()
print("interrupted" if summary.interrupted else "done", summary.written, flush=True)
"""


@pytest.fixture
def begun(forty: list[str], tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A run of two workers in a process group of its own, and who they are."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "in"), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        yield process, [int(word) for word in process.stdout.readline().split()]
        process.kill()


def gone(number: int) -> bool:
    """Whether a process has ended."""
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
def test_the_run_is_killed(
    begun: tuple[subprocess.Popen[str], list[int]], forty: list[str], factory: GeneratorContextFactory, tmp_path: Path
) -> None:
    process, workers = begun
    process.kill()
    end = time.monotonic() + 30
    while not all(map(gone, workers)):  # nobody tells them: they see the pipe's end
        assert time.monotonic() < end, "a worker outlives its run"
        time.sleep(0.05)
    config = settings(tmp_path, "out")
    before = {path: path.stat().st_mtime_ns for path in config.folder.rglob("*.jpg")}
    context = factory(config)
    summary = protect(config, detector=Whole(), attack=context.attack, facts=context.facts)  # by one process, for once
    assert summary.done >= len(before) > 0 and summary.done + summary.written + summary.skipped == 41
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing twice
    assert sorted(row["source"] for row in rows(config.folder)) == sorted(forty)
    whole(config.folder)
    assert leftover_shards(config.folder) == []


def test_ctrl_c(
    begun: tuple[subprocess.Popen[str], list[int]], factory: GeneratorContextFactory, tmp_path: Path
) -> None:
    process, workers = begun
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
    assert process.stdout is not None
    word, written = process.stdout.read().split()
    assert process.wait(30) == 0 and word == "interrupted" and 0 < int(written) < 40
    config = settings(tmp_path, "out")
    assert len(rows(config.folder)) >= int(written) and leftover_shards(config.folder) == []
    whole(config.folder)
    summary, _ = by_two(config, factory)
    assert summary.written == 40 - int(written) and workers


def test_what_a_worker_refuses_ends_the_run(forty: list[str], factory: GeneratorContextFactory, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a different file on this machine"):
        by_two(settings(tmp_path, "out"), replace(factory, sha256="of another version"))
