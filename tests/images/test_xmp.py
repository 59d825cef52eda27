"""XMP packets: three things are changed, all else stays."""

from __future__ import annotations

import pytest

from dadfi_fast.images import xmp


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (b'<x tiff:Orientation="6" y="1"/>', b'<x tiff:Orientation="1" y="1"/>'),
        (b"<x tiff:Orientation = '8'/>", b"<x tiff:Orientation = '1'/>"),
        (b"<tiff:Orientation>3</tiff:Orientation>", b"<tiff:Orientation>1</tiff:Orientation>"),
        (b'<x tiff:Orientation="1" dc:title="6"/>', b'<x tiff:Orientation="1" dc:title="6"/>'),
        (b"a<xmp:Thumbnails><x>/9j/\n4AAQ</x></xmp:Thumbnails>b", b"ab"),
        (b'a<x exif:GPSLatitude="51,30N" c="d"/>', b'a<x exif:GPSLatitude="51,30N" c="d"/>'),
    ],
)
def test_cleaned(packet: bytes, expected: bytes) -> None:
    assert xmp.cleaned(packet) == expected


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (b'<x exif:GPSLatitude="51,30N" c="d"/>', b'<x  c="d"/>'),
        (b"a<exif:GPSLongitude>0,7W</exif:GPSLongitude>b", b"ab"),
        (b"a<exif:GPSAltitude/>b", b"ab"),
    ],
)
def test_gps(packet: bytes, expected: bytes) -> None:
    assert xmp.has_gps(packet)
    assert xmp.cleaned(packet, strip_gps=True) == expected
    assert not xmp.has_gps(expected)


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (b'<x GCamera:MotionPhoto="1" y="2"/>', b'<x  y="2"/>'),
        (b"<x Camera:MicroVideoOffset='99'/>", b"<x />"),
        (b"a<GCamera:MotionPhoto>1</GCamera:MotionPhoto>b", b"ab"),
        (b"a<Container:Directory><rdf:Seq/></Container:Directory>b", b"ab"),
        (b'<x hdrgm:Version="1.0" dc:title="hdrgm"/>', b'<x  dc:title="hdrgm"/>'),
        (b'<x xmpNote:HasExtendedXMP="AB12"/>', b"<x />"),
        (b'<x dc:title="My Camera:MotionPhoto"/>', b'<x dc:title="My Camera:MotionPhoto"/>'),
    ],
)
def test_what_stood_behind_the_photo(packet: bytes, expected: bytes) -> None:
    assert xmp.without_trailer(packet) == expected


def test_nothing_stays_nothing() -> None:
    assert xmp.without_trailer(None) is None
    assert xmp.cleaned(None) is None and not xmp.has_gps(None)
