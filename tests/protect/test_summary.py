"""The summary: every outcome counted once, and only the first failures kept word for word."""

from __future__ import annotations

from pathlib import Path

import pytest

from dadfi_fast.cli.protect import messages
from dadfi_fast.images.tag import ALREADY
from dadfi_fast.protect.results import Copied, Done, Entry, Failed, Skipped, Written
from dadfi_fast.protect.resume import CHANGED
from dadfi_fast.protect.strength import unbroken
from dadfi_fast.protect.summary import SHOWN, Summary
from dadfi_fast.types import Face


def test_counts() -> None:
    entry, face = Entry(Path("a"), "a", "a", 1, 1), Face(0, 0, 1, 1, 0.9)
    summary = Summary()
    for outcome in (
        Written(entry, "a", (face, face), 6, "s", "t"),
        Written(entry, "a", (face,), 5, "s", "t"),
        Copied(entry, "a", "no face found", "s", "s"),
        Skipped(entry, "not an image", picture=False),
        Skipped(entry, f"a: {CHANGED}; pass --on-exists overwrite or rename"),
        Done(entry, "written", "a"),
        *[Failed(entry, "read", OSError(number)) for number in range(SHOWN + 5)],
    ):
        summary.add(outcome)
    figures = summary.to_dict()
    counts = [
        figures[name] for name in ("total", "written", "copied", "skipped", "done", "failed", "other", "faces", "linf")
    ]
    assert counts == [31, 2, 1, 2, 1, 25, 1, 3, 6]
    assert figures["changed"] == 1
    assert summary.pictures == 30 and figures["seconds"] >= 0
    assert len(figures["failures"]) == SHOWN and figures["failures"][3] == {"source": "a", "error": "read: 3"}


def test_a_later_run_is_added() -> None:
    entry = Entry(Path("a"), "a", "a", 1, 1)
    total, later = Summary(), Summary()
    total.add(Failed(entry, "read", OSError("the first")))
    later.add(Skipped(entry, ALREADY))
    later.add(Skipped(entry, "not an image", picture=False))
    for number in range(SHOWN):
        later.add(Failed(entry, "read", OSError(number)))
    total.absorb(later)
    assert (total.failed, total.skipped, total.already, total.other) == (SHOWN + 1, 2, 1, 1)
    assert len(total.failures) == SHOWN and total.failures[0] == ("a", "read: the first")
    assert total.to_dict()["already"] == 1 and total.to_dict()["bottleneck"] is None


def test_photos_with_a_face_that_no_strength_breaks_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    entry = Entry(Path("a"), "a", "a", 1, 1)
    total, later = Summary(), Summary()
    for notes in ((), ("dropped trailing video", unbroken(1, 1)), (unbroken(2, 3),)):
        later.add(Written(entry, "a", (), 6, "s", "t", notes=notes))
    total.absorb(later)
    assert total.unbroken == total.to_dict()["unbroken"] == 2
    messages.show(total, verbose=False)
    assert "no strength that --strength auto tries breaks enough fakes in 2 results" in capsys.readouterr().err
    messages.show(Summary(), verbose=False)
    assert "--strength auto" not in capsys.readouterr().err
