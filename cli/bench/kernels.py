"""``dadfi-fast bench kernels``: the fused operation, on a GPU by our kernels, without one by the CPU's bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dadfi_fast.cli import console
from dadfi_fast.errors import BackendMissing

if TYPE_CHECKING:
    from dadfi_fast.bench.kernels import Work
    from dadfi_fast.bench.rows import Row

#: Replays of a graph on a GPU for each of ``--repeats``.
REPLAYS = 100


def measure(
    *, device: str, preset: str, batches: Sequence[int], dtypes: Sequence[str], repeats: int, quiet: bool
) -> list[Row]:
    """Rows for every call of a generator's pass.

    Raises:
        BackendMissing: ``device`` names a GPU, and the kernels cannot run on it.
    """
    from dadfi_fast.bench import kernels
    from dadfi_fast.kernels import binding

    why = binding.missing()
    if device == "auto":
        device = "cuda" if why is None else "cpu"
        if not quiet:
            reason = f"no kernel runs here ({why}): measuring the CPU implementations"
            console.message(f"--device auto is {device}: {'the kernels run on it' if why is None else reason}")
    if device != "cpu" and why is not None:
        raise BackendMissing(f"the kernels cannot run on {device}: {why}")
    kinds = dtypes or (("f32",) if device == "cpu" else ("f32", "f16"))
    chosen = [work for dtype in kinds for batch in batches for work in kernels.works(preset, batch=batch, dtype=dtype)]
    rows, missing = _cpu(chosen, repeats, quiet=quiet) if device == "cpu" else _gpu(chosen, device, repeats)
    for each in missing if not quiet else ():
        console.message(f"not measured: {each}")
    return rows


def _cpu(chosen: Sequence[Work], repeats: int, *, quiet: bool) -> tuple[list[Row], list[str]]:
    from dadfi_fast.bench import kernels
    from dadfi_fast.cli.progress import show_progress

    with show_progress(kernels.count_cases(chosen) * (repeats + 1), "cases", quiet=quiet) as progress:
        return kernels.cpu_rows(chosen, repeats=repeats, tick=progress.advance)


def _gpu(chosen: Sequence[Work], device: str, repeats: int) -> tuple[list[Row], list[str]]:
    import torch

    from dadfi_fast.bench import kernels
    from dadfi_fast.kernels.timing import bodies, time_body

    with torch.inference_mode():
        return kernels.gpu_rows(chosen, found=bodies(), time=time_body, repeats=repeats * REPLAYS, device=device)
