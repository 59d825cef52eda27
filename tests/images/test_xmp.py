"""XMP packets: pictures, places and what stood behind a photo go by namespace, orientation is reset, all else stays."""

from __future__ import annotations

import base64
import time
import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dadfi_fast.images import xmp

JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4)
TIFF = b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'


def packet(properties: bytes, attributes: bytes = b"", namespaces: bytes = b"") -> bytes:
    """A packet as programs write it."""
    return (
        b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        b'xmlns:dc="http://purl.org/dc/elements/1.1/" %s%s>%s</rdf:Description></rdf:RDF></x:xmpmeta>'
        b'<?xpacket end="w"?>'
    ) % (namespaces, attributes, properties)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'<x tiff:Orientation="6" y="1"/>', b'<x tiff:Orientation="1" y="1"/>'),
        (b"<x tiff:Orientation = '8'/>", b"<x tiff:Orientation = '1'/>"),
        (b"<x><tiff:Orientation>3</tiff:Orientation></x>", b"<x><tiff:Orientation>3</tiff:Orientation></x>"),
        (packet(b"<tiff:Orientation>3</tiff:Orientation>"), packet(b"<tiff:Orientation>1</tiff:Orientation>")),
        (b'<x tiff:Orientation="1" dc:title="6"/>', b'<x tiff:Orientation="1" dc:title="6"/>'),
        (b'<a><x exif:GPSLatitude="51,30N" c="d"/></a>', b'<a><x exif:GPSLatitude="51,30N" c="d"/></a>'),
    ],
    ids=["attribute", "spaces", "in a structure: another picture's", "element", "upright", "GPS stays"],
)
def test_orientation(before: bytes, after: bytes) -> None:
    assert xmp.cleaned(before) == after


@pytest.mark.parametrize(
    ("gone", "why"),
    [
        (b"<xmp:Thumbnails><rdf:Alt><rdf:li/></rdf:Alt></xmp:Thumbnails>", "the usual prefix"),
        (b'<q:Thumbnails xmlns:q="http://ns.adobe.com/xap/1.0/">x</q:Thumbnails>', "a prefix of its own"),
        (b'<q:image xmlns:q="http://ns.adobe.com/xap/1.0/g/img/">x</q:image>', "a thumbnail that stands alone"),
        (b'<q:Data xmlns:q="http://ns.google.com/photos/1.0/image/">x</q:Data>', "Google's second picture"),
        (b'<q:Data xmlns:q="http://ns.google.com/photos/1.0/depthmap/">x</q:Data>', "a depth map"),
        (b'<q:any xmlns:q="urn:whatever">' + JPEG + b"</q:any>", "base64 of a JPEG, whatever it is called"),
        (b'<q:any xmlns:q="urn:whatever">\n&#xA; ' + JPEG + b"</q:any>", "the same behind white space"),
        (b'<q:note xmlns:q="http://ns.adobe.com/xmp/note/"/><q:HasExtendedXMP '
         b'xmlns:q="http://ns.adobe.com/xmp/note/">AB</q:HasExtendedXMP>', "what points to extended XMP"),
    ],
)  # fmt: skip
def test_pictures_go_by_namespace(gone: bytes, why: str) -> None:
    kept = gone[: gone.index(b"/>") + 2] if b"q:note" in gone else b""
    assert xmp.cleaned(packet(b"<dc:a/>" + gone + b"<dc:b/>")) == packet(b"<dc:a/>" + kept + b"<dc:b/>"), why


