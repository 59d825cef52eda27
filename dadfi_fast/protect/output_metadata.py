"""What goes with the pixels of a protected photo: metadata that say that it is one, and what stood behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dadfi_fast.images import tag, xmp
from dadfi_fast.images.carried import carried
from dadfi_fast.images.encode import is_grey, target_format
from dadfi_fast.images.jpeg import XMP_ROOM
from dadfi_fast.images.trailer import Trailer, find_trailer
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.types import Metadata, Photo


@dataclass(frozen=True)
class OutputMetadata:
    """Of one photo."""

    metadata: Metadata
    trailer: Trailer | None  # of the source; it is left out

    def notes(self, frames: int) -> tuple[str, ...]:
        """What the manifest says beside the status; ``frames`` is how many pictures the source has."""
        return (*notes(frames, self.trailer), *self.metadata.notes)


def output_metadata(data: bytes, photo: Photo, config: ProtectConfig, *, strength: float) -> OutputMetadata:
    """For the file ``data`` of a ``photo``: the mark is in the metadata, and the trailer found.

    Args:
        data: the file.
        photo: what it holds.
        config: of the run.
        strength: of the perturbation, for the mark.
    """
    target = target_format(photo.encoding.format, config.format)
    trailer = find_trailer(data) if photo.encoding.format == "JPEG" else None
    metadata = carried(photo.metadata, target, grey=is_grey(photo.encoding))
    packet = xmp.without_trailer(metadata.xmp)  # what it says of a trailer is not true any more
    if config.mark:
        packet = tag.tagged(packet, strength=strength, most=XMP_ROOM if target == "JPEG" else None)
    return OutputMetadata(replace(metadata, xmp=packet), trailer)


def notes(frames: int, trailer: Trailer | None) -> Iterator[str]:
    """What became of further frames, and of what stood behind the picture."""
    if frames > 1:
        yield f"only frame 1 of {frames}"
    if trailer is not None:
        yield f"dropped trailing {trailer.what}"
