"""The feed: groups of bounded size, the order of the inputs, and runs that come out as those without it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dadfi_fast.errors import PhotoError
from dadfi_fast.images.decode import open_picture
from dadfi_fast.images.jpeg import with_metadata
from dadfi_fast.protect.gpu.dali import Dali, Decoded
from dadfi_fast.protect.gpu.dali_stage import DaliStage, groups
from dadfi_fast.protect.job import PhotoJob
from dadfi_fast.protect.manifest import NAME
from dadfi_fast.protect.meter import Meter
from dadfi_fast.protect.results import Entry, Failed
from dadfi_fast.types import Metadata, UInt8

Make = Callable[..., bytes]
needs_dali = pytest.mark.extras("dali")


def loaded(data: bytes, name: str = "x") -> PhotoJob:
    """A file as the feed finds it."""
    entry = Entry(Path(name), name, name, len(data), 0)
    return PhotoJob(entry, data=data, decoder=open_picture(data, max_pixels=10**8))


@pytest.mark.parametrize(
    ("items", "batch", "pixels", "expected"),
    [
        ("jjjjj", 2, 10**6, ["jj", "jj", "j"]),
        ("", 2, 10**6, []),
        ("jpjpj", 2, 10**6, ["jpj", "pj"]),  # what is not for DALI travels along
        ("pppppppppj", 2, 10**6, ["pppppppp", "pj"]),  # but not for ever
        ("jjj", 8, 64 * 48, ["j", "j", "j"]),  # a photo each fills it
        ("jjj", 8, 2 * 64 * 48, ["jj", "j"]),
        ("jjj", 8, 1, ["j", "j", "j"]),  # one that is too large goes alone
    ],
)
def test_groups(encoded: Make, items: str, batch: int, pixels: int, expected: Sequence[str]) -> None:
    jobs = {"j": loaded(encoded()), "p": loaded(encoded("PNG"))}
    result = list(groups([jobs[kind] for kind in items], batch=batch, pixels=pixels))
    assert ["".join("j" if item is jobs["j"] else "p" for item in group.jobs) for group in result] == expected
    assert all([group.jobs[n] is jobs["j"] for n in group.photos] == [True] * len(group.photos) for group in result)


class Fake(Dali):
    """Decodes nothing: every picture is its own number; keeps count of what is under way."""

    def __init__(self) -> None:
        self.batch, self.under_way, self.most, self.begun = 2, [], 0, 0

    def begin(self, files: Sequence[bytes]) -> None:
        self.under_way.append([np.full((48, 64, 3), self.begun + n, np.uint8) for n in range(len(files))])
        self.begun += len(files)
        self.most = max(self.most, len(self.under_way))

    def finish(self) -> list[UInt8]:
        return self.under_way.pop(0)


def test_reads_ahead_by_two_batches_and_keeps_the_order(encoded: Make) -> None:
    dali, drawn = Fake(), []
    failed = PhotoJob.of(Failed(loaded(encoded()).entry, "read", OSError()))

    def items() -> Any:
        for number in range(30):
            drawn.append(number)
            yield failed if number == 5 else loaded(encoded("PNG" if number % 4 == 3 else "JPEG"), str(number))

    out = iter(DaliStage(dali, Meter(compute=1, disk=1))(items()))
    first = next(out)
    assert first.entry.name == "0" and len(drawn) <= 12
    rest = [first, *out]
    assert [item.entry.name for item in rest if item is not failed] == [str(n) for n in range(30) if n != 5]
    assert rest[5] is failed and dali.most == 2
    values = [job.decoder.decode().pixels[0, 0, 0] for job in rest if isinstance(job.decoder, Decoded)]
    assert values == list(range(22))


@needs_dali
def test_a_run_is_that_of_the_other_decoders(
    photos: Any, run: Any, encoded: Make, exif_block: Make, tmp_path: Path
) -> None:
    good = {f"{n:02}.jpg": encoded(size=(40 + n, 70), subsampling=("4:2:0", "4:4:4")[n % 2]) for n in range(20)}
    photos(
        {
            **good,
            "03-turned.jpg": with_metadata(encoded(size=(40, 64)), Metadata(exif=exif_block(turn=6))),
            "04-cut.jpg": encoded()[:500],
            "05-deep.png": encoded("PNG", "RGBA"),
            "06-grey.jpg": encoded("JPEG", "L"),
            "08-cmyk.jpg": encoded("JPEG", "CMYK"),
            "09-empty.jpg": b"",
            "10-words.txt": b"hello",
        }
    )
    run(out=tmp_path / "cpu", verify=1.0)
    run(out=tmp_path / "dali", verify=1.0, decoder="dali")
    seconds = re.compile(r'"seconds": [^,}]+')
    rows = [
        [seconds.sub("", line) for line in (tmp_path / name / NAME).read_text().splitlines()]
        for name in ("cpu", "dali")
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 27
    for name in good:
        assert (tmp_path / "cpu" / name).read_bytes() == (tmp_path / "dali" / name).read_bytes()


@needs_dali
def test_damaged_bits_never_end_the_run(encoded: Make) -> None:
    rng = np.random.default_rng(0)
    good = [encoded(size=(24, 32)), encoded(size=(24, 32), progressive=True), encoded("JPEG", "L", size=(23, 31))]
    items = []
    while len(items) < 120:
        bad = np.frombuffer(good[len(items) % 3], np.uint8).copy()
        bad[rng.integers(4, len(bad) - 2, 4)] ^= rng.integers(1, 255, 4, dtype=np.uint8)
        try:
            items.append(loaded(bad.tobytes(), str(len(items))))
        except PhotoError:  # its header says so already
            continue
    decoders = [item.decoder for item in items]
    results = list(DaliStage(Dali(threads=1, batch=4), Meter(compute=1, disk=1))(items))
    assert results == items
    for before, after in zip(decoders, results, strict=True):
        if isinstance(after.decoder, Decoded):
            try:
                expected = before.decode().pixels
            except PhotoError:  # simplejpeg makes an error of what is a warning
                continue
            assert np.array_equal(after.decoder.decode().pixels, expected)
    assert 10 < sum(isinstance(item.decoder, Decoded) for item in results) < 120


def test_a_picture_of_another_size_than_its_header_says_is_not_taken(encoded: Make) -> None:
    items = [loaded(encoded()), loaded(encoded(size=(64, 48)))]
    left = items[1].decoder
    results = list(DaliStage(Fake(), Meter(compute=1, disk=1))(items))
    assert isinstance(results[0].decoder, Decoded) and results[1].decoder is left


@needs_dali
def test_the_command(command: Any, examples: Path, tmp_path: Path) -> None:
    arguments = ("protect", examples / "portrait.jpg", "--check", 0, "--json", "--detector", "none")
    done = command(*arguments, "--out", tmp_path / "dali", "--decoder", "dali")
    assert done.exit_code == 0 and "JPEGs decoded by dali on cpu (named by the user)" in done.stderr
    assert command(*arguments, "--out", tmp_path / "cpu").exit_code == 0
    assert (tmp_path / "cpu" / "portrait.jpg").read_bytes() == (tmp_path / "dali" / "portrait.jpg").read_bytes()