def test_pictures_in_attributes_go() -> None:
    result = xmp.cleaned(packet(b"", b' xmlns:q="urn:q" q:thumb="' + JPEG + b'" dc:title="t"'))
    assert result == packet(b"", b' xmlns:q="urn:q" dc:title="t"')


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'<x exif:GPSLatitude="51,30N" c="d"/>', b'<x c="d"/>'),
        (b"<a>a<exif:GPSLongitude>0,7W</exif:GPSLongitude>b</a>", b"<a>ab</a>"),
        (b"<a>a<exif:GPSAltitude/>b</a>", b"<a>ab</a>"),
        (b'<x photoshop:City="Sampletown" photoshop:Credit="c"/>', b'<x photoshop:Credit="c"/>'),
        (b"<a><q:LocationShown><r:li>x</r:li></q:LocationShown></a>", b"<a></a>"),
        (b'<x drone-dji:GpsLatitude="51.5" drone-dji:GimbalYawDegree="3"/>', b'<x drone-dji:GimbalYawDegree="3"/>'),
        (b'<x Iptc4xmpCore:CountryCode="GBR" Iptc4xmpCore:Location="s"/>', b"<x/>"),
    ],
)
def test_places(before: bytes, after: bytes) -> None:
    assert xmp.has_gps(before)
    assert xmp.cleaned(before, strip_gps=True) == after == xmp.without_gps(before)
    assert len(xmp.without_gps(before, same_length=True)) == len(before)
    assert not xmp.has_gps(after) and not xmp.has_gps(xmp.without_gps(before, same_length=True))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'<x GCamera:MotionPhoto="1" y="2"/>', b'<x y="2"/>'),
        (b"<x Camera:MicroVideoOffset='99'/>", b"<x/>"),
        (b"<a>a<GCamera:MotionPhoto>1</GCamera:MotionPhoto>b</a>", b"<a>ab</a>"),
        (b"<a>a<Container:Directory><rdf:Seq/></Container:Directory>b</a>", b"<a>ab</a>"),
        (b'<x hdrgm:Version="1.0" dc:title="hdrgm"/>', b'<x dc:title="hdrgm"/>'),
        (b'<x dc:title="My Camera:MotionPhoto"/>', b'<x dc:title="My Camera:MotionPhoto"/>'),
        (b'<x xmlns:c="http://ns.google.com/photos/1.0/camera/" c:MotionPhoto="1"/>',
         b'<x xmlns:c="http://ns.google.com/photos/1.0/camera/"/>'),
    ],
)  # fmt: skip
def test_what_stood_behind_the_photo(before: bytes, after: bytes) -> None:
    assert xmp.without_trailer(before) == after


@pytest.mark.parametrize(
    ("damaged", "expected"),
    [
        (b"<x dc:title='\xe9'/>", "<x dc:title='�'/>".encode()),  # Latin-1 in UTF-8
        (b"<x dc:title='a\x01b'/>", b"<x dc:title='ab'/>"),
        (b"<x dc:title='a'/>\0\0\0", b"<x dc:title='a'/>"),
        (b"\xff\xfe" + '<x a="b"/>'.encode("utf-16-le"), b'<x a="b"/>'),
        (b"<x dc:title='a'", None),
        (b"no packet", None),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', None),
    ],
)
def test_damage_is_mended_or_left_out(damaged: bytes, expected: bytes | None) -> None:
    assert xmp.cleaned(damaged) == expected


def test_what_cannot_be_read_counts_as_a_place() -> None:
    assert xmp.has_gps(b"<x exif:GPS") and xmp.without_gps(b"<x exif:GPS") == b""


@pytest.mark.parametrize(
    ("data", "expected"),
    [(packet(b"", b' tiff:Orientation="6"', TIFF), 6), (packet(b""), None), (None, None), (b"<x", None)],
)
def test_stated_orientation(data: bytes | None, expected: int | None) -> None:
    assert xmp.stated_orientation(data) == expected


def test_it_takes_linear_time() -> None:
    start = time.perf_counter()
    xmp.cleaned(packet(b"<dc:a>exif:GPS xmp:Thumbnails </dc:a>" * 20_000), strip_gps=True)
    xmp.cleaned(packet(b"<xmp:Thumbnails>" * 20_000))
    xmp.cleaned(packet(b"", b' tiff:Orientation="' * 20_000))
    assert time.perf_counter() - start < 5


@given(noise=st.binary(max_size=60), at=st.integers(0, 400))
def test_any_bytes_are_survived(noise: bytes, at: int) -> None:
    whole = packet(b"<xmp:Thumbnails><rdf:li/></xmp:Thumbnails>", b' exif:GPSLatitude="5"')
    damaged = whole[:at] + noise + whole[at:]
    for result in (xmp.cleaned(damaged, strip_gps=True), xmp.without_trailer(damaged)):
        assert result is None or isinstance(result, bytes)
    xmp.has_gps(damaged)


