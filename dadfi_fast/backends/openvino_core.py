"""OpenVINO's core: one for the whole process, for all that runs networks with it."""

from __future__ import annotations

import functools
from typing import Any

from dadfi_fast.backends import telemetry


@functools.cache
def core() -> Any:
    """The ``openvino.Core``; made at the first call, and never given up.

    A core gives its thread a stack for signals (``sigaltstack``) and puts the former one back when it goes. Of two
    cores that go in the order they came the second one puts back the first one's, which is no more: the next Ctrl-C
    then ends Python with a segmentation fault (OpenVINO 2026.4).

    Raises:
        ImportError: OpenVINO is not installed.
    """
    telemetry.refuse()
    import openvino

    return openvino.Core()


def operations() -> Any:
    """OpenVINO's operations, to build models with (``openvino.opset13``).

    Raises:
        ImportError: OpenVINO is not installed.
    """
    telemetry.refuse()
    from openvino import opset13

    return opset13
