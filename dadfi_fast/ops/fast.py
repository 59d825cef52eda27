"""Who has fast kernels for the operations of this package: asked when they are first wanted, imported then.

The kernels stand outside of the core and are the only ones who know how they are compiled and checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dadfi_fast.registry import Registry, lazy

#: By where they run: what loads the function that makes them known there. "source": the one that gives their digest.
KERNELS: Registry[Callable[[], Any]] = Registry("kind of kernels")

KERNELS.add("cuda")(lazy("dadfi_fast.kernels.default", "offer"))
KERNELS.add("tensorrt")(lazy("dadfi_fast.kernels.tensorrt_plugin", "register"))
KERNELS.add("source")(lazy("dadfi_fast.kernels.loader", "source_digest"))
