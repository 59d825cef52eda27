"""Camera raw files: refused by what they are, whatever they are called."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from dadfi_fast.errors import PhotoError
from dadfi_fast.images.decode import HEAD, open_picture, recognise


def tiff(*directories: dict[int, int], sub: dict[int, int] | None = None, order: str = "<") -> bytes:
    """A TIFF of directories of 32-bit numbers; ``sub`` is a SubIFD of the first."""
    data = bytearray((b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8))
    at = 8
    for number, tags in enumerate(directories):
        tags = dict(tags) | ({330: 0} if sub and not number else {})
        end = at + 2 + 12 * len(tags) + 4
        if 330 in tags:
            tags[330] = end
            end += 2 + 12 * len(sub or {}) + 4
        data += struct.pack(order + "H", len(tags))
        data += b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
        data += struct.pack(order + "I", end if number + 1 < len(directories) else 0)
        if 330 in tags:
            data += struct.pack(order + "H", len(sub or {}))
            data += b"".join(struct.pack(order + "HHII", t, 4, 1, v) for t, v in sorted((sub or {}).items())) + bytes(4)
        at = end
    return bytes(data)


PREVIEW = {254: 1, 256: 16, 257: 12, 258: 8, 259: 1, 262: 2, 277: 3}
SENSOR = {254: 0, 256: 400, 257: 300, 258: 14, 259: 1, 262: 32803, 277: 1}

RAW = {
    "NEF, ARW: the sensor in a SubIFD": tiff(PREVIEW, sub=SENSOR),
    "the same, big-endian": tiff(PREVIEW, sub=SENSOR, order=">"),
    "PEF, 3FR: the sensor first": tiff(SENSOR),
    "a later directory": tiff(PREVIEW, PREVIEW, SENSOR),
    "Nikon's compression, without the filter array": tiff(PREVIEW, sub=SENSOR | {262: 1, 259: 34713}),
    "linear DNG": tiff(SENSOR | {262: 34892}),
    "DNG by its version": tiff(PREVIEW | {50706: 0x00040100}),
    "CR2": b"II*\0\x10\0\0\0CR\x02\0" + bytes(200),
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(200),
    "CRW": b"II\x1a\0\0\0HEAPCCDR" + bytes(200),
    "ORF": b"IIRO\x08\0\0\0" + bytes(200),
    "RW2": b"IIU\0\x18\0\0\0" + bytes(200),
    "RAF": b"FUJIFILMCCD-RAW 0201" + bytes(200),
    "X3F": b"FOVb" + bytes(200),
    "MRW": b"\0MRM" + bytes(200),
    "IIQ": b"II*\0\x08\0\0\0IIII" + bytes(200),
}


@pytest.mark.parametrize("name", RAW)
def test_it_is_refused_with_advice(name: str) -> None:
    assert recognise(RAW[name][:HEAD]) in ("RAW", "TIFF")
    with pytest.raises(PhotoError, match="raw file; develop it to JPEG or TIFF first"):
        open_picture(RAW[name], max_pixels=10**8)


def test_a_preview_of_a_larger_picture_is_not_the_photo() -> None:
    with pytest.raises(PhotoError, match="preview of a larger one"):
        open_picture(tiff(PREVIEW, sub=SENSOR | {262: 1, 258: 8}), max_pixels=10**8)


def test_in_a_run_it_is_a_row(photos: Any, run: Any) -> None:
    photos({"a.jpg": RAW["RAF"], "b.nef": RAW["NEF, ARW: the sensor in a SubIFD"]})
    summary, rows = run()
    assert summary.failed == 2 and all("raw file" in row["error"]["message"] for row in rows.values())
