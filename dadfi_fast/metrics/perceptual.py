"""How much of a change people see, by published metrics: FLIP and SSIMULACRA2; Butteraugli and ColorVideoVDP.

FLIP (Andersson et al., "FLIP: A Difference Evaluator for Alternating Images", HPG 2020) models the eye's contrast
sensitivity, colour differences and edges. SSIMULACRA2 (Sneyers, 2023) compares structure at six scales, fitted to human
ratings of compressed pictures. Neither has weights that would have to be fetched
(docs/decisions/0014-perceptual-distance.md).

Butteraugli (Alakuijala et al., arXiv 1703.00421) and ColorVideoVDP (Mantiuk et al., SIGGRAPH 2024) are for experiments:
the one is a program of libjxl, the other a package that needs torch and torchvision.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from dadfi_fast.errors import BackendMissing
from dadfi_fast.types import UInt8

#: The packages of `flip` and `ssimulacra2`: module, and name for pip.
PACKAGES: Final = {"flip_evaluator": "flip-evaluator", "ssimulacra2": "ssimulacra2"}
#: Pixels to a degree of the eye: a display of 3840 pixels and 0.7 m, seen from 0.7 m; the authors' own setting.
PIXELS_A_DEGREE: Final = 67.0
#: The program of `butteraugli`.
BUTTERAUGLI: Final = "butteraugli_main"


def need(*modules: str) -> None:
    """Make sure that the metrics can run.

    Args:
        modules: of `PACKAGES`; all of them where none is named.

    Raises:
        BackendMissing: a package is not installed.
    """
    missing = [PACKAGES[module] for module in modules or PACKAGES if importlib.util.find_spec(module) is None]
    if missing:
        raise BackendMissing(
            f"measuring visibility needs {' and '.join(missing)}. Run: pip install {' '.join(missing)}"
        )


def flip(one: UInt8, other: UInt8) -> float:
    """The mean FLIP difference of two sRGB pictures [H, W, 3], 0 to 1; 0 where nothing differs.

    Raises:
        BackendMissing: the package is not installed.
    """
    assert one.shape == other.shape and one.ndim == 3, (one.shape, other.shape)
    need("flip_evaluator")
    import flip_evaluator

    pictures = (np.ascontiguousarray(picture, dtype=np.float32) / 255 for picture in (one, other))
    _, mean, _ = flip_evaluator.evaluate(*pictures, "LDR", applyMagma=False, parameters={"ppd": PIXELS_A_DEGREE})
    return float(mean)


def ssimulacra2(original: UInt8, changed: UInt8) -> float:
    """SSIMULACRA2's score of two sRGB pictures [H, W, 3]: 100 equal, 90 hardly visible, 70 high quality, below 0 bad.

    Raises:
        BackendMissing: the package is not installed.
    """
    assert original.shape == changed.shape and original.ndim == 3, (original.shape, changed.shape)
    need("ssimulacra2")
    from ssimulacra2 import compute_ssimulacra2

    return float(compute_ssimulacra2(*(_as_file(picture) for picture in (original, changed))))


def butteraugli(original: UInt8, changed: UInt8) -> float:
    """Butteraugli's distance of two sRGB pictures [H, W, 3] (3-norm over the picture): 0 equal, 1 just noticeable.

    Raises:
        BackendMissing: the program is not installed, or failed.
    """
    if shutil.which(BUTTERAUGLI) is None:
        raise BackendMissing(
            f"Butteraugli needs the program {BUTTERAUGLI} of libjxl. Debian: apt install libjxl-devtools"
        )
    with tempfile.TemporaryDirectory(prefix="dadfi-") as folder:
        paths = [Path(folder, f"{number}.png") for number in range(2)]
        for path, picture in zip(paths, (original, changed), strict=True):
            Image.fromarray(picture).save(path, compress_level=1)
        run = subprocess.run([BUTTERAUGLI, *map(str, paths)], capture_output=True, text=True, check=False)
    if run.returncode:
        raise BackendMissing(f"{BUTTERAUGLI} failed: {run.stderr.strip()}")
    return float(run.stdout.split()[-1])


def colorvideovdp(original: UInt8, changed: UInt8) -> float:
    """ColorVideoVDP's quality of two sRGB pictures [H, W, 3] on a 4k display of 30 inches: 10 equal, a unit is a JOD.

    Raises:
        BackendMissing: the package is not installed, or cannot be loaded.
    """
    score, _ = _colorvideovdp().predict(changed, original, dim_order="HWC")
    return float(score)


@functools.cache
def _colorvideovdp() -> Any:
    try:
        import pycvvdp
        import torch
    except ImportError as error:
        raise BackendMissing(f"ColorVideoVDP cannot be loaded: {error}. Run: pip install cvvdp torchvision") from error
    return pycvvdp.cvvdp(display_name="standard_4k", device=torch.device("cpu"), quiet=True)


def _as_file(picture: UInt8) -> io.BytesIO:
    """``picture`` as a file without loss: the package takes files only."""
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "BMP")
    data.seek(0)
    return data
