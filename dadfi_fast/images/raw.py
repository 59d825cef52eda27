"""Camera raw files, known by their structure whatever they are called: what a decoder shows of them is a preview.

Source: exiftool's documentation of file types; Adobe DNG 1.6; TIFF/EP (ISO 12234-2).
"""

from __future__ import annotations

from typing import Final

#: Why such a file is refused.
REFUSED: Final = "this is a camera's raw file; develop it to JPEG or TIFF first, and protect that"
#: First bytes of raw files that are no TIFF, or one with a number of its own: Olympus, Panasonic and Leica, Fujifilm,
#: Sigma, Minolta.
_MAGIC: Final = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM")
_CANON: Final = (b"II*\0", b"CR\x02")  # CR2: the second at byte 8
_PHASE_ONE: Final = (b"IIII", b"MMMM")  # at byte 8
#: Brand of Canon's CR3.
_CR3: Final = b"crx "
#: TIFF tags and values that say that samples are those of a sensor.
DNG_VERSION: Final = 50706
_PHOTOMETRIC: Final = 262
_SENSOR: Final = frozenset({32803, 34892})  # colour filter array, linear raw
_COMPRESSION: Final = 259
#: Nikon, Sony, Samsung, Epson, Pentax, Kodak, Leaf: compressions that they use for raw samples alone.
_OF_SENSORS: Final = frozenset({34713, 32767, 32769, 32770, 32867, 65000, 65535, 34892, 99})


def is_raw(head: bytes) -> bool:
    """Whether a file's first bytes (32 do) say that it is raw; TIFF files may be so as well, see `is_raw_directory`."""
    if head.startswith(_MAGIC) or head[6:14] == b"HEAPCCDR":
        return True
    if head[4:8] == b"ftyp":
        return head[8:12] == _CR3
    return (head[:4] == _CANON[0] and head[8:11] == _CANON[1]) or (
        head[:4] in (b"II*\0", b"MM\0*") and head[8:12] in _PHASE_ONE
    )


def is_raw_directory(tags: dict[int, tuple[int, ...]]) -> bool:
    """Whether a TIFF directory (tag -> values) holds what a sensor saw."""
    return (
        DNG_VERSION in tags
        or _SENSOR.intersection(tags.get(_PHOTOMETRIC, ())) != frozenset()
        or _OF_SENSORS.intersection(tags.get(_COMPRESSION, ())) != frozenset()
    )
