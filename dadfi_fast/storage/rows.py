"""The lines of a manifest, which anybody may have changed: what is in them is trusted once it is seen to be ours."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, Final

#: The manifest of an output folder.
MANIFEST: Final = "dadfi-manifest.jsonl"
#: A longer line is none of ours: a row has about 600 bytes, and 60 more for every face.
LONGEST: Final = 1 << 24
#: What file systems take: bytes of a name, and of a path.
_NAME, _PATH = 255, 4096
#: How every row of ours begins.
_BEGINNING: Final = b'{"source": "'

Row = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """One line of a file that should be a manifest."""

    offset: int
    length: int  # bytes, with the line's end
    row: Row | None  # None: it is not ours
    is_object: bool = False  # JSON, and an object, whether ours or not
    is_torn: bool = False  # what a power cut or a kill leaves of a row


def read_lines(file: IO[bytes], *, whole: bool = True) -> Iterator[Line]:
    """The lines of a manifest from where ``file`` stands; ``whole``: a row must have all that a run goes by."""
    offset = file.tell()
    while data := file.readline(LONGEST):
        length = len(data)
        if length == LONGEST and not data.endswith(b"\n"):
            while rest := file.readline(LONGEST):
                length += len(rest)
                if rest.endswith(b"\n"):
                    break
            yield Line(offset, length, None)
        else:
            yield _line(offset, data, whole=whole)
        offset += length


def is_row(value: Any, *, whole: bool = True) -> bool:
    """Whether it is a row of ours: fields of the right types, paths that stay in their folders.

    ``whole``: with every field that a run goes by; else those fields that are there are looked at.
    """
    if not isinstance(value, dict) or "source" not in value or "status" not in value:
        return False
    if not all(test(value[name]) for name, test in _FIELDS.items() if name in value):
        return False
    return not whole or (value.keys() >= _FIELDS.keys() - _YOUNGER and _is_consistent(value))


def _line(offset: int, data: bytes, *, whole: bool) -> Line:
    if not data.endswith(b"\n"):
        return Line(offset, len(data), None, is_torn=_is_torn(data))
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return Line(offset, len(data), None, is_torn=_is_torn(data))
    if is_row(value, whole=whole):
        return Line(offset, len(data), value, is_object=True)
    return Line(offset, len(data), None, is_object=isinstance(value, dict))


def _is_torn(data: bytes) -> bool:
    data = data.strip(b"\0\r\n")
    return data.startswith(_BEGINNING) or _BEGINNING.startswith(data)


def _is_path(value: Any) -> bool:
    """Whether the system can have such a path."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    try:
        encoded = os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return len(encoded) < _PATH and all(len(part) <= _NAME for part in encoded.split(b"/"))


def is_below(value: Any) -> bool:
    """Whether it is a path that stays in the folder to which it is relative."""
    if not _is_path(value) or any(part in ("", ".", "..") for part in value.split("/")):
        return False
    return os.name != "nt" or not any(character in value for character in ":\\")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _or_none(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or test(value)


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 5 and all(map(_is_number, value))


def _is_measured(value: Any) -> bool:
    optional = ("psnr", "jpeg_equivalent", "ssimulacra2", "flip")
    if not (isinstance(value, dict) and _is_number(value.get("linf"))):
        return False
    return all(value.get(name) is None or _is_number(value[name]) for name in optional)


def _is_error(value: Any) -> bool:
    return isinstance(value, dict) and _is_text(value.get("hop")) and _is_text(value.get("message"))


def _is_stat(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _is_consistent(row: Mapping[str, Any]) -> bool:
    needed = {"written": ("target", "sha256_source", "sha256_target", "linf"), "failed": ("error",)}
    needed |= {"copied": ("target", "sha256_source", "sha256_target", "reason"), "skipped": ("reason",)}
    return all(row[name] is not None for name in needed[row["status"]])


_FIELDS: Final[dict[str, Callable[[Any], bool]]] = {
    "source": _is_path,
    "target": _or_none(is_below),
    "status": lambda value: isinstance(value, str) and value in ("written", "copied", "skipped", "failed"),
    "faces": lambda value: isinstance(value, list) and all(map(_is_box, value)),
    "linf": _or_none(_is_number),
    "written": _or_none(_is_measured),
    "sha256_source": _or_none(_is_text),
    "sha256_target": _or_none(_is_text),
    "seconds": _or_none(_is_number),
    "error": _or_none(_is_error),
    "config": _is_text,
    "generator": _is_text,
    "backend": _is_text,
    "reason": _or_none(_is_text),
    "faces_from": _or_none(_is_number),
    "stat": _is_stat,
}
#: What a run does not go by.
_YOUNGER: Final = frozenset({"seconds", "backend", "faces_from"})
