"""What a manifest says of the files that were not protected."""

from __future__ import annotations

import json
from pathlib import Path

from dadfi_fast.check.manifest_summary import ManifestSummary, Unprotected, read_manifest_summary
from dadfi_fast.check.pairs import MANIFEST

MAKER = {"generator": "abc", "config": "f00", "backend": "openvino-cpu: the fastest"}


def written(folder: Path, *rows: dict[str, object]) -> ManifestSummary:
    (folder / MANIFEST).write_text("".join(f"{json.dumps({**MAKER, **row})}\n" for row in rows), encoding="utf-8")
    return read_manifest_summary(folder)


def test_each_kind_has_its_reason(tmp_path: Path) -> None:
    failed = {"hop": "decode", "type": "PhotoError", "message": "it is torn"}
    scope = written(
        tmp_path,
        {"source": "a.jpg", "status": "written"},
        {"source": "b.jpg", "status": "copied", "reason": "no face found"},
        {"source": "c.txt", "status": "skipped", "reason": "not an image"},
        {"source": "d.jpg", "status": "failed", "error": failed},
        {"source": "e.jpg", "status": "failed", "error": None},
    )
    assert scope.left == (
        Unprotected("b.jpg", "copied unprotected", "no face found"),
        Unprotected("c.txt", "left out", "not an image"),
        Unprotected("d.jpg", "failed", "it is torn"),
        Unprotected("e.jpg", "failed", "no reason given"),
    )
    assert scope.makers == ("generator sha256 abc, options f00, openvino-cpu: the fastest",)


def test_the_last_row_of_an_input_counts(tmp_path: Path) -> None:
    scope = written(
        tmp_path,
        {"source": "a.jpg", "status": "failed"},
        {"source": "a.jpg", "status": "written"},
        {"source": "b.jpg", "status": "written", "generator": "old"},
        {"source": "b.jpg", "status": "copied", "reason": "no face found"},
    )
    assert [left.name for left in scope.left] == ["b.jpg"]
    assert len(scope.makers) == 2


def test_what_was_refined_is_told_with_its_models(tmp_path: Path) -> None:
    refined = {"steps": 20, "look": 75, "seed": 1, "models": {"mine": "0123456789abcdef", "stgan-128": "f" * 64}}
    rows = [{"source": name, "status": "written", "refined": refined} for name in ("a.jpg", "b.jpg")]
    scope = written(tmp_path, *rows, {"source": "c.jpg", "status": "written"})
    said = (
        "refined in 20 white-box steps against mine (0123456789ab), stgan-128 (ffffffffffff), to look like JPEG 75 at"
        " worst (seed 1)"
    )
    assert scope.refined == (said,)
    plain = "generator sha256 abc, options f00, openvino-cpu: the fastest"
    assert scope.makers == (f"{plain}; {said}", plain)


def test_a_foreign_row_is_told_as_far_as_it_goes(tmp_path: Path) -> None:
    scope = written(tmp_path, {"source": "a.jpg", "status": "written", "refined": {"models": ["x"]}})
    assert scope.refined == (
        "refined in None white-box steps against unknown models, to look like JPEG None at worst (seed None)",
    )


def test_strengths_are_counted(tmp_path: Path) -> None:
    named: list[object] = [0.05, 0.03, 0.05, None, "strong", [0.04]]
    scope = written(tmp_path, *({"source": f"{n}", "status": "written", "strength": s} for n, s in enumerate(named)))
    assert scope.strengths == ((0.03, 1), (0.05, 2))


def test_without_a_manifest_nothing_is_known(tmp_path: Path) -> None:
    assert read_manifest_summary(tmp_path) == ManifestSummary()
    assert read_manifest_summary(tmp_path / "a.jpg") == ManifestSummary()
