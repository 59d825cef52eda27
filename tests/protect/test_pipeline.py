"""A run from folder to folder: every input gets its outcome, and the same command again does only what is left."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from dadfi_fast.attacks.generator import GeneratorAttack
from dadfi_fast.backends.generator_file import load_generator_file
from dadfi_fast.backends.registry import choose
from dadfi_fast.errors import DiskError, UsageError
from dadfi_fast.images import icc
from dadfi_fast.images.jpeg import read_header, with_metadata
from dadfi_fast.protect.manifest import NAME
from dadfi_fast.types import Budget, Float32, Metadata, UInt8
from tests.protect.conftest import Stripes

Make = Callable[..., bytes]
Fill = Callable[[dict[str, bytes | None]], Path]
Run = Callable[..., Any]


def files(folder: Path) -> dict[str, bytes]:
    """Everything but the manifest."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != NAME)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_tree_is_protected(photos: Fill, run: Run, encoded: Make, tmp_path: Path) -> None:
    source = photos(
        {"a.jpg": None, "sub/b.png": encoded("PNG", "RGBA"), "sub/deep/c.webp": encoded("WEBP"), "n.txt": b"hi"}
    )
    before = files(source)
    summary, rows = run(verify=1.0)
    assert (summary.written, summary.skipped, summary.other, summary.failed) == (3, 1, 1, 0)
    out = files(tmp_path / "out")
    assert list(out) == ["a.jpg", "sub/b.png", "sub/deep/c.webp"] and files(source) == before
    for name, content in out.items():
        row = rows[name]
        assert row["status"] == "written" and row["target"] == name and row["linf"] == 6 and row["error"] is None
        assert row["sha256_source"] == hashlib.sha256(before[name]).hexdigest()
        assert row["sha256_target"] == hashlib.sha256(content).hexdigest()
        assert len(row["faces"]) == 1 and row["seconds"] > 0
        assert row["written"]["psnr"] > 25
    assert rows["sub/b.png"]["written"]["linf"] == 6  # lossless: just what was handed to the encoder
    assert rows["n.txt"]["status"] == "skipped" and rows["n.txt"]["reason"] == "not an image"


def test_the_order_is_that_of_the_inputs(photos: Fill, run: Run, encoded: Make) -> None:
    sizes = {f"{n:02}.jpg": encoded(size=(8 + 150 * (n % 3), 60)) for n in range(30)}
    photos(sizes)
    _, rows = run(workers=4, batch=4)
    assert list(rows) == sorted(sizes)


def test_crops_are_as_large_as_the_attack_takes_them(photos: Fill, run: Run) -> None:
    shapes: list[tuple[int, ...]] = []

    class Small(Stripes):
        crop_size = 32

        def run(self, crops: Float32) -> Float32:
            shapes.append(crops.shape)
            return super().run(crops)

    photos({"a.jpg": None})
    _, rows = run(attack=Small(Budget(0.05)))
    assert shapes == [(1, 3, 32, 32)] and rows["a.jpg"]["linf"] == 6


def test_threads_and_batches_change_no_byte(photos: Fill, run: Run, tmp_path: Path) -> None:
    photos({f"{n}.jpg": None for n in range(7)})
    run(out=tmp_path / "one", workers=1, batch=1)
    run(out=tmp_path / "two", workers=4, batch=5)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_metadata_travel_and_the_photo_is_upright(
    photos: Fill, run: Run, encoded: Make, exif_block: Make, tmp_path: Path
) -> None:
    profile, packet = icc.profile(icc.SRGB, (2.2,), "a display"), b'<x tiff:Orientation="6" dc:rights="mine"/>'
    metadata = Metadata(exif=exif_block(turn=6), icc=profile, xmp=packet, dpi=(300, 300))
    photos({"a.jpg": with_metadata(encoded(quality=88, subsampling="4:2:2", size=(40, 64)), metadata)})
    run()
    header = read_header((tmp_path / "out" / "a.jpg").read_bytes())
    assert (header.width, header.height) == (40, 64)
    assert header.metadata.icc == profile
    assert header.metadata.xmp is not None
    assert header.metadata.xmp.startswith(b'<x tiff:Orientation="1" dc:rights="mine"/><?dadfi-fast ')
    assert header.metadata.dpi == (300, 300) and header.subsampling == "4:2:2"
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        assert image.getexif()[0x0112] == 1 and image.getexif().get_ifd(0x8825)[2] == (51, 30, 12)


