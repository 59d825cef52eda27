"""``--strip-gps`` for photos that are copied: the place goes from every spot that can hold it, and no pixel changes."""

from __future__ import annotations

from dadfi_fast.images import boxes, exif, iptc, jpeg, png, webp, xmp
from dadfi_fast.images.decode import HEAD, open_picture, recognise, tiff
from dadfi_fast.types import Metadata

_REWRITTEN = {"JPEG": jpeg.without_gps, "PNG": png.without_gps, "WEBP": webp.without_gps}


def without_place(data: bytes, form: str, metadata: Metadata) -> bytes | None:
    """The file without its place; ``data`` itself where it names none, None where only writing it anew helps.

    Args:
        data: the file.
        form: Pillow's name of its format.
        metadata: what it says, as stored.
    """
    if form in _REWRITTEN:
        stripped = _REWRITTEN[form](data)
        return data if stripped == data else stripped
    if form == "TIFF":
        return None if names_place(metadata) or tiff.may_name_place(data) else data
    if form in ("AVIF", "HEIF"):
        return _in_place(data, metadata)
    return None if names_place(metadata) else data


def names_place(metadata: Metadata) -> bool:
    """Whether metadata say where the photo was taken."""
    return exif.has_gps(metadata.exif) or xmp.has_gps(metadata.xmp) or iptc.has_place(metadata.photoshop)


def still_names_place(data: bytes) -> bool:
    """Whether a file that was made to name no place does so all the same; read afresh from its bytes."""
    form = recognise(data[:HEAD])
    if form is None:
        return False
    metadata = open_picture(data, max_pixels=1 << 62, animated="first").metadata
    return names_place(metadata) or without_place(data, form, metadata) is not data


def _in_place(data: bytes, metadata: Metadata) -> bytes | None:
    """Blocks of the same length in place of those in an AVIF or HEIC, so that no offset in it changes."""
    if boxes.metadata_items(data) > 1:
        return None
    stripped = boxes.without_strangers(data)
    for block, changed in _changes(metadata):
        if stripped.count(block) != 1:
            return None
        stripped = stripped.replace(block, changed)
    return data if stripped == data else stripped


def _changes(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    changes = []
    if metadata.exif and exif.has_gps(metadata.exif):
        changes.append((metadata.exif, exif.without_gps(metadata.exif).ljust(len(metadata.exif), b"\0")))
    if metadata.xmp and xmp.has_gps(metadata.xmp):
        changes.append((metadata.xmp, xmp.without_gps(metadata.xmp, same_length=True)))
    return changes
