"""Protect whole collections of odd pictures, and compare every result with its source by readers that are not ours.

    python tools/try_formats.py ARCHIVE_OR_FOLDER... [--most BYTES] [--work DIR] [--json FILE]

Takes folders, tar and zip files: source archives of Pillow, pillow-heif or Wand from PyPI, Debian's source packages of
exiftool and exiv2, whose test pictures these are. Every picture counts as one face, so that each is read, changed and
written, however it was stored. Wants ImageMagick and exiftool on the PATH, and tifffile.

A result is right if ImageMagick, Pillow (with LittleCMS for CMYK) or tifffile sees the same picture on both sides: the
same size once it is turned upright, colours that differ by as little as the protection and the codec make them, the
same alpha. It is wrong if each that can read both sees another one. Exit code 1: some are wrong, or exiftool finds a
picture inside a result.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from PIL import Image, ImageCms, ImageOps

from dadfi_fast.images import heif
from dadfi_fast.images.decode import HEAD, recognise

#: Mean difference of the colours, in levels of 255, up to which two pictures are the same, with and without a lossy
#: codec, which changes noise most; and of alpha.
LOSSY, LOSSLESS, ALPHA = 10.0, 5.0, 1.5
CODECS: Final = ("JPEG", "WEBP", "AVIF", "HEIF")
#: exiftool's names of pictures inside files.
PREVIEWS: Final = (
    "PreviewImage", "ThumbnailImage", "OtherImage", "JpgFromRaw", "ThumbnailTIFF", "PhotoshopThumbnail", "DepthImage",
    "EmbeddedImage", "GainMapImage", "MPImage2", "MPImage3", "ThumbnailBMP",
)  # fmt: skip


#: Share of a preview's bytes that may be other than 0: some maker notes have values that reach into it, of a few bytes.
HEADS: Final = 0.01


def unpacked(sources: list[Path], folder: Path, most: int) -> None:
    """Every picture of all sources, up to ``most`` bytes, into ``folder``, each under a name of its own."""
    for source in sources:
        for number, (name, data) in enumerate(_files(source)):
            if len(data) <= most and recognise(data[:HEAD]) is not None:
                target = folder / source.name / f"{number:05}-{Path(name).name}"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file():
                yield str(path), path.read_bytes()
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for each in archive.infolist():
                yield each.filename, archive.read(each)
    else:
        with tarfile.open(source) as archive:
            for member in archive:
                if member.isfile() and (opened := archive.extractfile(member)) is not None:
                    yield member.name, opened.read()


def protected(folder: Path, out: Path, *options: str) -> list[dict[str, Any]]:
    """The manifest's rows of a run."""
    command = [sys.executable, "-m", "dadfi_fast.cli", "protect", str(folder), "--out", str(out), "--check", "0"]
    command += ["--detector", "none", "--verify", "none", "--strength", "0.02", "--quiet", *options]
    ended = subprocess.run(command, capture_output=True, text=True)
    if "Traceback" in ended.stderr:
        raise SystemExit(ended.stderr)
    return [json.loads(line) for line in (out / "dadfi-manifest.jsonl").read_text("utf-8").splitlines()]


def by_imagemagick(path: Path) -> np.ndarray[Any, Any]:
    """[H, W, 4], 0 to 255."""
    command = ["convert", f"{path}[0]", "-auto-orient", "-colorspace", "sRGB", "-depth", "16", "pam:-"]
    process = subprocess.run(command, capture_output=True, timeout=120)
    head, _, body = process.stdout.partition(b"ENDHDR\n")
    facts = dict(line.split(b" ", 1) for line in head.splitlines()[1:] if b" " in line)
    height, width, depth = (int(facts[name]) for name in (b"HEIGHT", b"WIDTH", b"DEPTH"))
    kind = ">u2" if int(facts[b"MAXVAL"]) > 255 else "u1"
    return _rgba(np.frombuffer(body, kind).reshape(height, width, depth) / (int(facts[b"MAXVAL"]) / 255))


def by_pillow(path: Path) -> np.ndarray[Any, Any]:
    """[H, W, 4], 0 to 255."""
    with Image.open(path) as image:
        image.load()
        if image.mode.startswith("I"):
            raise ValueError("not for Pillow")
        if image.mode == "CMYK" and "icc_profile" in image.info:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
            turned = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            return np.asarray(ImageOps.exif_transpose(turned or image).convert("RGBA"), float)
        return np.asarray(ImageOps.exif_transpose(image).convert("RGBA"), float)


def by_tifffile(path: Path) -> np.ndarray[Any, Any]:
    """[H, W, 4], 0 to 255; grey and RGB alone."""
    with tifffile.TiffFile(path) as file:
        page = next((page for page in file.pages if not page.subfiletype & 5), file.pages[0])
        stored = page.asarray()
        if int(page.photometric) not in (0, 1, 2):
            raise ValueError("not for this reader")
        samples = np.moveaxis(stored, 0, -1) if int(page.planarconfig) == 2 else stored
        top = np.iinfo(samples.dtype).max if samples.dtype != bool else 1
        scaled = np.atleast_3d(samples).astype(float) * (255 / top)
        if int(page.photometric) == 0:
            scaled = 255 - scaled
        kinds = [int(kind) for kind in page.extrasamples]
        kept = scaled if kinds == [2] else scaled[..., : 3 if int(page.photometric) == 2 else 1]
        orientation = page.tags.get(274)
    turns: dict[int, Callable[[Any], Any]] = {
        2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: lambda x: x.swapaxes(0, 1),
        6: lambda x: np.rot90(x, -1), 7: lambda x: np.rot90(x, 2).swapaxes(0, 1), 8: np.rot90,
    }  # fmt: skip
    return _rgba(turns.get(int(orientation.value) if orientation else 1, lambda x: x)(kept))


