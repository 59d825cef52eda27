"""A generator as OpenVINO's own format (IR): ``NAME.xml`` and ``NAME.bin``."""

from __future__ import annotations

from pathlib import Path

import onnx

from dadfi_fast.backends.openvino_core import core
from dadfi_fast.errors import DiskError
from dadfi_fast.export.generator import HALF, Source


def write(source: Source, folder: Path, *, narrow: bool = False) -> Path:
    """Write the files, the facts inside (``rt_info/dadfi``), and say where the ``.xml`` is.

    Args:
        folder: made if it is not there; files of these names in it are replaced.
        narrow: store the weights in float16. What they are computed in is the device's choice, or the
            ``INFERENCE_PRECISION_HINT``'s: a CPU widens them again.

    Raises:
        DiskError: the folder cannot be written.
    """
    engine = core()  # first: it keeps OpenVINO from calling home
    import openvino

    model = engine.read_model(source.model)
    for entry in onnx.load_from_string(source.model).metadata_props:
        model.set_rt_info(entry.value, entry.key.split("."))
    path = folder / f"{source.card.name}{HALF if narrow else ''}.xml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        openvino.save_model(model, path, compress_to_fp16=narrow)
    except (OSError, RuntimeError) as error:  # OpenVINO's own error of a folder that cannot be written
        raise DiskError(f"cannot write to {folder}: {error}") from error
    return path
