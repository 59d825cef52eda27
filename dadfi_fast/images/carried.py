"""What of a photo's metadata each format can carry; the rest is converted where that is possible, else named."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any, Final

from dadfi_fast.errors import PhotoError
from dadfi_fast.images import icc, iptc
from dadfi_fast.images.jpeg import EXIF_ROOM, XMP_ROOM, comment
from dadfi_fast.types import Metadata

#: Bytes that a comment in a JPEG can have.
_COMMENT_ROOM: Final = 65533
#: Formats that write grey as three channels, to which a profile of grey does not apply.
_THREE_CHANNELS: Final = ("WEBP", "AVIF")
_CHRM_UNIT: Final = 100_000


def carried(metadata: Metadata, target: str, *, grey: bool = False) -> Metadata:
    """What a file of format ``target`` will carry, with a note of everything that it cannot.

    Args:
        metadata: of the photo.
        target: Pillow's name of the format.
        grey: the picture has one channel.

    Raises:
        PhotoError: the colours are those of HDR, for which the target has no signal.
    """
    if target == "PNG":
        return metadata
    result = _without_signals(metadata, grey=grey and target not in _THREE_CHANNELS)
    if target == "JPEG":
        return _in_segments(result)
    if target == "TIFF":
        return _without(result, "texts")
    if target == "BMP":
        return _without(
            result, "exif", "xmp", "photoshop", "texts", *(() if (result.icc or b"")[16:20] == b"RGB " else ("icc",))
        )
    if (result.icc or b"")[16:20] == b"GRAY" and target in _THREE_CHANNELS:
        result = _without(result, "icc")
    return _without(result, "photoshop", "texts")


_NAMES: Final = {"exif": "EXIF", "xmp": "XMP", "icc": "the ICC profile", "photoshop": "IPTC", "texts": "comments"}


def _without(metadata: Metadata, *names: str) -> Metadata:
    lost = [_NAMES[name] for name in names if getattr(metadata, name)]
    if "photoshop" in names and metadata.photoshop and not iptc.iptc_of(metadata.photoshop):
        lost.remove("IPTC")  # Photoshop's other resources are about its own file
    note = (f"left out {', '.join(lost)}: this format cannot hold it",) if lost else ()
    empty: dict[str, Any] = {name: () if name == "texts" else None for name in names}
    return replace(metadata, notes=metadata.notes + note, **empty)


def _in_segments(metadata: Metadata) -> Metadata:
    """Without what is too long for a segment of a JPEG."""
    notes = list(metadata.notes)
    blocks: dict[str, Any] = {"exif": metadata.exif, "xmp": metadata.xmp}
    for name, room in (("exif", EXIF_ROOM), ("xmp", XMP_ROOM)):
        if len(blocks[name] or b"") > room:
            notes.append(f"left out {len(blocks[name] or b'')} bytes of {_NAMES[name]}: too long for a JPEG")
            blocks[name] = None
    texts = tuple(text for text in metadata.texts if len(comment(*text)) <= _COMMENT_ROOM)
    if len(texts) < len(metadata.texts):
        notes.append("left out a comment: too long for a JPEG")
    if len(notes) == len(metadata.notes):
        return metadata
    return replace(metadata, texts=texts, notes=tuple(notes), **blocks)


def _without_signals(metadata: Metadata, *, grey: bool) -> Metadata:
    """With an ICC profile in place of what PNG says of colours in other ways."""
    if not metadata.colour:
        return metadata
    colour = dict(metadata.colour)
    try:
        profile = _profile(colour, metadata.icc, grey=grey)
    except (struct.error, ValueError, ZeroDivisionError, OverflowError):
        profile = metadata.icc
    return replace(metadata, icc=profile, colour=())


def _profile(colour: dict[bytes, bytes], given: bytes | None, *, grey: bool) -> bytes | None:
    """The order in which these count is that of the PNG specification, third edition, 4.3."""
    if b"cICP" in colour:
        primaries, transfer = struct.unpack_from(">BB", colour[b"cICP"])
        if transfer in icc.HDR:
            name = icc.HDR[transfer]
            raise PhotoError(f"HDR colours ({name}) can only be kept in a PNG. Pass --format keep.")
        return icc.from_numbers(primaries, transfer, grey=grey)
    if given is not None or b"sRGB" in colour:
        return given
    return _measured(colour, grey=grey)


def _measured(colour: dict[bytes, bytes], *, grey: bool) -> bytes | None:
    gamma = struct.unpack(">I", colour[b"gAMA"])[0] / 100_000 if b"gAMA" in colour else 1 / 2.2
    where = icc.SRGB
    if b"cHRM" in colour:
        where = tuple(n / _CHRM_UNIT for n in struct.unpack(">8I", colour[b"cHRM"]))
    return icc.measured(where, 1 / gamma, grey=grey)
