"""One photo on its way through the pipeline: what is known of it so far, and which stage is next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from dadfi_fast.faces.align import Square
from dadfi_fast.faces.shrink import Pyramid
from dadfi_fast.images.blocks import Blocks
from dadfi_fast.images.decode.base import Decoder
from dadfi_fast.protect.blocks import BlockPyramid
from dadfi_fast.protect.results import Entry, Input, Outcome
from dadfi_fast.types import Face, Float32, Photo

T = TypeVar("T")
#: The stages, in the order in which a photo goes through them.
Step: TypeAlias = Literal["read", "decode", "detect", "crop", "perturb", "strength", "encode", "write"]


@dataclass(slots=True, eq=False)
class PhotoJob:
    """One input, from its entry to its outcome; one thread at a time works on it.

    Each stage fills slots for the next one and empties those that nobody needs any more, so that whoever still refers
    to a job keeps no pixels alive. What can take much memory is None, or empty, before and after.
    """

    entry: Entry
    data: bytes = b""  # the file; of a large one without what stands behind its picture
    behind: int = 0  # bytes of the file that are not in ``data``, and not in ``encoded`` though they belong there
    sha256: str = ""  # of the file
    decoder: Decoder | None = None  # has read the header
    photo: Photo | None = None  # upright; without pixels where a GPU has encoded it, or where there are blocks
    blocks: Blocks | None = None  # of a JPEG that is changed in place
    writable: Blocks | None = None  # the same, if it was searched by its pixels
    pyramid: Pyramid | BlockPyramid | None = None  # of the photo, from its detection until its crops are cut
    faces: tuple[Face, ...] = ()
    squares: tuple[Square, ...] = ()  # [B], where the perturbation of each face goes
    crops: Float32 | None = None  # [B, 3, S, S] in [-1, 1]; until there are deltas
    deltas: Float32 | None = None  # [B, 3, S, S] on the same scale; until they are blended in
    unscaled: bool = False  # whether a strength for each of the deltas is still to be chosen
    strengths: tuple[float, ...] = ()  # [B], where they were chosen
    unbroken: int = 0  # faces whose fakes no strength breaks
    linf: int | None = None  # largest change of a pixel in levels, once deltas are blended in
    encoded: bytes | None = None  # the file to be written; without an outcome, a GPU's JPEG stream without metadata
    staged: Path | bytes | None = None  # the whole file under a temporary name, or its bytes for an object store
    outcome: Outcome | None = None  # what the manifest will say; may change where the file cannot be written

    @classmethod
    def of(cls, item: Input) -> PhotoJob:
        """A job for an input that needs work, or one that is over for the outcome of any other."""
        return cls(item) if isinstance(item, Entry) else cls(item.entry, outcome=item)

    @property
    def next(self) -> Step | None:
        """The stage that comes next; None once nothing is left but the row and the name of the file."""
        if self.outcome is not None:
            return None if self.encoded is None else "write"
        if self.decoder is None:
            return "read"
        if self.photo is None:
            return "decode"
        if not self.faces:
            return "detect"
        if self.linf is not None:
            return "encode"
        if self.deltas is not None:
            return "strength" if self.unscaled else "encode"
        return "crop" if self.crops is None else "perturb"

    @property
    def pixels(self) -> int:
        """Pixels of the photo, whose header has been read."""
        decoder = require(self.decoder)
        return decoder.width * decoder.height

    @property
    def held(self) -> int:
        """Bytes of files that it keeps in memory."""
        return len(self.data) + len(self.encoded or b"")

    def settle(self, outcome: Outcome, encoded: bytes | None = None) -> None:
        """End the work on the photo: all is released but ``encoded``, the file that is to be written."""
        for blocks in (self.blocks, self.writable):
            if blocks is not None:
                blocks.close()
        self.outcome, self.encoded, self.staged = outcome, encoded, None
        self.data, self.decoder, self.photo, self.pyramid = b"", None, None, None
        self.blocks, self.writable = None, None
        self.faces, self.squares, self.strengths = (), (), ()
        self.crops = self.deltas = self.linf = None


def require(value: T | None) -> T:
    """The value of a slot that an earlier stage has filled."""
    assert value is not None, "this stage came before the one that fills the slot"
    return value