@pytest.mark.parametrize(
    ("policy", "form", "status", "same"),
    [
        ("copy", "keep", "copied", True),
        ("copy", "png", "copied", False),  # bytes cannot stay where another format is asked for
        ("skip", "keep", "skipped", None),
        ("whole", "keep", "written", False),
    ],
)
def test_photos_without_a_face(
    photos: Fill, run: Run, nobody: Any, tmp_path: Path, policy: str, form: str, status: str, same: bool | None
) -> None:
    source = photos({"a.jpg": None})
    _, rows = run(detector=nobody, no_face=policy, format=form)
    assert rows["a.jpg"]["status"] == status
    out = files(tmp_path / "out")
    if same is None:
        assert out == {}
    else:
        assert (out == files(source)) is same
        assert list(out) == [rows["a.jpg"]["target"]] == ["a.png" if form == "png" else "a.jpg"]


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_places_are_stripped_from_copies_too(
    photos: Fill, run: Run, nobody: Any, encoded: Make, exif_block: Make, tmp_path: Path, form: str
) -> None:
    data = (
        with_metadata(encoded(), Metadata(exif=exif_block())) if form == "JPEG" else encoded("PNG", exif=exif_block())
    )
    name = f"a.{form.lower()}"
    photos({name: data, f"plain-{name}": encoded(form)})
    _, rows = run(detector=nobody, strip_gps=True)
    image = Image.open(io.BytesIO((tmp_path / "out" / name).read_bytes()))
    assert 0x8825 not in image.getexif() and rows[name]["status"] == "copied"
    assert np.array_equal(upright_pixels(image), upright_pixels(Image.open(io.BytesIO(data))))
    assert (tmp_path / "out" / f"plain-{name}").read_bytes() == encoded(form)


def upright_pixels(image: Image.Image) -> UInt8:
    """The pixels as a viewer shows them."""
    return np.asarray(ImageOps.exif_transpose(image))


def test_the_same_command_again_does_nothing(photos: Fill, run: Run, tmp_path: Path) -> None:
    photos({"a.jpg": None, "b.jpg": None, "n.txt": b"hi", "bad.jpg": b"hi"})
    first, rows = run()
    before = files(tmp_path / "out"), (tmp_path / "out" / "a.jpg").stat().st_mtime_ns
    second, again = run()
    assert (first.written, first.skipped, first.failed, first.done) == (2, 1, 1, 0)
    assert (second.written, second.skipped, second.failed, second.done) == (0, 0, 1, 3)  # a failure is tried again
    assert (files(tmp_path / "out"), (tmp_path / "out" / "a.jpg").stat().st_mtime_ns) == before
    assert {name: row["status"] for name, row in again.items()} == {name: row["status"] for name, row in rows.items()}
    assert len((tmp_path / "out" / NAME).read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("change", "written", "done", "skipped"),
    [
        ("nothing", 0, 2, 0),
        ("touched", 0, 2, 0),  # another time, the same content
        ("target gone", 1, 1, 0),
        ("source changed", 0, 1, 1),  # its target is in the way
        ("source changed, overwrite", 2, 0, 0),
        ("source changed, rename", 1, 1, 0),
        ("other generator", 0, 0, 2),
        ("other strength, rename", 2, 0, 0),
        ("new photo", 1, 2, 0),
    ],
)
def test_what_is_left_to_do(
    photos: Fill, run: Run, encoded: Make, tmp_path: Path, change: str, written: int, done: int, skipped: int
) -> None:
    source = photos({"a.jpg": None, "b.jpg": None})
    run()
    options: dict[str, Any] = {}
    if change == "touched":
        os.utime(source / "a.jpg", (1, 1))
    if change == "target gone":
        (tmp_path / "out" / "a.jpg").unlink()
    if change.startswith("source changed"):
        (source / "a.jpg").write_bytes(encoded(size=(50, 50)))
    if change == "new photo":
        photos({"c.jpg": None})
    if change == "other generator":
        options["generator"] = "another"
    if change == "other strength, rename":
        options["strength"] = 0.02
    if (policy := change.rpartition(", ")[2]) in ("overwrite", "rename"):
        options["on_exists"] = policy
    summary, rows = run(**options)
    assert (summary.written, summary.done, summary.skipped, summary.failed) == (written, done, skipped, 0)
    if change == "source changed, rename":
        assert rows["a.jpg"]["target"] == "a-2.jpg"
    if skipped:
        assert rows["a.jpg"]["status"] == "written"  # which is what lies there
    again, _ = run(**options)
    if "overwrite" not in change:
        assert (again.written, again.skipped, again.failed) == (0, skipped, 0)


