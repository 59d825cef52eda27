"""Pictures in metadata: found by their structure, blanked in place, and nothing else taken for one."""

from __future__ import annotations

import base64
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dadfi_fast.images import heif, previews

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


@pytest.mark.parametrize("form", ["WEBP", "GIF", "BMP", "HEIF", "AVIF", "JPEG2000"])
def test_other_formats_are_blanked(encoded: Make, form: str) -> None:
    heif.register()
    preview = encoded(form, mode="P" if form == "GIF" else "RGB", size=(64, 64))
    block = bytearray(b"maker notes" + preview + b"behind it")
    previews.blank(block)
    assert block.startswith(b"maker notes") and not any(block[11 : 11 + len(preview)])
    assert block.endswith(b"behind it") and len(block) == len(preview) + 20


def test_text_that_is_a_picture_is_blanked(encoded: Make) -> None:
    text = base64.b64encode(encoded(size=(64, 64)))
    block = bytearray(b"ASCII\0\0\0data:image/jpeg;base64," + text + b"\0\xffend")
    previews.blank(block)
    assert bytes(block).strip(b"\0") == b"ASCII\0\0\0data:image/jpeg;base64," + bytes(len(text) + 1) + b"\xffend"


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"GIF8",
        b"FIFF....WEBPVP8 ",
        b"\0\0\0\x08ftypqt  ",
        b"BM" + bytes(30),
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\x00\x04ab" * 3,
        b"\xd8\xff\xdb" + bytes(90),
        bytes(range(256)) * 9,
    ],
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


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: base64.urlsafe_b64encode(raw),
        lambda raw: base64.b64encode(b"hd" + raw),
        lambda raw: b"".join(
            b"<rdf:li>%s</rdf:li>" % raw.hex().encode()[n : n + 90] for n in range(0, 2 * len(raw), 90)
        ),
        lambda raw: b" ".join(b"%02X" % n for n in raw),
    ],
    ids=["for addresses", "with something before it", "a list of pieces", "bytes with spaces"],
)
def test_much_of_anything_as_text(change: Callable[[bytes], bytes]) -> None:
    raw = np.random.default_rng(0).bytes(1500)
    assert previews.is_picture_as_text(change(raw))
    assert not previews.is_picture_as_text(change(raw[:200]))


@pytest.mark.parametrize(
    "text",
    [
        "a caption without any full stop " * 200,
        "x" * 40_000,
        "0 1 2 3 4 5 6 7 8 9 " * 300,
        "Donaudampfschifffahrt\n" * 99,
    ],
)
def test_ordinary_text_is_none(text: str) -> None:
    assert not previews.is_picture_as_text(text.encode())


@pytest.mark.parametrize(
    ("value", "opaque"),
    [
        (bytes(range(1, 256)) * 20, True),
        (bytes(range(1, 256)) * 10, False),
        (bytes(90_000), False),
        (b"a caption, " * 900, False),
        ("ein Text, länger".encode("utf-16-le") * 900, False),
        ("写真の説明".encode() * 900, False),
    ],
)
def test_opaque(value: bytes, opaque: bool) -> None:
    assert previews.is_opaque(value) == opaque


def test_a_jpeg_in_hexadecimal(encoded: Make) -> None:
    assert previews.is_picture_as_text(encoded(size=(24, 24)).hex().encode())
    assert not previews.is_picture_as_text(b"a caption about /9j/ and ffd8ffe0")
