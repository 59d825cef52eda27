"""What TensorRT for RTX compiled on this machine (its runtime cache), kept from run to run beside the engine.

It is machine code, as an engine is: it is read only from where nobody but the user and the system can write, and only
if it is what was written. Whether it fits this GPU and driver TensorRT for RTX looks at itself. The calls are tested
with a stand-in; **none of it has run on a GPU**.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from pathlib import Path
from typing import Any, Final

from dadfi_fast.backends import cuda
from dadfi_fast.backends.tensorrt import cache
from dadfi_fast.files import atomic_write

SUFFIX: Final = ".compiled"
_DIGEST: Final = hashlib.sha256().digest_size


class RuntimeCache:
    """The runtime cache of one engine on one GPU.

    Args:
        config: runtime configuration of the engine; all contexts are made with it. The GPU's context must be current.
        engine: the engine's file.
        gpu: the GPU that it runs on.

    Raises:
        DadfiError: there is a file that others could have written.
    """

    def __init__(self, config: Any, engine: Path, gpu: cuda.Gpu) -> None:
        self.file = engine.with_name(f"{engine.stem}-{cache.slug(gpu.name, gpu.driver)}{SUFFIX}")
        self._cache = config.create_runtime_cache()
        self._written = _read(self.file)
        #: Whether there was something to begin with; what is of another version, GPU or driver is refused.
        self.found = bool(self._written) and bool(self._cache.deserialize(self._written))
        config.set_runtime_cache(self._cache)
        self._lock = threading.Lock()

    def keep(self) -> None:
        """Write what was compiled since the last time. A folder that cannot be written is done without."""
        with self._lock:
            content = bytes(self._cache.serialize())
            if content != self._written:
                with contextlib.suppress(OSError):
                    atomic_write(self.file, hashlib.sha256(content).digest() + content, private=True)
                self._written = content


def _read(file: Path) -> bytes:
    """What was written; nothing if there is none or it is damaged."""
    if not file.is_file():
        return b""
    content = cache.require_private(file).read_bytes()
    digest, rest = content[:_DIGEST], content[_DIGEST:]
    return rest if hashlib.sha256(rest).digest() == digest else b""
