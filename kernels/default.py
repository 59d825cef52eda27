"""Whether the kernels are used where nobody asked for them: on a GPU on which they were checked, once, against PyTorch.

The rule: `dadfi_fast.ops` asks when it first meets a tensor on a GPU. The kernels are refused if the environment says
so (``DADFI_KERNELS=off``), if something that they need is missing, or if they failed `dadfi_fast.kernels.selfcheck` on
one of the GPUs that PyTorch sees. The check runs once for each kind of GPU, driver, compiler and source, in a process
of its own; its verdict is kept beside the compiled kernels. **It has never run on a GPU.**
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import torch

from dadfi_fast.kernels import binding, loader

#: The environment variable that turns the kernels off.
VARIABLE: Final = "DADFI_KERNELS"
OFF: Final = ("off", "0", "no")
#: Compiling takes seconds, the comparisons less; a kernel that hangs is stopped.
SECONDS: Final = 300

_LOCK: Final = threading.Lock()
_ANSWERS: Final[list[str | None]] = []


def offer() -> bool:
    """Register the kernels at the first call if they may be used. Later calls do nothing.

    Returns:
        Whether they were registered just now. If a check has failed, why goes to stderr, once.
    """
    with _LOCK:
        if _ANSWERS:
            return False
        why = refusal()
        _ANSWERS.append(why)
        if why is None:
            binding.register()
    return why is None


def refusal() -> str | None:
    """Why the kernels are not used; None if they are. Checks GPUs that were not checked before."""
    if os.environ.get(VARIABLE, "").lower() in OFF:
        return f"{VARIABLE} says so"
    if (why := binding.missing()) is not None:
        return why
    kinds = {_kind(device): device for device in reversed(range(torch.cuda.device_count()))}
    for kind, device in kinds.items():
        file = loader.user_folder() / f"check-{kind}.json"
        verdict = _kept(file)
        if verdict is None:
            verdict = {"refused": examine(device)}
            with contextlib.suppress(OSError):
                loader.write(file, json.dumps(verdict).encode())
        if (wrong := verdict["refused"]) is not None:
            why = f"they failed their check ({wrong}); delete {file} to have it repeated"
            print(f"dadfi-fast: the CUDA kernels are not used, PyTorch's own are: {why}", file=sys.stderr)
            return why
    return None


def known() -> tuple[str | None, str]:
    """Why the kernels are not used (None if they are), and what is known of the GPUs here; checks none."""
    if os.environ.get(VARIABLE, "").lower() in OFF:
        return f"{VARIABLE} says so", ""
    if (why := binding.missing()) is not None:
        return why, ""
    files = [loader.user_folder() / f"check-{_kind(device)}.json" for device in range(torch.cuda.device_count())]
    verdicts = [_kept(file) for file in files]
    for file, verdict in zip(files, verdicts, strict=True):
        if verdict is not None and verdict["refused"] is not None:
            return f"they failed their check ({verdict['refused']}); delete {file} to have it repeated", ""
    return None, "will be checked at their first use" if None in verdicts else "checked on every GPU here"


def examine(device: int) -> str | None:
    """Run the check on one GPU in a process of its own; what is wrong, or None."""
    command = [sys.executable, "-m", "dadfi_fast.kernels.selfcheck", f"cuda:{device}"]
    environment = {**os.environ, VARIABLE: OFF[0]}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no verdict: {error}"
    try:
        wrong: str | None = json.loads(done.stdout.splitlines()[-1])["refused"]
    except (ValueError, IndexError, KeyError, TypeError):
        return f"no verdict: it ended with code {done.returncode}: {done.stderr.strip()[-300:]}"
    return wrong


def _kind(device: int) -> str:
    """What the verdict holds for, as part of a file name."""
    name = "".join(c if c.isalnum() else "_" for c in torch.cuda.get_device_name(device).lower())
    return f"{name}-{loader.fingerprint('all', torch.cuda.get_device_capability(device))}"


def _kept(file: Path) -> dict[str, str | None] | None:
    try:
        stored = json.loads(loader.read(file) or b"")
    except ValueError:
        return None
    return stored if isinstance(stored, dict) and "refused" in stored else None
