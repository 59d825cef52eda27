"""The mark of a protected photo: it goes into every packet that can take it, and is noticed in every format."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from dadfi_fast.protect.decode import open_picture
from dadfi_fast.protect.jpeg import XMP_ROOM, with_metadata
from dadfi_fast.protect.mark import ALREADY, NAMESPACE, is_marked, marked
from dadfi_fast.types import Metadata

Make = Callable[..., bytes]
Fill = Callable[[dict[str, bytes | None]], Path]
Run = Callable[..., Any]
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
#: As Lightroom writes it: attributes, an instance of its own, padding.
LIGHTROOM = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    b' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n  <rdf:Description rdf:about="uuid:1"\n'
    b'    xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="image/jpeg"/>\n </rdf:RDF>\n</x:xmpmeta>\n'
    + b" " * 200
    + b'<?xpacket end="w"?>'
)


def properties(packet: bytes) -> dict[str, str]:
    """Our properties, as an XML parser finds them."""
    tree = ElementTree.fromstring(packet)
    found = [each for each in tree.iter(f"{RDF}Description") if any(NAMESPACE.decode() in key for key in each.attrib)]
    (description,) = found
    return {key.rpartition("}")[2]: value for key, value in description.attrib.items()}


@pytest.mark.parametrize(
    ("packet", "about"),
    [
        (None, ""),
        (LIGHTROOM, "uuid:1"),
        (LIGHTROOM.replace(b"rdf:", b"r:").replace(b":rdf=", b":r="), "uuid:1"),
    ],
    ids=["none", "lightroom", "another prefix"],
)
def test_it_is_a_property_of_the_packet(packet: bytes | None, about: str) -> None:
    found = marked(packet, strength=0.03)
    assert found is not None and is_marked(found) and not is_marked(packet)
    assert properties(found) == {"about": about, "Protected": "True", "Strength": "0.03"}
    if packet is not None:  # and all else is as it was
        at = found.index(NAMESPACE)
        assert found[: found.rindex(b"<", 0, at)] + found[found.index(b"/>", at) + 2 :] == packet


@pytest.mark.parametrize("packet", [None, LIGHTROOM, b"<x/>"], ids=["none", "lightroom", "no rdf"])
def test_a_second_mark_replaces_the_first(packet: bytes | None) -> None:
    once = marked(packet, strength=0.05)
    twice = marked(once, strength=0.03)
    assert twice == marked(packet, strength=0.03) and twice != once
    assert twice is not None and twice.count(NAMESPACE) == 1


def test_a_packet_without_rdf_gets_an_instruction() -> None:
    found = marked(b'<x y="1"/>', strength=0.05)
    assert found is not None and found.startswith(b'<x y="1"/><?dadfi-fast ') and is_marked(found)
    assert ElementTree.fromstring(found).tag == "x"


@pytest.mark.parametrize(
    ("packet", "most"),
    [
        (LIGHTROOM.decode().encode("utf-16"), None),
        (LIGHTROOM.decode().encode("utf-16-be"), None),
        (LIGHTROOM, len(LIGHTROOM) + 99),
    ],
    ids=["utf-16", "utf-16 without its mark", "no room"],
)
def test_what_cannot_take_it_stays_as_it_is(packet: bytes, most: int | None) -> None:
    assert marked(packet, strength=0.05, most=most) == packet


FORMATS = [
    ("a.jpg", "JPEG", "RGB"),
    ("a.png", "PNG", "RGBA"),
    ("a.webp", "WEBP", "RGB"),
    ("a.tif", "TIFF", "RGB"),
    ("a.avif", "AVIF", "RGB"),
]


@pytest.mark.parametrize(("name", "form", "mode"), FORMATS, ids=[form for _, form, _ in FORMATS])
def test_protecting_a_protected_file_is_noticed(
    photos: Fill, run: Run, encoded: Make, tmp_path: Path, name: str, form: str, mode: str
) -> None:
    photos({name: encoded(form, mode)})
    run()
    once = tmp_path / "out" / name
    assert is_marked(open_picture(once.read_bytes(), max_pixels=10**6).metadata.xmp)
    summary, rows = run(tmp_path / "out", out=tmp_path / "second")
    assert (summary.written, summary.skipped, summary.already, summary.failed) == (0, 1, 1, 0)
    assert (rows[name]["status"], rows[name]["reason"], rows[name]["target"]) == ("skipped", ALREADY, None)
    assert not (tmp_path / "second" / name).exists()
    done, _ = run(tmp_path / "out", out=tmp_path / "second")
    assert done.done == 1 and done.skipped == 0  # which need not be found out again
    again, rows = run(tmp_path / "out", out=tmp_path / "second", again=True)
    assert again.written == 1 and rows[name]["status"] == "written"
    packet = open_picture((tmp_path / "second" / name).read_bytes(), max_pixels=10**6).metadata.xmp
    assert packet is not None and packet.count(NAMESPACE) == 1


def test_deep_pictures_are_marked_too(photos: Fill, run: Run, tmp_path: Path) -> None:
    import cv2

    stored = np.random.default_rng(0).integers(0, 2**16, (40, 50, 3), dtype=np.uint16)
    photos({name: cv2.imencode(name[1:], stored)[1].tobytes() for name in ("a.png", "a.tiff")})
    run()
    summary, _ = run(tmp_path / "out", out=tmp_path / "second")
    assert summary.already == 2


def test_a_photo_without_a_face_is_not_marked(photos: Fill, run: Run, nobody: Any, tmp_path: Path) -> None:
    photos({"a.jpg": None, "b.gif": None})
    run(detector=nobody)
    summary, _ = run(tmp_path / "out", out=tmp_path / "second")
    assert (summary.written, summary.already) == (2, 0)


def test_no_mark_where_none_is_wanted(photos: Fill, run: Run, encoded: Make, tmp_path: Path) -> None:
    photos({"a.jpg": None})
    run(mark=False)
    assert open_picture((tmp_path / "out" / "a.jpg").read_bytes(), max_pixels=10**6).metadata.xmp is None


def test_a_packet_that_fills_its_segment_does_not_stop_the_photo(
    photos: Fill, run: Run, encoded: Make, tmp_path: Path
) -> None:
    full = LIGHTROOM.replace(b" " * 200, b" " * (XMP_ROOM - len(LIGHTROOM) + 200))
    photos({"a.jpg": with_metadata(encoded(), Metadata(xmp=full))})
    summary, _ = run()
    assert summary.written == 1
    with Image.open(io.BytesIO((tmp_path / "out" / "a.jpg").read_bytes())) as image:
        assert image.info["xmp"] == full