@pytest.mark.parametrize(
    ("policy", "status", "target"),
    [("skip", "skipped", None), ("fail", "failed", None), ("rename", "written", "a-2.jpg")],
)
def test_a_strangers_file_is_never_touched(
    photos: Fill, run: Run, tmp_path: Path, policy: str, status: str, target: str | None
) -> None:
    photos({"a.jpg": None})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.jpg").write_bytes(b"mine")
    _, rows = run(on_exists=policy)
    assert (rows["a.jpg"]["status"], rows["a.jpg"]["target"]) == (status, target)
    if policy == "skip":
        assert rows["a.jpg"]["reason"] == "a.jpg: already exists; pass --on-exists overwrite or rename"
        run(on_exists=policy)
        assert len((tmp_path / "out" / NAME).read_text().splitlines()) == 1
    assert (tmp_path / "out" / "a.jpg").read_bytes() == b"mine"
    _, rows = run(on_exists="overwrite")
    assert rows["a.jpg"]["status"] == "written" and (tmp_path / "out" / "a.jpg").read_bytes() != b"mine"


def test_a_folder_in_place_of_a_target_is_one_photos_fault(photos: Fill, run: Run, tmp_path: Path) -> None:
    photos({"a.jpg": None, "b.jpg": None})
    (tmp_path / "out" / "a.jpg").mkdir(parents=True)
    summary, rows = run(on_exists="overwrite")
    assert (summary.written, summary.failed) == (1, 1) and rows["a.jpg"]["error"]["hop"] == "write"
    assert files(tmp_path / "out").keys() == {"b.jpg"}


def test_out_within_source(photos: Fill, run: Run) -> None:
    source = photos({"a.jpg": None, "sub/b.jpg": None})
    for written, done in ((2, 0), (0, 2)):
        summary, rows = run(out=source / "sub" / "protected")
        assert (summary.written, summary.done) == (written, done)
        assert set(rows) == {"a.jpg", "sub/b.jpg"}


def test_out_that_is_the_source_is_refused(photos: Fill, run: Run) -> None:
    source = photos({"a.jpg": None})
    before = files(source)
    with pytest.raises(UsageError, match="inputs are never modified"):
        run(out=source)
    assert files(source) == before and not (source / NAME).exists()


