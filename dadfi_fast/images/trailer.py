"""What phones put behind a JPEG: a film (motion photo), a depth or gain map, further pictures.

A decoder stops where the picture ends, so nothing of this is seen, and all of it shows the face as it was: it goes.
Further pictures are listed in an APP2 segment of their own, the multi-picture index. Source: CIPA DC-007 (Multi-Picture
Format), section 5.2.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final

from dadfi_fast.errors import PhotoError
from dadfi_fast.images.jpeg import APP1, APP2, EOI, XMP, Segment, spans
from dadfi_fast.images.previews import MARKER_IN_SCANS

INDEX: Final = b"MPF\0"
_ENTRIES: Final = 0xB002
_ENTRY: Final = 16  # bytes: attribute, size, place (4 each), two links (2 each)
#: What may follow a picture without meaning anything.
_PADDING: Final = b"\0\xff \t\r\n"
#: How XMP lists what follows: Google's container, and motion photos of before.
_LISTS: Final = (b"Container:Directory", b"Camera:MotionPhoto", b"Camera:MicroVideo")
_FILM: Final = re.compile(rb"ftyp(mp4|isom|iso\d|qt  |avc1|3gp|M4V|mmp4)")


@dataclass(frozen=True)
class Trailer:
    """What stands behind the picture of a JPEG file."""

    data: bytes
    offset: int  # where it began in the file
    index: Segment | None  # the multi-picture index, where the file has one

    @property
    def what(self) -> str:
        """For people: ``video (2.3 MB)``."""
        parts = ["video"] if _FILM.search(self.data) else []
        if (count := self._pictures()) > 0:
            parts.append("image" if count == 1 else f"{count} images")
        return f"{' and '.join(parts) or 'data'} ({len(self.data) / 1e6:.1f} MB)"

    def _pictures(self) -> int:
        if self.index is None:
            return 0
        try:
            return _Index(self.index.payload).pictures() - 1
        except struct.error:
            return 0


class _Index:
    """A multi-picture index: a small TIFF directory behind the name."""

    def __init__(self, payload: bytes) -> None:
        self.data = payload
        self._order = "<" if payload[4:6] == b"II" else ">"

    def read(self, at: int, kind: str = "I") -> int:
        value: int = struct.unpack_from(self._order + kind, self.data, at)[0]
        return value

    def pictures(self) -> int:
        """How many pictures have an entry; only those that are there, whatever the index says."""
        field = self._field(_ENTRIES)
        if field is None:
            return 0
        size = min(self.read(field + 4), len(self.data) - len(INDEX) - self.read(field + 8))
        return max(0, size // _ENTRY)

    def _field(self, tag: int) -> int | None:
        directory = len(INDEX) + self.read(len(INDEX) + 4)
        fields = (directory + 2 + 12 * number for number in range(self.read(directory, "H")))
        return next((field for field in fields if self.read(field, "H") == tag), None)


def find_trailer(data: bytes, *, thorough: bool = False) -> Trailer | None:
    """What stands behind the picture in a JPEG file; None where nothing does, or only padding.

    Searching the compressed pixels for their end would take a millisecond a megabyte. A file that ends as a picture
    does and names nothing that follows, neither in an index nor in its XMP, is taken for the picture alone, unless the
    search is to be ``thorough``.
    """
    try:
        header = list(spans(data))
    except PhotoError:
        return None
    index = next((span for span in header if span[0] == APP2 and data.startswith(INDEX, span[1] + 4, span[2])), None)
    named = index is not None or any(_names_more(data, *span) for span in header)
    if not (named or thorough) and data[-64:].rstrip(_PADDING).endswith(b"\xff\xd9"):
        return None
    end, _ = end_of_scans(data, header[-1][2])
    if not end or not data[end:].strip(_PADDING):
        return None
    return Trailer(
        data[end:], end, None if index is None else Segment(index[0], data[index[1] + 4 : index[2]], *index[1:])
    )


def _names_more(data: bytes, marker: int, start: int, end: int) -> bool:
    """Whether this segment is an XMP packet with a list of what follows."""
    if marker != APP1 or not data.startswith(XMP, start + 4, end):
        return False
    return any(data.find(name, start, end) >= 0 for name in _LISTS)


def end_of_scans(data: bytes, at: int) -> tuple[int, int]:
    """Where the picture ends, by way of all its scans (there may be tables between them); 0 where it does not.

    And where to go on looking once there is more of the file.
    """
    while match := MARKER_IN_SCANS.search(data, at):
        marker = data[match.start() + 1]
        if marker == EOI:
            return match.end(), match.end()
        if match.end() + 2 > len(data):
            return 0, match.start()
        at = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
    return 0, max(at, len(data) - 1)  # the last byte may be half a marker
