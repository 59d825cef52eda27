"""The generator end to end on crops that lie on the device: eager, compiled, as a CUDA graph; with our kernels or not.

The environment decides about the kernels (``DADFI_KERNELS``), which is why this is two phases.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable

import torch
from torch import Tensor

from dadfi_fast.bench.rows import summarise
from dadfi_fast.models import generator as network
from dadfi_fast.models.generator import Generator
from dadfi_fast.ops.instance_norm_residual import EPS, instance_norm_residual
from dadfi_fast.types import LEVELS
from gpu_phases import Clock
from gpu_phases.plan import Plan
from gpu_phases.results import Notes
from gpu_phases.timing import rates

#: Preset and batch, those that matter most first.
KINDS = (("s", 64), ("m", 64), ("s", 1), ("m", 1))
Call = Callable[[Tensor], Tensor]


def run(plan: Plan, clock: Clock) -> None:
    """Each way to run it, checked against float32 on the CPU and timed."""
    notes, kernels = Notes(plan), os.environ.get("DADFI_KERNELS") != "off"
    side, kinds = (256, KINDS) if plan.on_gpu else (32, KINDS[2:3])
    seconds = min(1.0 if plan.on_gpu else 0.05, clock.left() / 30)
    for preset, batch in kinds:
        torch.manual_seed(0)
        plain = Generator(preset).eval()
        x = torch.rand(batch, 3, side, side) * 2 - 1
        with torch.inference_mode():
            truth = plain(x[:2])
        ours = _placed(copy.deepcopy(plain), plan)
        crops = _placed(x, plan)
        for name, make in WAYS.items():
            if clock.left() < 2:
                return
            if kernels and name == PLAIN:
                continue
            provider = f"{name}{' + kernels' * kernels}-{plan.device}"
            network.instance_norm_residual = _plain if name == PLAIN else instance_norm_residual
            try:
                with torch.inference_mode():
                    call = make(ours, crops)
                    off = float((call(crops)[:2].float().cpu() - truth).abs().max()) * LEVELS
                    speeds = rates(lambda call=call, x=crops: call(x), batch, plan.device, seconds=seconds)
            except Exception as error:  # one way that fails is no reason to leave the others out
                print(f"generator {preset}, batch {batch}, {provider}: {error}", flush=True)
                continue
            facts = {"preset": preset, "batch": batch, "size": side, "levels_off": off} | notes.gpu
            case = f"generator {preset} {side} px batch {batch}"
            notes.rows([summarise(case, provider, speeds, unit="crops/s", driver=notes.driver, config=facts)])


def _placed(thing: torch.nn.Module | Tensor, plan: Plan) -> torch.nn.Module | Tensor:
    """On a GPU float16, channels last."""
    if not plan.on_gpu:
        return thing
    return thing.to(plan.device, torch.float16).to(memory_format=torch.channels_last)


def _eager(generator: Call, crops: Tensor) -> Call:
    return generator


def _compiled(generator: Call, crops: Tensor) -> Call:
    return torch.compile(generator, dynamic=False) if crops.is_cuda else generator


def _graph(generator: Call, crops: Tensor) -> Call:
    """Replays on ``crops``, whatever it is called with: what is timed are replays."""
    if not crops.is_cuda:
        return generator
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            generator(crops)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = generator(crops)

    def call(_: Tensor) -> Tensor:
        graph.replay()
        return out

    return call


def _plain(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None = None, relu: bool = False) -> Tensor:
    """The operation in PyTorch's own, which torch.compile sees through and fuses; ours is one piece to it."""
    out = torch.nn.functional.instance_norm(x, weight=weight, bias=bias, eps=EPS)
    out = out.relu() if relu else out
    return out if residual is None else out + residual


PLAIN = "torch.compile of PyTorch's norms"
WAYS = {"eager": _eager, "CUDA graph": _graph, "torch.compile": _compiled, PLAIN: _compiled}
