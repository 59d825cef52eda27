"""XMP packets: orientation reset, embedded pictures and GPS removed; all else stays byte for byte.

Properties are known by their namespace, whatever prefix a program gave it. The packet is read by expat, in one pass,
and what goes is cut out of the text at the places that expat names. Source: ISO 16684-1, section 7.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from xml.parsers import expat

from dadfi_fast.images.previews import is_picture_as_text, may_hold_picture_as_text

_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_TIFF: Final = "http://ns.adobe.com/tiff/1.0/"
_XAP: Final = "http://ns.adobe.com/xap/1.0/"
_GOOGLE: Final = "http://ns.google.com/photos/1.0/"
_NOTE: Final = "http://ns.adobe.com/xmp/note/"
#: What prefixes stand for in a packet that does not say.
_USUAL: Final = {
    "rdf": _RDF,
    "x": "adobe:ns:meta/",
    "tiff": _TIFF,
    "exif": "http://ns.adobe.com/exif/1.0/",
    "xmp": _XAP,
    "xap": _XAP,
    "xmpGImg": _XAP + "g/img/",
    "xmpNote": _NOTE,
    "GImage": _GOOGLE + "image/",
    "GDepth": _GOOGLE + "depthmap/",
    "GCamera": _GOOGLE + "camera/",
    "Camera": _GOOGLE + "camera/",
    "Container": _GOOGLE + "container/",
    "GContainer": _GOOGLE + "container/",
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
}
#: Namespaces of pictures: thumbnails, Google's second picture and depth map.
_PICTURES: Final = (_XAP + "g/img/", _GOOGLE + "image/", _GOOGLE + "depthmap/", "http://ns.google.com/photos/dd/1.0/")
#: Of what stands behind a photo: Google's list, gain maps.
_FOLLOWS: Final = (
    _GOOGLE + "container/",
    "http://ns.adobe.com/hdr-gain-map/1.0/",
    "http://ns.apple.com/HDRGainMap/1.0/",
    "http://ns.apple.com/pixeldatainfo/1.0/",
)
#: One of these stands in every packet that says so, by namespace, usual prefix or name.
_FOLLOWS_WORDS: Final = (
    b"Container",
    b"gain-map",
    b"hdrgm",
    b"HDRGainMap",
    b"pixeldatainfo",
    b"MotionPhoto",
    b"MicroVideo",
)
_MOTION: Final = re.compile(r"MotionPhoto|MicroVideo")
#: Names of properties that say where a photo was taken, in whatever namespace (EXIF, IPTC, Photoshop, drones).
_PLACE: Final = re.compile(
    r"GPS|latitude|longt?itude|^(lat|lon|long|lng|coverage|coordinates?|locality|county|address|landmark|worldregion)$"
    r"|^(sub-?)?location|^city|^(province-?)?state$|^province|^country",
    re.IGNORECASE,
)
#: Height of a list of texts.
_LIST: Final = 2
#: Elements that hold properties and are none.
_FRAME: Final = frozenset({"xmpmeta", "xapmeta", "RDF", "Description"})
_ATTRIBUTE: Final = re.compile(rb"""\s+([^\s=<>"'/]+)\s*=\s*("[^"]*"|'[^']*')""")
_NAME: Final = re.compile(rb"<[^\s/>]+")
_ENTITY: Final = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
#: Where the white space that programs leave for changes ends.
_PADDED: Final = b"<?xpacket end"
#: An orientation that is as it shall be.
_UPRIGHT: Final = re.compile(rb"""Orientation(?:="1"|='1'|>1</[\w-]+:Orientation>)""")
#: Parts of the namespaces and usual prefixes of pictures, and of names of properties that go; what lets these be
#: written in other letters: references, other encodings, entities.
_REMARKABLE: Final = (
    b"/g/img/", b"google.com/photos", b"GIm", b"GDepth", b"Thumbnails", b"HasExtendedXMP", b"&#", b"<?xml", b"<!",
)  # fmt: skip
#: Elements within each other, namespaces in force, and properties: a packet with more takes time and memory that do not
#: go with its size, and is not read.
_DEPTH: Final = 64
_SPACES: Final = 256
_PROPERTIES: Final = 1 << 17


@dataclass(frozen=True)
class _Property:
    """An element or an attribute, with its place in the packet."""

    space: str
    name: str
    start: int  # of the element; of an attribute: of the white space before it
    end: int
    value_start: int  # of an element: its content
    value_end: int
    of_photo: bool  # it stands in a description of the photo itself, not in a structure below
    height: int = 0  # elements below each other within it: 2 in a list of texts


@dataclass
class _Open:
    """An element whose end has not come yet."""

    space: str
    name: str
    start: int
    inner: int  # where its content begins
    spaces: dict[str, str]
    of_photo: bool
    height: int = 0


@dataclass
class _Reader:
    """Walks a packet; properties are in the order in which they end."""

    packet: bytes
    properties: list[_Property] = field(default_factory=list)
    closed: int = 0  # where the outermost element ended
    _stack: list[_Open] = field(default_factory=list)

    def read(self) -> list[_Property]:
        parser = expat.ParserCreate()
        parser.ordered_attributes = True
        parser.buffer_text = True
        parser.StartElementHandler = lambda name, attributes: self._begin(parser.CurrentByteIndex, name, attributes)
        parser.EndElementHandler = lambda name: self._end(parser.CurrentByteIndex)
        try:
            parser.Parse(self.packet, True)
        except expat.ExpatError:
            if not self.closed:  # else it is what follows the packet that is wrong
                raise
        return self.properties

    def _begin(self, at: int, name: str, attributes: list[str]) -> None:
        above = self._stack[-1] if self._stack else None
        spaces = above.spaces if above is not None else _USUAL
        declared = {k[6:]: v for k, v in zip(attributes[::2], attributes[1::2], strict=True) if k[:6] == "xmlns:"}
        if declared:
            spaces = spaces | declared
        of_photo = above is None or (above.of_photo and above.name in _FRAME)
        if len(self._stack) >= _DEPTH or len(spaces) > _SPACES or len(self.properties) > _PROPERTIES:
            raise ValueError("not a packet of any program")
        inner = self._attributes(at, spaces, of_photo)
        self._stack.append(_Open(*_split(name, spaces), at, inner, spaces, of_photo))

    def _attributes(self, at: int, spaces: dict[str, str], here: bool) -> int:
        """The attributes of the tag at ``at``; where the tag ends."""
        begun = _NAME.match(self.packet, at)
        at = begun.end() if begun else at
        while match := _ATTRIBUTE.match(self.packet, at):
            name = match[1].decode("utf-8", "replace")
            if not name.startswith("xmlns"):
                space, local = _split(name, spaces)
                self.properties.append(
                    _Property(space, local, match.start(), match.end(), match.start(2) + 1, match.end(2) - 1, here)
                )
            at = match.end()
        return self.packet.index(b">", at) + 1

    def _end(self, at: int) -> None:
        one = self._stack.pop()
        empty = self.packet[one.inner - 2 : one.inner] == b"/>"
        end = one.inner if empty else self.packet.index(b">", at) + 1
        if one.name not in _FRAME:
            inner = (one.inner, one.inner if empty else at)
            self.properties.append(_Property(one.space, one.name, one.start, end, *inner, one.of_photo, one.height))
        if self._stack:
            self._stack[-1].height = max(self._stack[-1].height, one.height + 1)
        else:
            self.closed = end


def _split(name: str, spaces: dict[str, str]) -> tuple[str, str]:
    prefix, _, local = name.rpartition(":")
    return spaces.get(prefix, prefix), local


def _read(packet: bytes) -> tuple[bytes, list[_Property]] | None:
    """A packet in UTF-8 with its properties; mended where a few bytes are wrong; None where it cannot be read."""
    for mended in _candidates(packet):
        try:
            return mended, _Reader(mended).read()
        except (expat.ExpatError, ValueError, IndexError):
            continue
    return None


def _candidates(packet: bytes) -> Iterator[bytes]:
    text = packet.rstrip(b"\0") if packet[:2] not in (b"\xff\xfe", b"\xfe\xff") else packet
    if b"\0" in text[:4] or text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        little = text[:2] == b"\xff\xfe" or (text[:1] != b"\0" and text[:2] != b"\xfe\xff")
        text = packet.decode("utf-16-le" if little else "utf-16-be", "replace").lstrip("\ufeff").rstrip("\0").encode()
    if _ENTITY.search(text):
        return
    yield text
    yield _CONTROL.sub(b"", text).decode("utf-8", "replace").encode().strip()


Drop: TypeAlias = Callable[[bytes, _Property], bool]


def _without(packet: bytes, drop: Drop, *, same_length: bool = False) -> bytes | None:
    """The packet without the properties that ``drop`` names; None where it cannot be read."""
    read = _read(packet)
    return None if read is None else _cut(*read, drop, same_length=same_length)


def _cut(text: bytes, properties: list[_Property], drop: Drop, *, same_length: bool = False) -> bytes:
    gone = sorted((each.start, each.end) for each in properties if drop(text, each))
    parts: list[bytes] = []
    at = 0
    for start, end in gone:
        if end <= at:  # inside of one that is gone already
            continue
        parts += [text[at:start], b" " * (end - start) if same_length else b""]
        at = end
    return b"".join((*parts, text[at:]))


def _is_picture(text: bytes, each: _Property) -> bool:
    if each.space.startswith(_PICTURES) or (each.space, each.name) == (_XAP, "Thumbnails"):
        return True
    # What points to extended XMP goes as well: that is where phones keep pictures, and it is not carried over.
    if _is_note(text, each):
        return True
    # Lists of texts may hold one in pieces; what is higher would be looked at once for every level.
    return each.height <= _LIST and is_picture_as_text(text[each.value_start : each.value_end])


def _is_note(_text: bytes, each: _Property) -> bool:
    return (each.space, each.name) == (_NOTE, "HasExtendedXMP")


def _is_trailer(_text: bytes, each: _Property) -> bool:
    return each.space.startswith(_FOLLOWS) or (
        each.space == _GOOGLE + "camera/" and _MOTION.search(each.name) is not None
    )


def is_place(name: str) -> bool:
    """Whether a property or a text of this name says where a photo was taken."""
    return _PLACE.search(name.rpartition(":")[2]) is not None


def _is_place(_text: bytes, each: _Property) -> bool:
    return is_place(each.name) and each.space != _RDF


def _orientation(text: bytes, properties: list[_Property]) -> Iterator[_Property]:
    for each in properties:
        if (each.space, each.name) == (_TIFF, "Orientation") and each.of_photo:
            value = text[each.value_start : each.value_end].strip()
            if len(value) == 1 and value in b"12345678":
                yield each


def stated_orientation(xmp: bytes | None) -> int | None:
    """The orientation that a packet asks for, 1 to 8; None where it does not say."""
    read = _read(xmp) if xmp and b"Orientation" in xmp.replace(b"\0", b"") else None
    return next((int(read[0][e.value_start : e.value_end]) for e in _orientation(*read)), None) if read else None


def _is_as_it_shall_be(packet: bytes) -> bool:
    """Whether a packet can be read, and nothing in it has to go but places; False where a closer look is needed.

    Ten times as fast as that look, and true of most packets.
    """
    if len(packet) > _PROPERTIES:
        return False
    body, _, rest = packet.rpartition(_PADDED)
    text = body.rstrip() + rest
    if text.count(b"xmlns:") > _SPACES // 2 or b"\0" in text or any(word in text for word in _REMARKABLE):
        return False
    if b"Orientation" in text and b"Orientation" in _UPRIGHT.sub(b"", text):
        return False
    return not may_hold_picture_as_text(text) and _is_well_formed(packet)


def _is_well_formed(packet: bytes) -> bool:
    """Whether expat reads the packet, and it is no deeper than `_DEPTH`."""
    parser, depths = expat.ParserCreate(), [0]
    if packet.count(b"</") >= _DEPTH:  # else it cannot be
        parser.StartElementHandler = lambda _name, _attributes: depths.append(depths[-1] + 1)
        parser.EndElementHandler = lambda _name: depths.append(depths[-1] - 1)
    try:
        parser.Parse(packet, True)
    except expat.ExpatError:
        return False
    return max(depths) <= _DEPTH


def cleaned(xmp: bytes | None, *, strip_gps: bool = False) -> bytes | None:
    """The packet for the written file: upright, without pictures of the unprotected photo, without GPS if asked for.

    None where there is none, or it cannot be read: what it holds is not known then.
    """
    packet = (xmp or b"").rstrip(b"\0")
    if packet and not strip_gps and _is_as_it_shall_be(packet):
        return packet
    read = _read(xmp) if xmp else None
    if read is None:
        return None
    text = bytearray(read[0])
    for each in _orientation(*read):
        text[each.value_start : each.value_end] = text[each.value_start : each.value_end].translate(_TO_ONE)
    return _cut(bytes(text), read[1], lambda t, p: _is_picture(t, p) or (strip_gps and _is_place(t, p)))


_TO_ONE: Final = bytes.maketrans(b"2345678", b"1111111")


def without_gps(xmp: bytes, *, same_length: bool = False) -> bytes:
    """The packet without the properties that say where the photo was taken; nothing of one that cannot be read.

    Args:
        xmp: the packet.
        same_length: spaces take the place of what goes, so that nothing behind the packet moves.
    """
    stripped = _without(xmp, _is_place, same_length=same_length)
    stripped = b"" if stripped is None else stripped
    return stripped.ljust(len(xmp)) if same_length else stripped


def without_note(xmp: bytes) -> bytes:
    """The packet without what points to extended XMP."""
    stripped = _without(xmp, _is_note)
    return xmp if stripped is None else stripped


def without_trailer(xmp: bytes | None) -> bytes | None:
    """The packet without what it says of films, maps and further pictures that stood behind the photo."""
    return _without(xmp, _is_trailer) if xmp and any(word in xmp for word in _FOLLOWS_WORDS) else xmp


def has_gps(xmp: bytes | None) -> bool:
    """Whether a packet says where the photo was taken, or cannot be read."""
    if not xmp:
        return False
    read = _read(xmp)
    return read is None or any(_is_place(read[0], each) for each in read[1])
