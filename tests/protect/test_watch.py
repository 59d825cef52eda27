"""Watching: an input is ready once it was the same at two looks, and again only when it changes."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dadfi_fast.errors import UsageError
from dadfi_fast.faces.detector import Detector
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.discover import discover
from dadfi_fast.protect.interrupt import SIGNALS, interruptible
from dadfi_fast.protect.watch import UNFINISHED, Watcher, rounds
from tests.protect.conftest import Run


@pytest.fixture
def config(tmp_path: Path) -> ProtectConfig:
    """Protects ``in`` into ``out``."""
    (tmp_path / "in").mkdir()
    return ProtectConfig(sources=(str(tmp_path / "in"),), out=tmp_path / "out")


def ready(watcher: Watcher, config: ProtectConfig) -> set[str]:
    """What the next look finds ready."""
    count = watcher.look()
    items = [item for item in discover(config.sources, config.out) if watcher.is_ready(item)]
    assert len(items) == count
    return {item.name if hasattr(item, "name") else item.entry.name for item in items}


def write(config: ProtectConfig, name: str, content: bytes = b"x", *, age: float = 0) -> None:
    """A file that was changed ``age`` seconds ago."""
    path = Path(config.sources[0]) / name
    path.write_bytes(content)
    then = time.time() - age
    os.utime(path, (then, then))


def test_what_is_at_rest_at_the_start_is_ready_at_once(config: ProtectConfig) -> None:
    write(config, "old.jpg", age=60)
    write(config, "new.jpg")
    watcher = Watcher(config, rest=5)
    assert ready(watcher, config) == {"old.jpg"}
    watcher.settle()
    assert ready(watcher, config) == {"new.jpg"}  # the same at two looks
    watcher.settle()
    assert ready(watcher, config) == set()


def test_what_still_grows_is_waited_for(config: ProtectConfig) -> None:
    watcher = Watcher(config, rest=5)
    for content in (b"a", b"ab", b"abc"):
        write(config, "a.jpg", content, age=60)  # as `cp -p` writes, also once the walk has begun
        names = ready(watcher, config)
        assert names == (set() if content != b"a" else {"a.jpg"})
    assert ready(watcher, config) == {"a.jpg"}


def test_what_changes_is_ready_again(config: ProtectConfig) -> None:
    write(config, "a.jpg", age=60)
    watcher = Watcher(config, rest=5)
    watcher.look()
    watcher.settle()
    write(config, "a.jpg", b"other")
    assert ready(watcher, config) == set()
    assert ready(watcher, config) == {"a.jpg"}
    watcher.settle()
    (Path(config.sources[0]) / "a.jpg").unlink()
    assert ready(watcher, config) == set()
    write(config, "a.jpg", b"other", age=60)  # it is back, and was forgotten
    ready(watcher, config)
    assert ready(watcher, config) == {"a.jpg"}


def test_what_changes_after_the_look_is_not_ready(config: ProtectConfig) -> None:
    write(config, "a.jpg", age=60)
    watcher = Watcher(config, rest=5)
    assert watcher.look() == 1
    write(config, "a.jpg", b"more", age=30)
    assert not any(watcher.is_ready(item) for item in discover(config.sources, config.out))


@pytest.mark.parametrize("suffix", UNFINISHED)
def test_unfinished_downloads_are_left_alone(config: ProtectConfig, suffix: str) -> None:
    write(config, f"a.jpg{suffix}", age=60)
    assert Watcher(config, rest=5).look() == 0


def test_a_glob_may_match_nothing_yet(config: ProtectConfig, tmp_path: Path) -> None:
    globbed = ProtectConfig(sources=(str(tmp_path / "in" / "*.jpg"),), out=tmp_path / "out")
    watcher = Watcher(globbed, rest=5)
    assert watcher.look() == 0
    write(config, "a.jpg")
    watcher.look()
    assert watcher.look() == 1


def test_a_source_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    config = ProtectConfig(sources=(str(tmp_path / "missing"),), out=tmp_path / "out")
    with pytest.raises(UsageError, match="does not exist"):
        Watcher(config, rest=5).look()


def test_rounds_end_when_they_are_told(config: ProtectConfig) -> None:
    write(config, "a.jpg", age=60)
    stop, counts = threading.Event(), []
    started = time.monotonic()
    for _, count in rounds(config, interval=30, stop=stop):
        counts.append(count)
        stop.set()
    assert counts == [1] and time.monotonic() - started < 5


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_a_wish_and_the_second_an_order(number: int) -> None:
    import signal

    orders: list[Any] = []
    before = signal.signal(number, lambda *_: orders.append(number))
    try:
        with interruptible() as outer, interruptible() as inner:
            signal.raise_signal(number)
            assert inner.is_set() and not outer.is_set() and not orders
            signal.raise_signal(number)
            assert outer.is_set() and not orders
            signal.raise_signal(number)
            assert orders == [number]
        assert signal.getsignal(number) is not signal.SIG_DFL
        signal.raise_signal(number)
        assert len(orders) == 2
    finally:
        signal.signal(number, before)


def test_off_the_main_thread_nothing_is_changed() -> None:
    states: list[bool] = []

    def work() -> None:
        with interruptible() as stop:
            states.append(stop.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert states == [False]


def test_a_run_takes_only_what_is_ready(photos: Callable[..., Path], run: Callable[..., Any], tmp_path: Path) -> None:
    photos({"a.jpg": None, "b.jpg": None})
    _, rows = run(only=lambda item: item.name == "b.jpg")
    assert set(rows) == {"b.jpg"}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("same_size", [False, True])
def test_a_changed_file_is_protected_again(
    same_size: bool, photos: Callable[..., Path], run: Run, encoded: Callable[..., bytes], tmp_path: Path
) -> None:
    photo = photos({"a.png": encoded("PNG"), "b.jpg": None}) / "a.png"
    out = tmp_path / "out"
    run(renew=True)
    before = {name: (digest(out / name), (out / name).stat().st_mtime_ns) for name in ("a.png", "b.jpg")}
    other = encoded("PNG", size=(64, 48))
    photo.write_bytes(encoded("PNG") + b"\0" if not same_size else other)
    os.utime(photo, ns=(1, 1))
    content = photo.read_bytes()
    summary, rows = run(renew=False)
    assert (summary.written, summary.changed) == (0, 1)  # it is said, and stays, where nobody watches
    summary, rows = run(renew=True)
    assert (summary.written, summary.done) == (1, 1)
    assert rows["a.png"]["sha256_source"] == hashlib.sha256(content).hexdigest()
    assert rows["a.png"]["sha256_target"] == digest(out / "a.png")
    assert before["b.jpg"] == (digest(out / "b.jpg"), (out / "b.jpg").stat().st_mtime_ns)
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.jpg", "dadfi-manifest.jsonl"]
    summary, _ = run(renew=True)
    assert (summary.written, summary.done) == (0, 2)


def test_a_file_that_was_only_touched_is_not(photos: Callable[..., Path], run: Run) -> None:
    photo = photos({"a.jpg": None}) / "a.jpg"
    run(renew=True)
    os.utime(photo, ns=(1, 1))
    summary, _ = run(renew=True)
    assert (summary.written, summary.done) == (0, 1)


def test_what_is_not_ours_any_more_stays(photos: Callable[..., Path], run: Run, encoded: Any, tmp_path: Path) -> None:
    photo = photos({"a.jpg": None, "b.jpg": None}) / "a.jpg"
    run(renew=True)
    (tmp_path / "out" / "a.jpg").write_bytes(b"edited by somebody")
    photo.write_bytes(encoded(size=(64, 48)))
    summary, _ = run(renew=True)
    assert (summary.written, summary.changed) == (0, 1)
    assert (tmp_path / "out" / "a.jpg").read_bytes() == b"edited by somebody"


@pytest.mark.parametrize("between", ["failed", "skipped"])
def test_a_change_that_comes_in_two_halves(
    between: str, photos: Callable[..., Path], run: Run, encoded: Any, nobody: Detector, tmp_path: Path
) -> None:
    photo, result = photos({"a.jpg": None}) / "a.jpg", tmp_path / "out" / "a.jpg"
    run(renew=True, no_face="skip")
    first, whole = digest(result), encoded(size=(480, 640))
    if between == "failed":
        photo.write_bytes(whole[: len(whole) // 3])
        _, rows = run(renew=True, no_face="skip")
    else:
        photo.write_bytes(encoded(size=(48, 48)))
        _, rows = run(renew=True, no_face="skip", detector=nobody)
    assert rows["a.jpg"]["status"] == between and digest(result) == first
    photo.write_bytes(whole)
    summary, rows = run(renew=True, no_face="skip")
    assert summary.written == 1 and rows["a.jpg"]["sha256_target"] == digest(result) != first


def test_killed_between_row_and_file_it_is_done_again(
    photos: Callable[..., Path], run: Run, encoded: Any, tmp_path: Path
) -> None:
    photo, result = photos({"a.jpg": None}) / "a.jpg", tmp_path / "out" / "a.jpg"
    manifest = tmp_path / "out" / "dadfi-manifest.jsonl"
    run(renew=True)
    first, row = result.read_bytes(), manifest.read_bytes()
    photo.write_bytes(encoded(size=(64, 48)))
    run(renew=True)
    second = result.read_bytes()
    result.write_bytes(first)
    manifest.write_bytes(row + manifest.read_bytes())
    summary, _ = run(renew=True)
    assert summary.written == 1 and result.read_bytes() == second != first
