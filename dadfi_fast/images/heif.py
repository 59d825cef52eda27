"""HEIC, which Pillow reads and writes through another package: the extra ``[heif]``."""

from __future__ import annotations

import functools
from contextlib import suppress

from dadfi_fast.errors import PhotoError


@functools.cache
def register() -> None:
    """Teach Pillow the format; a second call does nothing.

    Raises:
        PhotoError: the package is not installed.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise PhotoError("HEIC needs another package. Run: pip install 'dadfi-fast[heif]'") from error
    pillow_heif.register_heif_opener()


def register_if_there() -> None:
    """The same, and nothing where the package is not installed."""
    with suppress(PhotoError):
        register()
