"""Damage pictures of every format, protect them in a process of its own, and say which of them cost too much.

    python tools/fuzz.py N [--seed S] [--memory GIB] [--seconds 10] [--work DIR] [--json FILE]

Makes one small picture for each way in which a format stores pixels and metadata, and N damaged files from them; the
same ones for the same seed. Every picture counts as one face, so that each is read, changed and written. The process
may take so much memory (address space), and so many seconds may pass without a result. Where it dies or is too slow, it
is started again, as a user would do; photos that fail for that reason are crashes and hangs.

A row whose error is not one of ours (a raw ValueError, say) is a finding, too. Exit code 1: there are findings. With
--work the files stay, under the names that are printed. Unix only.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from PIL import Image

import dadfi_fast.errors
from dadfi_fast.images import heif, icc, jpeg, png, tiff
from dadfi_fast.protect.under_way import NAME, noted
from dadfi_fast.types import Metadata

#: Seconds for the process to begin.
START: Final = 120.0
#: The process is started so often, whatever it does.
MOST_STARTS: Final = 100
XMP: Final = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF>'
    b"</x:xmpmeta>"
)
#: Lengths, counts and sizes that parsers trip over.
NUMBERS: Final = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)


def seeds() -> dict[str, bytes]:
    """Whole files of all formats, by names that say what is in them."""
    heif.register_if_there()
    y, x = np.mgrid[:48, :64]
    pixels = np.dstack((60 + x, 80 + y, 120 + (x + y) // 2)).astype(np.uint8)
    colour = Image.fromarray(pixels)
    clear = colour.copy()
    clear.putalpha(colour.getchannel(0))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif.get_ifd(0x8825)[2] = (51.0, 30.0, 0.0)
    all_of_it: dict[str, Any] = {"exif": exif.tobytes(), "icc_profile": icc.profile(icc.SRGB, (2.2,), "a display")}
    facts = Metadata(exif=exif.tobytes(), xmp=XMP, icc=all_of_it["icc_profile"], dpi=(72.0, 72.0))
    deep = pixels.astype(np.uint16) * 257

    def saved(form: str, image: Image.Image = colour, **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        return buffer.getvalue()

    plain, flat = saved("JPEG"), saved("TIFF", compression="raw")
    files = {
        "baseline.jpg": jpeg.with_metadata(plain, facts),
        "progressive.jpg": saved("JPEG", progressive=True, **all_of_it),
        "grey.jpg": saved("JPEG", colour.convert("L")),
        "cmyk.jpg": saved("JPEG", colour.convert("CMYK")),
        "trailer.jpg": plain + saved("JPEG", colour.resize((16, 16))),
        "rgb.png": png.with_metadata(saved("PNG"), facts),
        "alpha.png": saved("PNG", clear),
        "palette.png": saved("PNG", colour.convert("P"), transparency=3),
        "bits.png": saved("PNG", colour.convert("1")),
        "deep.png": cv2.imencode(".png", deep)[1].tobytes(),
        "lossy.webp": saved("WEBP", xmp=XMP, **all_of_it),
        "lossless.webp": saved("WEBP", clear, lossless=True),
        "raw.tif": tiff.with_metadata(flat, facts),
        "lzw.tif": saved("TIFF", clear, compression="tiff_lzw"),
        "jpeg.tif": saved("TIFF", compression="jpeg"),
        "deep.tif": cv2.imencode(".tif", deep)[1].tobytes(),
        "rgb.bmp": saved("BMP"),
        "palette.bmp": saved("BMP", colour.convert("P")),
        "frames.gif": saved("GIF", colour.convert("P"), save_all=True, append_images=[colour.convert("P")]),
        "still.gif": saved("GIF", colour.convert("P")),
        "rgb.jp2": saved("JPEG2000"),
        "rgb.avif": saved("AVIF", xmp=XMP, **all_of_it),
    }
    if "HEIF" in Image.SAVE:
        files["rgb.heic"] = saved("HEIF", xmp=XMP, **all_of_it)
    return files


def _flip(data: bytearray, rng: random.Random, _: bytes) -> None:
    for _each in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite(data: bytearray, rng: random.Random, _: bytes) -> None:
    at = rng.randrange(len(data))
    size = min(rng.randint(1, 64), len(data) - at)
    data[at : at + size] = rng.randbytes(size)


def _number(data: bytearray, rng: random.Random, _: bytes) -> None:
    """A number of 2 or 4 bytes that is out of the ordinary, near the head, where most of them stand."""
    at, size = rng.randrange(min(len(data), rng.choice((64, 512, 1 << 30)))), rng.choice((2, 4))
    number = rng.choice(NUMBERS) % (1 << 8 * size)
    data[at : at + size] = number.to_bytes(size, rng.choice(("big", "little")))


def _cut(data: bytearray, rng: random.Random, _: bytes) -> None:
    del data[rng.randrange(len(data)) :]


def _drop(data: bytearray, rng: random.Random, _: bytes) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.randint(1, 256)]


def _repeat(data: bytearray, rng: random.Random, _: bytes) -> None:
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.randint(1, 512)] * rng.choice((1, 2, 50))


def _splice(data: bytearray, rng: random.Random, other: bytes) -> None:
    data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]


MUTATIONS: Final[Sequence[Callable[[bytearray, random.Random, bytes], None]]] = (
    _flip, _overwrite, _number, _number, _cut, _drop, _repeat, _splice,
)  # fmt: skip


def mutated(number: int, seed: int, corpus: dict[str, bytes]) -> tuple[str, bytes]:
    """File ``number`` of ``seed``: its name, and what is in it."""
    rng = random.Random(f"{seed}-{number}")
    name = sorted(corpus)[number % len(corpus)]
    data = bytearray(corpus[name])
    for _ in range(rng.choice((1, 1, 2, 4))):
        if data:
            rng.choice(MUTATIONS)(data, rng, corpus[rng.choice(sorted(corpus))])
    return f"{number:06}-{name}", bytes(data)


@dataclass
class Report:
    """What came of the files."""

    files: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    foreign: dict[str, str] = field(default_factory=dict)  # file -> an error that is not one of ours
    missing: list[str] = field(default_factory=list)  # files without a row
    ended: str | None = None  # what the process said that ended with an error of its own
    starts: int = 0
    peak_mib: int = 0
    slowest: tuple[str, float] | None = None  # file, seconds of work

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.crashes or self.hangs or self.foreign or self.missing or self.ended)


def attended(command: Sequence[str], *, seconds: float, log: Path) -> tuple[str, int]:
    """Run a command that prints a line for every file: ``done``, ``error``, ``crash`` or ``hang``; and its MiB."""
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
    assert process.stdout is not None
    hangs, patience = False, START
    while True:
        if not select.select([process.stdout], [], [], patience)[0]:
            hangs = True
            process.kill()
            break
        if not os.read(process.stdout.fileno(), 1 << 16):
            break
        patience = seconds
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    ends = "crash" if process.returncode < 0 else "error" if process.returncode else "done"
    return "hang" if hangs else ends, usage.ru_maxrss // (1024 if sys.platform == "linux" else 1 << 20)


def protected(folder: Path, out: Path, command: Sequence[str], *, seconds: float) -> Report:
    """Start ``command`` until all files of ``folder`` have been through; what came of them."""
    report, log = Report(), out.with_name(f"{out.name}.log")
    ends: dict[str, str] = {}  # what the last process that died at a file did
    out.mkdir()
    for report.starts in range(1, MOST_STARTS + 1):
        how, peak = attended(command, seconds=seconds, log=log)
        report.peak_mib = max(report.peak_mib, peak)
        if how in ("done", "error"):
            break
        ends.update((name, how) for name, _, _ in noted(out / NAME))
    if how != "done":
        report.ended = "\n".join((f"{how}:", *log.read_text("utf-8", "replace").splitlines()[-20:]))
    _read(report, folder, out, ends)
    return report


def _read(report: Report, folder: Path, out: Path, ends: dict[str, str]) -> None:
    names = {path.name for path in folder.iterdir()}
    manifest = out / "dadfi-manifest.jsonl"
    lines = manifest.read_text("utf-8").splitlines() if manifest.exists() else []
    rows = {row["source"]: row for row in map(json.loads, lines)}
    report.files, report.missing = len(names), sorted(names - rows.keys())
    report.statuses = dict(Counter(row["status"] for row in rows.values()))
    for name, row in rows.items():
        kind = row["error"] and row["error"]["type"]
        if kind == "DeadlyPhoto":
            (report.hangs if ends.get(name) == "hang" else report.crashes).append(name)
        elif kind and not hasattr(dadfi_fast.errors, kind):
            report.foreign[name] = f"{row['error']['hop']}: {kind}: {row['error']['message']}"
    if rows:
        slow = max(rows.values(), key=lambda row: float(row["seconds"]))
        report.slowest = slow["source"], slow["seconds"]


def child(folder: Path, out: Path, memory: int) -> None:
    """Protect the folder, with a line on stdout for every file; the memory of this process is limited."""
    import resource

    from dadfi_fast.attacks.base import Attack
    from dadfi_fast.faces.none import Whole
    from dadfi_fast.protect.config import ProtectConfig
    from dadfi_fast.protect.malloc import tune_malloc
    from dadfi_fast.protect.manifest import Facts
    from dadfi_fast.protect.pipeline import protect
    from dadfi_fast.types import Budget, Float32

    class Lighter(Attack):
        def run(self, crops: Float32) -> Float32:
            return np.full_like(crops, self.budget.eps)

    tune_malloc()
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    config = ProtectConfig(
        sources=(str(folder),), out=out, detector="none", workers=2, verify=1.0, max_memory=memory // 4, strip_gps=True
    )
    facts = Facts(config.fingerprint, "fuzz", "fuzz")
    print("ready", flush=True)
    protect(
        config, detector=Whole(), attack=Lighter(Budget(config.generated)), facts=facts,
        tick=lambda outcome: print(outcome.entry.name, flush=True),
    )  # fmt: skip


def _lines(report: Report) -> Iterator[str]:
    yield f"{report.files} files: " + ", ".join(f"{n} {status}" for status, n in sorted(report.statuses.items()))
    yield from (f"crash: {name}" for name in report.crashes)
    yield from (f"hang: {name}" for name in report.hangs)
    yield from (f"not our error: {name}: {what}" for name, what in report.foreign.items())
    yield from (f"no row: {name}" for name in report.missing)
    if report.ended:
        yield f"the process ended: {report.ended}"
    slow = f"; slowest {report.slowest[0]} with {report.slowest[1]:.2f} s" if report.slowest else ""
    yield f"{report.starts} starts, at most {report.peak_mib} MiB{slow}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; see the head of this file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("n", type=int, metavar="N", help="files")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other files")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="number of the first file")
    parser.add_argument("--memory", type=float, default=2.0, metavar="GIB", help="that the process may take")
    parser.add_argument("--seconds", type=float, default=10.0, help="that may pass without a result")
    parser.add_argument("--work", type=Path, help="keep what is made there")
    parser.add_argument("--json", type=Path, dest="table", help="write the report there")
    args = parser.parse_args(arguments)
    work = args.work or Path(tempfile.mkdtemp(prefix="fuzz-"))
    shutil.rmtree(work, ignore_errors=True)
    (work / "in").mkdir(parents=True)
    corpus = seeds()
    for number in range(args.first, args.first + args.n):
        name, data = mutated(number, args.seed, corpus)
        (work / "in" / name).write_bytes(data)
    start = time.monotonic()
    limit = str(int(args.memory * (1 << 30)))
    command = [sys.executable, __file__, "--child", str(work / "in"), str(work / "out"), limit]
    report = protected(work / "in", work / "out", command, seconds=args.seconds)
    print(*_lines(report), f"{time.monotonic() - start:.0f} s in all", sep="\n")
    if args.table:
        args.table.write_text(json.dumps(vars(report), indent=1), "utf-8")
    if args.work is None:
        shutil.rmtree(work)
    return 0 if report.clean else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    else:
        raise SystemExit(main())
