"""Face pictures and their attributes, from tar archives or folders, held in memory as uint8.

Everything is read once: 14,476 pictures of 176 px are 1.3 GB, and a step then costs an index, not a decode. On a GPU
the pictures lie in its own memory, and only indices are copied there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dadfi_fast.device import cores
from dadfi_fast.errors import DataError
from dadfi_fast.files import open_members
from dadfi_fast.training.device import sent
from dadfi_fast.types import UInt8

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Faces:
    """Square face pictures with their names and, where a table was given, their attributes."""

    pixels: UInt8  # [N, 3, S, S] uint8
    names: tuple[str, ...]
    labels: Tensor | None  # [N, A] float32 in {0, 1}

    def __len__(self) -> int:
        return len(self.names)

    def first(self, count: int) -> Faces:
        """The first ``count`` pictures, or all where there are fewer."""
        labels = self.labels[:count] if self.labels is not None else None
        return Faces(self.pixels[:count], self.names[:count], labels)

    def on(self, device: torch.device) -> DeviceFaces:
        """The pictures in the memory of ``device``; in the CPU's they are shared, not copied.

        A GPU holds them if they take no more than a third of its free memory; otherwise each batch is copied to it.
        """
        pixels = torch.from_numpy(self.pixels)
        if device.type == "cuda" and 3 * self.pixels.nbytes > torch.cuda.mem_get_info(device)[0]:
            return DeviceFaces(pixels, device)
        return DeviceFaces(pixels.to(device), device)

    def batch(self, index: Tensor) -> Tensor:
        """Pictures ``index`` [B] as [B, 3, S, S] float32 in [-1, 1], on the CPU."""
        return self.on(torch.device("cpu")).batch(index)


@dataclass(frozen=True)
class DeviceFaces:
    """The pictures of `Faces` where they are trained on."""

    pixels: Tensor  # [N, 3, S, S] uint8
    device: torch.device  # of the batches

    def batch(self, index: Tensor) -> Tensor:
        """Pictures ``index`` [B] as [B, 3, S, S] float32 in [-1, 1], on the device."""
        chosen = self.pixels[sent(index, self.pixels.device)]
        return sent(chosen, self.device).float().div_(127.5).sub_(1.0)


def load_faces(
    sources: Sequence[Path],
    *,
    image_size: int,
    attributes: Path | None = None,
    columns: Sequence[str] = (),
    limit: int | None = None,
) -> Faces:
    """Read pictures from archives or folders, in name order, centre-cropped square and resized (Lanczos).

    Args:
        sources: tar archives or folders of JPEG, PNG or WebP pictures.
        image_size: side of the pictures in pixels.
        attributes: CSV file with a column ``image`` and 0/1 columns; pictures without a row are left out.
        columns: the attributes wanted, in this order.
        limit: read no more than this many pictures.

    Raises:
        DataError: a source cannot be read, a column does not exist, or no picture is left.
    """
    table = read_attributes(attributes, columns) if attributes else None
    wanted = ((name, data) for name, data in _members(sources) if table is None or name in table)
    files = list(islice(wanted, limit))
    if not files:
        raise DataError(f"no image found in {', '.join(map(str, sources))}. Pass tar archives or folders of images.")
    names = tuple(name for name, _ in files)
    with ThreadPoolExecutor(cores()) as pool:  # Pillow lets other threads run while it decodes
        pixels = np.stack(list(pool.map(lambda file: _decode(file[0], file[1], image_size), files)))
    return Faces(pixels, names, torch.tensor([table[name] for name in names]) if table is not None else None)


def read_attributes(path: Path, columns: Sequence[str]) -> dict[str, list[float]]:
    """The 0/1 ``columns`` of a CSV attribute table, by picture name."""
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        missing = [c for c in ("image", *columns) if c not in (rows.fieldnames or ())]
        if missing:
            raise DataError(f"{path} has no column {', '.join(missing)}. Available: {', '.join(rows.fieldnames or ())}")
        return {row["image"]: [float(row[c]) for c in columns] for row in rows}


def _members(sources: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    for source in sources:
        with open_members(source, SUFFIXES) as (names, read):
            for name in names:
                yield PurePosixPath(name).name, read(name)


def _decode(name: str, data: bytes, image_size: int) -> UInt8:
    try:
        with Image.open(io.BytesIO(data)) as image:
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            box = (left, top, left + side, top + side)
            picture = image.convert("RGB")
    except OSError as error:
        raise DataError(f"{name} cannot be decoded ({error}). Remove it from the data.") from error
    if (side, side) != (image_size, image_size) or picture.size != (side, side):
        picture = picture.resize((image_size, image_size), Image.Resampling.LANCZOS, box=box)
    return np.asarray(picture).transpose(2, 0, 1)
