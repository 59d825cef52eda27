"""Keeps OpenVINO from calling home: ``import openvino`` by itself reports the import to its makers' web analytics."""

from __future__ import annotations

import sys


def refuse() -> None:
    """To be called before ``import openvino``: hides the package that would send.

    OpenVINO takes a stub where ``openvino_telemetry`` cannot be imported, and None in ``sys.modules`` makes it so. Its
    own switch would be a file in the user's home, which is not ours to write.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