def _rgba(samples: Any) -> np.ndarray[Any, Any]:
    """Any number of channels as four."""
    count = samples.shape[2]
    colour = np.repeat(samples[..., :1], 3, axis=2) if count < 3 else samples[..., :3]
    alpha = samples[..., -1:] if count in (2, 4) else np.full((*samples.shape[:2], 1), 255.0)
    return np.dstack((colour, alpha))


READERS: Final = {"ImageMagick": by_imagemagick, "Pillow": by_pillow, "tifffile": by_tifffile}


def judged(source: Path, target: Path) -> tuple[str, str]:
    """``right``, ``wrong`` or ``unread``, and who says so."""
    faults: dict[str, str] = {}
    for name, reader in READERS.items():
        try:
            before, after = reader(source), reader(target)
        except Exception:  # whatever a reader does with odd files: it has no say
            continue
        if before.shape != after.shape:
            faults[name] = f"{before.shape[1]}x{before.shape[0]} became {after.shape[1]}x{after.shape[0]}"
            continue
        shown = before[..., 3:] > 0
        if not target.suffix.lower().endswith(("jpg", "jpeg", "bmp")) or (before[..., 3] == 255).all():
            alpha = float(np.abs(before[..., 3] - after[..., 3]).mean())
        else:
            alpha = 0.0
        colour = float((np.abs(before[..., :3] - after[..., :3]) * shown).mean())
        if colour <= (LOSSY if recognise(target.read_bytes()[:HEAD]) in CODECS else LOSSLESS) and alpha <= ALPHA:
            return "right", name
        faults[name] = f"colours differ by {colour:.1f}, alpha by {alpha:.1f}"
    return ("wrong" if faults else "unread"), "; ".join(f"{name}: {what}" for name, what in faults.items())


def left_pictures(folder: Path, names: list[str]) -> dict[str, str]:
    """Results in which exiftool finds a picture of which more than `HEADS` is left."""
    tags = [f"-{tag}" for tag in PREVIEWS]
    listed = subprocess.run(
        ["exiftool", "-j", "-a", "-r", "-G1", *tags, str(folder)], capture_output=True, text=True, errors="replace"
    )
    leftovers = {}
    for each in json.loads(listed.stdout or "[]"):
        path = Path(each.pop("SourceFile"))
        for tag in each:
            data = subprocess.run(["exiftool", "-b", f"-{tag}", str(path)], capture_output=True).stdout
            if len(data) - data.count(0) > HEADS * len(data) and path.relative_to(folder).as_posix() in names:
                leftovers[path.relative_to(folder).as_posix()] = f"{tag}: {len(data)} bytes"
    return leftovers


def main() -> int:
    """Command line; see the head of this file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--work", type=Path, help="keep what is made there")
    parser.add_argument("--json", type=Path, dest="table", help="write a row for every picture")
    parser.add_argument("--most", type=int, default=1 << 30, metavar="BYTES", help="leave out larger files")
    args = parser.parse_args()
    heif.register_if_there()
    Image.MAX_IMAGE_PIXELS = None
    work = args.work or Path(tempfile.mkdtemp(prefix="try-formats-"))
    shutil.rmtree(work, ignore_errors=True)
    unpacked(args.sources, work / "in", args.most)
    rows = protected(work / "in", work / "out")
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for row in rows:
        if row["target"] is None:
            row["verdict"], row["why"] = "refused", (row["error"] or {}).get("message") or row["reason"]
            reasons[row["why"].split(":")[0][:90]] += 1
        else:
            row["verdict"], row["why"] = judged(work / "in" / row["source"], work / "out" / row["target"])
        counts[row["verdict"]] += 1
        if row["verdict"] in ("wrong", "unread"):
            print(f"{row['verdict']}: {row['source']}: {row['why']}")
    written = [row["target"] for row in rows if row["status"] == "written"]
    leftovers = left_pictures(work / "out", written)
    for name, what in leftovers.items():
        print(f"picture left: {name}: {what}")
    for reason, count in reasons.most_common():
        print(f"refused {count:4}: {reason}")
    print(
        f"{len(rows)} pictures: "
        + ", ".join(f"{counts[name]} {name}" for name in ("right", "refused", "wrong", "unread"))
    )
    print(f"{len(written)} results, {len(leftovers)} with a picture left inside")
    if args.table:
        args.table.write_text(json.dumps(rows, indent=1), "utf-8")
    if args.work is None:
        shutil.rmtree(work)
    return int(bool(counts["wrong"] or leftovers))


if __name__ == "__main__":
    sys.exit(main())
