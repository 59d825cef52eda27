"""A network of the user's as a torch module, so that gradients go through it: converted by onnx2pytorch.

onnx2pytorch wants torchvision for operators of detection networks. That works with the torch of its own build alone, so
it is not loaded: those operators are not converted.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from dadfi_fast.deepfakes.onnx_constants import with_weights
from dadfi_fast.errors import BackendMissing, WeightsError
from dadfi_fast.types import Float32

PACKAGE: Final = "onnx2pytorch"
INSTALL: Final = "pip install --no-deps onnx2pytorch==0.6.0"
#: Mean difference, on the [-1, 1] scale, that the module's fakes may have from those of the ONNX file.
TOLERANCE: Final = 1e-3
#: Why a network that rounds its picture, for instance, is judged only.
NO_GRADIENT: Final = "no gradient arrives at the picture"
#: What onnx2pytorch takes from torchvision.
_TORCHVISION: Final = {
    "torchvision": (),
    "torchvision.io": ("ImageReadMode", "decode_image"),
    "torchvision.ops": ("deform_conv2d", "nms", "roi_align", "roi_pool"),
}


class Network(nn.Module):
    """A network in its normal form (`dadfi_fast.deepfakes.onnx_normal_form`).

    Args:
        module: called with pictures and edits.
        one_by_one: it takes one picture at a time.
    """

    def __init__(self, module: nn.Module, *, one_by_one: bool) -> None:
        super().__init__()
        self.module, self.one_by_one = module, one_by_one

    def forward(self, x: Tensor, edit: Tensor) -> Tensor:
        """``x`` [B, 3, S, S] in [-1, 1] edited as ``edit`` [B, E] (one-hot) says; same shape and range."""
        size = 1 if self.one_by_one else len(x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converter's operators warn of their own code
            return torch.cat([self.module(*pair) for pair in zip(x.split(size), edit.split(size), strict=True)])


def load_network(path: Path, *, one_by_one: bool) -> Network:
    """The network in the ONNX file ``path``, which is in its normal form.

    Raises:
        BackendMissing: the converter is not installed.
        WeightsError: the converter cannot convert it, as another version of it could when the network was added.
    """
    try:
        return convert(onnx.load(path, load_external_data=False), one_by_one=one_by_one)
    except BackendMissing:
        raise
    except Exception as error:  # the converter has no error class of its own
        raise WeightsError(
            f"{PACKAGE} cannot convert {path}: {error}. Add the model again (models add --force)."
        ) from error


def convert(model: onnx.ModelProto, *, one_by_one: bool) -> Network:
    """`load_network` of a file that was read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter warns of what the comparison would show
        module: nn.Module = _converter()(with_weights(model))
    return Network(module.eval(), one_by_one=one_by_one).requires_grad_(False)


def why_not(model: onnx.ModelProto, images: Float32, edits: Float32, fakes: Float32, *, one_by_one: bool) -> str:
    """Why gradients do not go through ``model``; "" if they do.

    Args:
        model: in its normal form.
        images: [N, 3, S, S] in [-1, 1].
        edits: [N, E], one-hot.
        fakes: [N, 3, S, S], what the ONNX file gives.
    """
    try:
        network = convert(model, one_by_one=one_by_one)
        x = torch.from_numpy(np.ascontiguousarray(images)).requires_grad_()
        out = network(x, torch.from_numpy(edits))
        difference = float((out.detach() - torch.from_numpy(fakes)).abs().mean((1, 2, 3)).max())
        if not difference <= TOLERANCE:
            return f"the module that {PACKAGE} makes of it gives other pictures (mean difference {difference:.2g} of 2)"
        if not out.requires_grad:
            return NO_GRADIENT
        (gradient,) = torch.autograd.grad(out.square().sum(), x)
    except BackendMissing as error:
        return str(error)
    except Exception as error:  # the converter has no error class of its own
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return f"{PACKAGE} cannot convert it ({text})"
    if not torch.isfinite(gradient).all():
        return "its gradient is not finite"
    if not (gradient.flatten(1).abs().amax(1) > 0).all():
        return NO_GRADIENT
    return ""


def _converter() -> Any:
    if sys.version_info < (3, 11) or importlib.util.find_spec(PACKAGE) is None:
        raise BackendMissing(f"{PACKAGE} is not installed (it needs Python 3.11). Run: {INSTALL}")
    with _without_torchvision():
        return importlib.import_module(PACKAGE).ConvertModel


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Stand-ins for what is not called, unless somebody has loaded torchvision already."""
    if "torchvision" in sys.modules or f"{PACKAGE}.convert" in sys.modules:
        yield
        return
    try:
        for name, members in _TORCHVISION.items():
            module = types.ModuleType(name)
            for member in members:
                setattr(module, member, _missing)
            sys.modules[name] = module
            parent, _, own = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], own, module)
        yield
    finally:
        for name in _TORCHVISION:
            sys.modules.pop(name, None)


def _missing(*_: object, **__: object) -> None:
    raise NotImplementedError("operators of detection networks are not converted")