def test_a_full_disk_ends_the_run_and_keeps_what_is_written(
    photos: Fill, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    photos({f"{n:02}.jpg": None for n in range(20)})
    write, room = os.write, [24_000]

    def limited(descriptor: int, data: bytes) -> int:
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= len(data)
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", limited)
        with pytest.raises(DiskError, match="the disk is full"):
            run()
    kept = files(tmp_path / "out")
    assert 0 < len(kept) < 20 and not any("partial" in name for name in kept)
    summary, rows = run()
    assert summary.done == len(kept) and summary.done + summary.written == 20 == len(rows)
    assert files(tmp_path / "out").keys() == {f"{n:02}.jpg" for n in range(20)}


def test_interrupted_it_takes_no_more_and_leaves_nothing_half(
    photos: Fill, run: Run, stripes: Any, tmp_path: Path
) -> None:
    photos({f"{n:03}.jpg": None for n in range(200)})
    attack = stripes(during=lambda call: os.kill(os.getpid(), signal.SIGINT) if call == 2 else None)
    before = signal.getsignal(signal.SIGINT), threading.active_count()
    summary, rows = run(attack=attack, batch=4)
    assert summary.interrupted and 8 <= summary.written < 100
    assert (signal.getsignal(signal.SIGINT), threading.active_count()) == before
    assert files(tmp_path / "out").keys() == set(rows)
    again, rows = run(batch=4)
    assert again.done == summary.written and len(rows) == 200 and not again.interrupted


def test_interrupted_twice_it_stops_at_once(photos: Fill, run: Run, stripes: Any, tmp_path: Path) -> None:
    def twice(call: int) -> None:
        if call == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    photos({f"{n:03}.jpg": None for n in range(40)})
    with pytest.raises(KeyboardInterrupt):
        run(attack=stripes(during=twice), batch=4)
    assert not [name for name in files(tmp_path / "out") if "partial" in name]
    _, rows = run(batch=4)
    assert len(rows) == 40 == len(files(tmp_path / "out"))


def test_look_ahead_is_bounded(photos: Fill, run: Run, stripes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from dadfi_fast.images import decode

    photos({f"{n:03}.jpg": None for n in range(120)})
    opened, outputs, ahead = [0], [0], [0]
    open_picture = decode.open_picture

    def counted(data: bytes, **options: Any) -> Any:
        opened[0] += 1
        return open_picture(data, **options)

    def during(_call: int) -> None:
        ahead[0] = max(ahead[0], opened[0] - outputs[0])
        outputs[0] += 4

    monkeypatch.setattr("dadfi_fast.protect.stages.open_picture", counted)
    summary, _ = run(attack=stripes(during=during), batch=4, workers=2, verify=0)
    assert summary.written == 120
    assert ahead[0] <= 2 * 2 + (4 + 2 * 2) + 4 + 4


@pytest.mark.skipif(sys.platform == "win32", reason="names have other bounds there")
@pytest.mark.parametrize(
    "options", [{"format": "webp"}, {"on_exists": "rename"}, {"on_exists": "fail", "format": "webp"}], ids=str
)
def test_a_name_that_gets_too_long_is_a_row(photos: Fill, run: Run, tmp_path: Path, options: dict[str, str]) -> None:
    long = "n" * 251 + ".jpg"
    photos({"a.jpg": None, long: None, "z.jpg": None})
    if options.get("on_exists") == "rename":
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / long).write_bytes(b"a stranger's")
    for written in (2, 0):
        summary, rows = run(**options)
        assert (summary.written, summary.failed) == (written, 1)
        assert (
            "Give the photo a shorter name" in rows[long]["error"]["message"] and rows[long]["error"]["hop"] == "write"
        )
    assert not [path for path in (tmp_path / "out").iterdir() if "partial" in path.name]


def test_files_are_the_same_for_every_batch_and_number_of_workers(
    photos: Fill, run: Run, encoded: Make, tmp_path: Path
) -> None:
    photos({f"{n}.jpg": encoded(size=(40 + 9 * n, 60), quality=90) for n in range(7)} | {"x.png": encoded("PNG")})
    generator = load_generator_file()
    outputs = []
    for batch, workers, threads in ((1, 1, 1), (3, 2, 2), (4, 3, 1), (8, 2, 1)):
        attack = GeneratorAttack(choose()[0](generator, threads=threads), Budget())
        summary, _ = run(out=tmp_path / f"out-{batch}", attack=attack, batch=batch, workers=workers)
        assert summary.written == 8
        outputs.append(files(tmp_path / f"out-{batch}"))
    assert len(outputs[0]) == 8 and all(each == outputs[0] for each in outputs)


@pytest.mark.parametrize("folds", [True, False])
def test_results_that_differ_by_case_alone(
    folds: bool, photos: Fill, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["A.jpg", "Day/x.jpg", "a.jpg", "b.jpg", "day/X.jpg", "day/x.jpg"]
    source = photos(dict.fromkeys(names))
    if sorted(path.relative_to(source).as_posix() for path in source.rglob("*.jpg")) != names:
        pytest.skip("names that differ by case are one here")
    monkeypatch.setattr("dadfi_fast.protect.discover.folds_case", lambda folder: folds)
    for _ in range(2):
        summary, rows = run()
        targets = [row["target"] for row in rows.values()]
        assert sorted(rows) == names and summary.failed == 0
        if folds:
            assert len({target.casefold() for target in targets}) == len(names)
            assert targets != names and rows["A.jpg"]["target"] == "A.jpg"
        else:
            assert sorted(targets) == names
    assert summary.done == len(names)


def test_the_output_folder_is_asked_whether_it_folds_case(
    photos: Fill, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos({"a.jpg": None})
    calls: list[tuple[Path, bool]] = []

    def ask(folder: Path) -> bool:
        calls.append((folder, (folder / "dadfi-manifest.jsonl").exists()))
        return False

    monkeypatch.setattr("dadfi_fast.protect.discover.folds_case", ask)
    run()
    assert calls == [(tmp_path / "out", True)]  # once, when there is a name in it to ask for
