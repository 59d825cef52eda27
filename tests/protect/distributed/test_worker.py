"""One worker: it works where it can, says where it cannot, and reports in a form that travels."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.backends.generator_file import load_generator_file
from dadfi_fast.errors import BackendMissing, DiskError, UsageError
from dadfi_fast.protect.config import DEFAULT_STRENGTH, ProtectConfig
from dadfi_fast.protect.discover import discover
from dadfi_fast.protect.distributed.manifest_shards import read_shard
from dadfi_fast.protect.distributed.worker import GeneratorContextFactory, Task, Worker, WorkerContext, _portable
from dadfi_fast.protect.interrupt import Stop
from dadfi_fast.protect.manifest import NAME, Facts
from dadfi_fast.protect.results import Failed
from dadfi_fast.protect.strength import judge_cards
from dadfi_fast.storage.disk import OutFolder

Fill = Callable[[dict[str, bytes | None]], Path]


@pytest.fixture
def config(tmp_path: Path) -> ProtectConfig:
    """A run that has begun."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / NAME).touch()
    return ProtectConfig(sources=(str(tmp_path / "in"),), out=tmp_path / "out", detector="none", workers=1)


@pytest.fixture
def context(stripes: Any) -> WorkerContext:
    """Toys."""
    from dadfi_fast.faces.none import Whole

    return WorkerContext(Whole(), stripes(during=lambda _: None), Facts("fingerprint", "toy", "toy: for tests"))


def task(config: ProtectConfig) -> Task:
    """Everything."""
    return Task("1-000001", tuple(discover(config.sources, config.out)))


def test_a_share_is_worked_on(photos: Fill, config: ProtectConfig, context: WorkerContext) -> None:
    photos({"a.jpg": None, "b.jpg": None, "n.txt": b"hi"})
    report = Worker(config, lambda _: context, NAME).do(task(config), Stop())
    assert [each.entry.name for each in report.outcomes] == ["a.jpg", "b.jpg", "n.txt"] and report.fault is None
    assert report.facts == context.facts and report.stages["encode"][0] == 2
    rows = read_shard(config.out, context.facts, "1-000001")
    assert [row["target"] for row in rows] == ["a.jpg", "b.jpg", None]
    sent = pickle.loads(pickle.dumps(report))
    assert sent.outcomes == report.outcomes and sent.outcomes[0].entry.clock.seconds > 0


def test_told_to_stop_it_takes_no_more(photos: Fill, config: ProtectConfig, context: WorkerContext) -> None:
    photos({f"{n:02}.jpg": None for n in range(20)})
    stop = Stop()
    stop.set()
    assert Worker(config, lambda _: context, NAME).do(task(config), stop).outcomes == ()


def test_a_full_disk_is_reported_with_what_was_done(
    photos: Fill, config: ProtectConfig, context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos({f"{n}.jpg": None for n in range(5)})
    worker = Worker(config, lambda _: context, NAME)
    commit = OutFolder.commit

    def full(self: OutFolder, temporary: Path, target: str) -> None:
        if target == "3.jpg":
            raise DiskError("the disk is full")
        commit(self, temporary, target)

    monkeypatch.setattr(OutFolder, "commit", full)
    report = worker.do(task(config), Stop())
    assert isinstance(report.fault, DiskError) and len(report.outcomes) == 3
    assert sorted(path.name for path in config.folder.glob("*.jpg")) == ["0.jpg", "1.jpg", "2.jpg"]
    assert not list(config.folder.glob("*.partial"))


def test_a_folder_of_another_machine_is_refused(config: ProtectConfig, context: WorkerContext) -> None:
    (config.folder / NAME).unlink()
    with pytest.raises(UsageError, match="is a different folder on this machine"):
        Worker(config, lambda _: context, NAME)


def test_sources_of_another_machine_are_refused(
    photos: Fill, config: ProtectConfig, context: WorkerContext, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="in does not exist on this machine"):
        Worker(config, lambda _: context, NAME)
    photos({"a.jpg": None})
    several = (str(tmp_path / "in"), str(tmp_path / "in" / "*.jpg"), (tmp_path / "in").as_uri())
    Worker(replace(config, sources=several), lambda _: context, NAME)


RECIPE = GeneratorContextFactory(
    generator="generator-s", sha256="", backend="openvino", detector="none", detector_model=None
)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"sha256": "of another version"}, UsageError, "generator-s is a different file on this machine"),
        ({"backend": "tensorrt"}, BackendMissing, "tensorrt"),
        ({"detector": "yunet"}, BackendMissing, "yunet"),
    ],
)
def test_what_cannot_be_made_is_said(
    config: ProtectConfig, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    factory = replace(RECIPE, sha256=load_generator_file("generator-s").sha256)
    with pytest.raises(error, match=words):
        replace(factory, **change)(config)


def test_the_recipe_makes_what_the_options_name(config: ProtectConfig) -> None:
    sha256 = load_generator_file("generator-s").sha256
    context = pickle.loads(pickle.dumps(replace(RECIPE, sha256=sha256)))(replace(config, strength=0.03, workers=8))
    assert context.detector.name == "none" and context.attack.budget.eps == 0.03
    assert context.facts.generator == sha256 and context.facts.config == replace(config, strength=0.03).fingerprint
    assert context.facts.backend.startswith("openvino-cpu") and context.facts.backend.endswith(
        "4 faces a call, 8 workers"
    )


class Awkward(Exception):
    """Can be pickled, and not be read again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


@pytest.mark.parametrize(("error", "kept"), [(ValueError("broken"), True), (Awkward("bro", "ken"), False)])
def test_errors_travel(error: Exception, kept: bool, config: ProtectConfig, photos: Fill) -> None:
    photos({"a.jpg": None})
    [entry] = discover(config.sources, config.out)
    sent = pickle.loads(pickle.dumps(_portable(Failed(entry, "decode", error))))  # type: ignore[arg-type]
    assert str(sent.error) == "broken" and (type(sent.error) is type(error)) is kept


def test_the_models_to_choose_strengths_by_are_those_of_the_run(config: ProtectConfig) -> None:
    generator = load_generator_file("generator-s")
    factory = replace(RECIPE, sha256=generator.sha256)
    hashes = tuple(card.sha256 for card in judge_cards(generator))
    context = factory(replace(config, strength="auto", judges=hashes))
    assert context.judges is not None and context.attack.budget.eps == DEFAULT_STRENGTH
    assert factory(config).judges is None
    with pytest.raises(UsageError, match="the deepfake models that --strength auto chooses by are different"):
        factory(replace(config, strength="auto", judges=(*hashes, "of an added model")))
