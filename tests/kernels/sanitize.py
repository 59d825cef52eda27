"""Runs all versions of the kernels, and the gradients, under each tool of NVIDIA's compute-sanitizer. Needs a GPU.

    python tests/kernels/sanitize.py

compute-sanitizer comes with the CUDA toolkit and must be on the PATH. Not collected by pytest: it takes minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys

import torch
from cases import DTYPES, LARGE_SHAPES, LAYOUTS, NARROW_SHAPES, SHAPES, inputs

from dadfi_fast.errors import UsageError
from dadfi_fast.kernels.binding import fused, fused_gradients
from dadfi_fast.kernels.choice import VERSIONS

#: Out of bounds and misaligned; races in shared memory; reads of what nobody wrote; barriers that not all reach.
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")


def run() -> None:
    """Launch everything once, so that a tool can watch."""
    for shape in [*SHAPES, *LARGE_SHAPES, *NARROW_SHAPES]:
        for dtype in DTYPES:
            for layout in LAYOUTS:
                x, weight, bias, residual = (t.cuda() for t in inputs(shape, dtype, layout, seed=0))
                fused_gradients(residual, x, weight, bias, True)
                for version in VERSIONS:
                    try:
                        fused(x, weight, bias, residual, True, version=version)
                        fused(x, weight, bias, None, False, version=version)
                    except UsageError as error:
                        print(f"left out: {error}")
    torch.cuda.synchronize()


def main() -> int:
    """Run this file under each tool; 1 if any of them finds something."""
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        print("compute-sanitizer is not on the PATH; it comes with the CUDA toolkit", file=sys.stderr)
        return 2
    # Without PyTorch's cache of memory every tensor has bounds of its own.
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    failed = []
    for tool in TOOLS:
        print(f"== {tool}", flush=True)
        command = [sanitizer, "--tool", tool, "--error-exitcode", "1", sys.executable, __file__, "--run"]
        if subprocess.run(command, env=environment).returncode:
            failed.append(tool)
    print(f"found something: {', '.join(failed)}" if failed else "all tools found nothing")
    return int(bool(failed))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", action="store_true", help="launch the kernels and no tool")
    if parser.parse_args().run:
        run()
    else:
        sys.exit(main())
