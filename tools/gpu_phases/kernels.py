"""Every kernel against float64, then every version of it, and what PyTorch has, against a copy of memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from dadfi_fast.bench import kernels
from dadfi_fast.bench.kernels import Work
from dadfi_fast.bench.rows import Row, package, summarise
from gpu_phases import Clock
from gpu_phases.plan import Plan
from gpu_phases.results import Notes
from gpu_phases.timing import rates

#: Batches and dtypes, those that matter most first.
KINDS = ((64, "f16"), (8, "f16"), (64, "bf16"), (64, "f32"))


def run(plan: Plan, clock: Clock) -> None:
    """The check, then the ladder, a call of the operation at a time, until the budget is used up."""
    notes = Notes(plan)
    if not plan.on_gpu:
        notes.rows(_on_the_cpu())
        return
    from dadfi_fast.kernels import binding, selfcheck
    from dadfi_fast.kernels.choice import VERSIONS
    from dadfi_fast.kernels.timing import bodies, time_body

    wrong = binding.missing() or selfcheck.check(plan.device)
    notes.figure("kernels right", float(wrong is None), "yes", reason=wrong or "all versions, against float64")
    notes.figure("matrix product bf16 8192", _product(plan.device), "TFLOP/s", n=10)
    copied = False
    for work in [work for batch, dtype in KINDS for work in kernels.works("s", batch=batch, dtype=dtype)]:
        if clock.left() < 5:
            break
        versions = {name: body for name, body in bodies().items() if binding.missing() is None or name not in VERSIONS}
        with torch.inference_mode():
            rows, missing = kernels.gpu_rows([work], found=versions, time=time_body, repeats=50, device=plan.device)
        notes.rows(rows[1:] if copied else rows)
        copied = True
        print(*missing, sep="\n")


def _on_the_cpu() -> Iterator[Row]:
    """What PyTorch has for the operation, found right before it is timed; compiling it would take too long here."""
    work = Work((1, 8, 32, 32), "f32", relu=True, residual=False)
    inputs = work.inputs("cpu")
    for name, body in (("torch eager", kernels.eager), ("reference", kernels.plain)):
        assert kernels.accuracy(body, work, "cpu").right, name
        speeds = rates(lambda body=body: body(inputs, work.relu), work.bytes, "cpu", seconds=0.2)
        gigabytes = [rate / 1e9 for rate in speeds]
        yield summarise(work.name, name, gigabytes, unit="GB/s", driver=package("torch"), config=work.facts())


def _product(device: str, side: int = 8192, times: int = 10) -> float:
    """The rate of a large matrix product on random numbers: what arithmetic can be had for."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        a @ b
    end.record()
    end.synchronize()
    return 2 * side**3 * times / start.elapsed_time(end) / 1e9
