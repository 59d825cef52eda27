"""One run at a time on an output folder in a store, which has no locks: an object that says who is at work."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from typing import Any, Final

from dadfi_fast.errors import UsageError
from dadfi_fast.storage.paths import RemotePath, storage_errors

NAME: Final = "dadfi-manifest.lock"
#: Seconds between two signs of life, and how old the last one may be before the run counts as dead.
BEAT: Final = 15.0
DEAD: Final = 60.0


class Lease:
    """Keeps other runs away while this one gives signs of life.

    Two runs that begin within the same second may miss each other: a store has no step that both looks and writes.
    A run that was killed is told by its process where it ran on this machine, else by its silence.

    Args:
        out: the output folder.

    Raises:
        UsageError: another run writes there.
        DiskError: the store cannot be reached.
    """

    def __init__(self, out: RemotePath) -> None:
        self._path = out / NAME
        self._refuse(out)
        self._beat()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live, name="dadfi-lease", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let others in."""
        self._over.set()
        self._thread.join()
        with suppress(Exception):  # else the next run waits a minute
            self._path.store.system.rm_file(self._path.key)

    def _refuse(self, out: RemotePath) -> None:
        with storage_errors(self._path, to="read"):
            if not self._path.store.system.exists(self._path.key):
                return
            holder = json.loads(self._path.read_bytes())
        if (silent := time.time() - float(holder["beat"])) < DEAD and not _is_dead(holder):
            raise UsageError(
                f"another run is writing to {out}: process {holder['process']} on {holder['host']}. Wait for it, or"
                f" choose another --out. If it was killed, wait {DEAD - silent:.0f} s."
            )

    def _beat(self) -> None:
        sign = {"host": socket.gethostname(), "process": os.getpid(), "beat": time.time()}
        with storage_errors(self._path, to="write"):
            self._path.store.system.pipe_file(self._path.key, json.dumps(sign).encode())

    def _live(self) -> None:
        while not self._over.wait(BEAT):
            with suppress(Exception):  # where the store is gone, the run finds out by itself
                self._beat()


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether the process ran on this machine and is no more; False where that cannot be said."""
    if holder["host"] != socket.gethostname() or os.name == "nt":
        return False
    try:
        os.kill(int(holder["process"]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
