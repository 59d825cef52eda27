"""Pictures in metadata: found by their structure, blanked in place, and nothing else taken for one."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dadfi_fast.images import previews

Make = Callable[..., bytes]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda jpeg: jpeg, "whole"),
        (lambda jpeg: b"\0" + jpeg[1:], "Minolta's cameras change the first byte"),
        (lambda jpeg: jpeg[:-2], "its end is missing"),
        (lambda jpeg: jpeg[: jpeg.index(b"\xff\xda") - 1], "cut off in its header"),
    ],
)
def test_a_jpeg_is_blanked(encoded: Make, change: Callable[[bytes], bytes], why: str) -> None:
    preview = change(encoded(size=(16, 16)))
    block = bytearray(b"maker notes" + preview + (b"behind" if preview.endswith(b"\xff\xd9") else b""))
    size = len(block)
    assert previews.blank(block) == 1, why
    assert len(block) == size and block.startswith(b"maker notes") and not any(block[11 : 11 + len(preview)])
    assert block.endswith(b"behind") or not preview.endswith(b"\xff\xd9")


def test_several_and_a_png(encoded: Make) -> None:
    block = bytearray(b"1" + encoded(size=(8, 8)) + b"2" + encoded(size=(8, 8), progressive=True) + b"3")
    block += encoded("PNG", size=(8, 8)) + b"4"
    assert previews.blank(block) == 3
    assert bytes(block).replace(b"\0", b"") == b"1234"


@pytest.mark.parametrize(
    "block",
    [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x04ab" * 3, b"\xd8\xff\xdb" + bytes(90), bytes(range(256)) * 9],
)
def test_what_only_looks_like_one_stays(block: bytes) -> None:
    changed = bytearray(block)
    assert previews.blank(changed) == 0 and changed == block


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_are_survived(noise: bytes, at: int) -> None:
    block = bytearray(noise[:at] + b"\xff\xd8\xff\xdb\x00\x03\x00\xff\xda\x00\x02" + noise[at:])
    size = len(block)
    previews.blank(block)
    assert len(block) == size


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("before", [b"", b"\n ", b"data:image/jpeg;base64,", b"&#xA;"])
def test_pictures_as_text(encoded: Make, form: str, before: bytes) -> None:
    text = base64.encodebytes(encoded(form, mode="P" if form == "GIF" else "RGB", size=(24, 24)))
    assert previews.is_picture_as_text(before + text)
    assert not previews.is_picture_as_text(before + text[:100])


def test_a_jpeg_in_hexadecimal(encoded: Make) -> None:
    assert previews.is_picture_as_text(encoded(size=(24, 24)).hex().encode())
    assert not previews.is_picture_as_text(b"a caption about /9j/ and ffd8ffe0")
