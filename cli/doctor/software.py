"""What ``doctor`` finds out about the parts of the program: backends, detectors, codecs and weights."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dadfi_fast.cli.doctor.machine import Finding
from dadfi_fast.errors import PhotoError, WeightsError
from dadfi_fast.model_card import cards, folders

#: Formats that are tried, as Pillow calls them, with the mode of pixel that each is tried with.
CODECS: Final = (
    ("JPEG", "RGB"),
    ("PNG", "RGB"),
    ("PNG", "RGB;16"),
    ("WEBP", "RGB"),
    ("TIFF", "RGB"),
    ("TIFF", "RGB;16"),
    ("AVIF", "RGB"),
    ("HEIF", "RGB"),
    ("BMP", "RGB"),
)
#: How to install a missing codec.
_MENDS: Final = {"HEIF": "pip install 'dadfi-fast[heif]'", "AVIF": "pip install --upgrade 'pillow>=11.3'"}
_RUN: Final = re.compile(r"[;,.]? *(?:[Rr]un:|[Pp]ass) +(.+)")


def backends(*, gpus: int) -> list[Finding]:
    """Every backend: whether it runs here, and on what; ``gpus`` is how many the driver knows."""
    from dadfi_fast.backends.registry import BACKENDS

    findings = []
    for name in BACKENDS:
        kind = BACKENDS[name]()
        note = "cpu" if "cpu" in kind.devices else ""
        if "cuda" in kind.devices:
            tried = "; --device cuda is untested" if gpus else ""
            note = ", ".join(part for part in (note, _on_gpu(name, gpus)) if part) + tried
        findings.append(_finding("backend", name, kind.missing(), note))
    return findings


def detectors() -> list[Finding]:
    """Every face detector."""
    from dadfi_fast.faces.detector import DETECTORS

    notes = {"none": "the whole image counts as one face"}
    return [_finding("detector", name, DETECTORS[name]().missing(None), notes.get(name, "")) for name in DETECTORS]


def codecs() -> list[Finding]:
    """Every format that is written: a small picture is encoded and decoded again."""
    findings = []
    for form, mode in CODECS:
        name = f"{form} 16 bit" if mode.endswith("16") else form
        why = _round_trip(form, mode)
        findings.append(Finding("codec", name, why is None, why or "reads and writes", why and _MENDS.get(form)))
    return findings


def gpu_codecs(*, gpus: int) -> list[Finding]:
    """What decodes and encodes on a GPU: whether it is there, and what it has to work on."""
    from dadfi_fast.protect.gpu import dali, nvimgcodec

    where = "--device cuda is untested" if gpus else "no GPU here, so it decodes on the CPU"
    idle = "--device cuda is untested" if gpus else "no GPU here, so it is not used"
    return [
        _finding("decoder", "dali", dali.missing(), f"cpu, cuda; {where}"),
        _finding("encoder", "nvimgcodec", nvimgcodec.missing(), f"cuda; {idle}"),
    ]


def kernels(*, gpus: int) -> list[Finding]:
    """Our CUDA kernels: whether PyTorch's part of the program uses them here."""
    from dadfi_fast.kernels import loader

    why, note = (loader.missing(), "") if gpus else ("no GPU here", "")
    if why is None:
        from dadfi_fast.kernels import default  # loads PyTorch

        why, note = default.known()
    return [_finding("kernels", "instance_norm_residual", why, note)]


def models() -> Iterator[Finding]:
    """Every weights file, hashed and compared with its card."""
    for folder in folders():
        for card in cards(folder):
            try:
                card.verify()
                yield Finding("model", card.name, True, f"{_purpose(card.family)}, {card.parameters} parameters")
            except WeightsError as error:
                yield Finding("model", card.name, False, *_split(str(error)))


def _purpose(family: str) -> str:
    """The family, and of an encoder what it reads and is measured by."""
    from dadfi_fast.deepfakes.encoders import ENCODERS
    from dadfi_fast.deepfakes.registry import purpose

    if family not in ENCODERS:
        return family
    kind, measure = purpose(family)
    return f"{family}: {kind}, {measure}"


def _finding(kind: str, name: str, missing: str | None, note: str) -> Finding:
    return Finding(kind, name, True, note) if missing is None else Finding(kind, name, False, *_split(missing))


def _split(why: str) -> tuple[str, str | None]:
    """The reason and the fix: our messages end with ``run: COMMAND``, ``pass OPTION``, or another instruction."""
    command = _RUN.search(why)
    if command:
        return why[: command.start()], command[0].lstrip("; ,.").removeprefix("run: ").removeprefix("Run: ")
    reason, _, fix = why.rpartition(". ") if ". " in why else why.rpartition("; ")
    return (reason, fix) if reason else (why, None)


def _on_gpu(name: str, gpus: int) -> str:
    """What is known of a backend's GPU support without loading it."""
    if not gpus:
        return "no GPU here"
    if name == "torch" and importlib.util.find_spec("torch"):
        built = _torch_cuda()
        return f"cuda (PyTorch built for CUDA {built})" if built else "this PyTorch is built without CUDA"
    if name == "onnxruntime":
        has = _installed("onnxruntime-gpu")
        return "cuda" if has else "for cuda install onnxruntime-gpu in place of onnxruntime"
    return "cuda"


def _torch_cuda() -> str | None:
    """The CUDA version in torch/version.py, read as text."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    built = re.search(r"^cuda\b[^=]*=\s*'([\d.]+)'", text, re.MULTILINE)
    return built[1] if built else None


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _round_trip(form: str, mode: str) -> str | None:
    """Why a small picture cannot be written and read in this format; None if it can."""
    import numpy as np

    from dadfi_fast.images.decode import decode, open_picture
    from dadfi_fast.images.encode import encode
    from dadfi_fast.types import Encoding, Photo, Protected

    pixels = np.full((16, 16, 3), 120, np.uint8)
    deep = np.full((16, 16, 3), 120 << 8, np.uint16) if mode.endswith("16") else None
    photo = Photo(Path(form), pixels, Encoding(form, mode))
    try:
        data = encode(Protected(photo, pixels, (), 0, deep))
        back = decode(open_picture(data, max_pixels=10_000), Path(form)).pixels
    except PhotoError as error:
        return str(error)
    return None if np.abs(back.astype(int) - 120).max() <= 3 else "it gives other colours than were written"