def test_nothing_stays_nothing() -> None:
    assert xmp.without_trailer(None) is None
    assert xmp.cleaned(None) is None and not xmp.has_gps(None)


class TestAFastLook:
    """Most packets are as they shall be, which is seen without reading them property by property."""

    #: Behind a packet, it makes `cleaned` read property by property.
    SLOWLY = b"<!---->"

    @staticmethod
    def padded(properties: bytes, attributes: bytes = b"") -> bytes:
        """With room for changes, as programs leave it."""
        return packet(properties, attributes).replace(b"<?xpacket end", b" " * 500 + b"<?xpacket end")

    @pytest.mark.parametrize(
        ("body", "attributes"),
        [
            (b"<dc:title>A portrait</dc:title>", b' tiff:Orientation="1"'),
            (b"<tiff:Orientation>1</tiff:Orientation>", b""),
            (b"<tiff:Orientation>6</tiff:Orientation>", b""),
            (b'<tiff:Orientation dc:x="1">8</tiff:Orientation>', b""),
            (b"<tiff:Orientation> 3 </tiff:Orientation>", b' dc:Orientation="1"'),
            (b"", b" tiff:Orientation = '6'"),
            (b"<xmp:Thumbnails>small</xmp:Thumbnails>", b""),
            (b"<xmpGImg:image>small</xmpGImg:image>", b""),
            (b"<p:image>small</p:image>", b' xmlns:p="http://ns.adobe.com/xap/1.0/g/img/"'),
            (b"<p:image>small</p:image>", b' xmlns:p="http://ns.adobe.com/xap/1.0/g/&#105;mg/"'),
            (b"<p:x>small</p:x>", b' xmlns:p="http://ns.google.com/photos/dd/1.0/device/"'),
            (b"<GImage:Data>small</GImage:Data><GDepth:Data>small</GDepth:Data>", b""),
            (b"<xmpNote:HasExtendedXMP>0123</xmpNote:HasExtendedXMP>", b""),
            (b"<dc:x>/9j/" + b"A" * 200 + b"</dc:x>", b""),
            (b"", b' dc:x="iVBORw0K' + b"0123456789 " * 20 + b'"'),
            (b"<dc:x>FFD8FFE0" + b"ab 12\n" * 80 + b"</dc:x>", b""),
            (b"<dc:x>" + bytes(range(65, 91)) * 50 + b"</dc:x>", b""),
            (b"<dc:x>" + b"0a <b/> 1B&amp; " * 200 + b"</dc:x>", b""),
            (b"<dc:x>" + b"0a  1B\n\n" * 300 + b"</dc:x>", b""),
            (b"<dc:x>" + b"".join(b"<dc:y>%02x</dc:y>" % (n % 256) for n in range(500)) + b"</dc:x>", b""),
            (b"<dc:x>" * 60 + b"</dc:x>" * 60, b""),
            (b"<dc:x>" * 61 + b"</dc:x>" * 61, b""),
            (b"<dc:x>" * 62 + b"</dc:x>" * 62, b""),
            (b"<dc:x/>", b"".join(b' xmlns:p%d="urn:%d"' % (n, n) for n in range(260))),
            (b"<dc:x>" * 2, b""),
            (b"&nothing;", b""),
            (b"words " * 100, b""),
            (b"<dc:x>\xff\xd8\xff</dc:x>", b""),
        ],
    )
    def test_finds_what_the_slow_one_does(self, body: bytes, attributes: bytes) -> None:
        source = self.padded(body, attributes)
        slowly = xmp.cleaned(source + self.SLOWLY)
        assert xmp.cleaned(source) == (None if slowly is None else slowly.removesuffix(self.SLOWLY))

    def test_is_much_faster(self) -> None:
        source = self.padded(b"<dc:x><dc:y>word</dc:y></dc:x>" * 400)
        quick = min(timeit.repeat(lambda: xmp.cleaned(source), number=3, repeat=5))
        slow = min(timeit.repeat(lambda: xmp.cleaned(source + self.SLOWLY), number=3, repeat=5))
        assert quick < slow / 2

    def test_leaves_the_padding_of_zeros_out(self) -> None:
        source = self.padded(b"<dc:title>A portrait</dc:title>")
        assert xmp.cleaned(source + bytes(9)) == source
