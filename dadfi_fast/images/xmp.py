"""XMP packets: orientation reset, embedded previews and GPS removed; edited as text, so that all else stays."""

from __future__ import annotations

import re
from typing import Final

_ORIENTATION: Final = re.compile(rb"""(<tiff:Orientation>\s*|\btiff:Orientation\s*=\s*["'])[2-8](?=\D)""")
_PREVIEWS: Final = re.compile(rb"<(xmp|xap):Thumbnails\b.*?</\1:Thumbnails\s*>", re.DOTALL)
_GPS: Final = (
    re.compile(rb"""\bexif:GPS\w+\s*=\s*("[^"]*"|'[^']*')"""),
    re.compile(rb"<exif:(GPS\w+)\b[^>]*?(/>|>.*?</exif:\1\s*>)", re.DOTALL),
)

#: Google's and Adobe's properties: motion photo, depth map, list of what follows, gain map.
_FOLLOWS: Final = rb"(?:G?Camera:(?:MotionPhoto|MicroVideo)\w*|GDepth:\w+|GImage:\w+|hdrgm:\w+|xmpNote:HasExtendedXMP)"
_TRAILER: Final = (
    re.compile(rb"<(G?Container):Directory\b.*?</\1:Directory\s*>", re.DOTALL),
    re.compile(rb"""\b%s\s*=\s*(?:"[^"]*"|'[^']*')""" % _FOLLOWS),
    re.compile(rb"<(%s)\b[^>]*?(?:/>|>.*?</\1\s*>)" % _FOLLOWS, re.DOTALL),
)


def cleaned(xmp: bytes | None, *, strip_gps: bool = False) -> bytes | None:
    """The packet for the written file: upright, without previews of the unprotected photo, without GPS if asked for."""
    if not xmp:
        return None
    text = _PREVIEWS.sub(b"", _ORIENTATION.sub(rb"\g<1>1", xmp))
    return without_gps(text) if strip_gps else text


def without_gps(xmp: bytes) -> bytes:
    """The packet without the properties that say where the photo was taken."""
    for pattern in _GPS:
        xmp = pattern.sub(b"", xmp)
    return xmp


def without_trailer(xmp: bytes | None) -> bytes | None:
    """The packet without what it says of films, maps and further pictures that stood behind the photo."""
    for pattern in _TRAILER:
        xmp = pattern.sub(b"", xmp) if xmp else xmp
    return xmp


def has_gps(xmp: bytes | None) -> bool:
    """Whether a packet says where the photo was taken."""
    return bool(xmp) and any(pattern.search(xmp or b"") for pattern in _GPS)
