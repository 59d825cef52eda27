"""Official files of encoders: the TAESD family and MobileFaceNet, recognised by the names of their parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from dadfi_fast.deepfakes import mobilefacenet, taesd
from dadfi_fast.deepfakes.torch_checkpoint import of_family, read_state
from dadfi_fast.errors import UsageError, WeightsError
from dadfi_fast.files import sha256

#: sha256 of the files that the authors publish.
KNOWN: Final = frozenset(
    {
        "10a4e1021e89d7551eaf161352da8dbd0b1aa83872ae28b150c1df1ce2f147b6",  # taef2_encoder.pth, taesd @5cccb12d
        "0a44a31e1ae59eb9dbf9359d24942fd3ef5928162c1800d97a28c61d51be0ab5",  # taef2_decoder.pth, taesd @5cccb12d
        "90a00ba1d8b0b688af3deb731ed53dca582e6106805d1bc3cfdef55f570493f4",  # mobilefacenet.pt, foamliu @a6cc9032
    }
)
#: Bytes of the largest file that is looked into: encoders are small (the known ones have less than 5 MB).
LARGEST: Final = 64 << 20
#: Pixels a side of the pictures that a latent encoder is given, unless the user says otherwise.
LATENT_SIZE: Final = 256
#: Layers that a member of the TAESD family may have, and channels of each (TAEF2: 19, and 256 within a block).
MOST_LAYERS: Final = 64
MOST_CHANNELS: Final = 256
#: The pictures of a latent encoder are from so many pixels a side on.
SMALLEST: Final = 32


@dataclass(frozen=True, eq=False)
class Original:
    """A file as it was given."""

    file: Path
    sha256: str
    size: int  # bytes

    @classmethod
    def of(cls, file: Path) -> Original:
        """What there is to say of ``file``."""
        return cls(file, sha256(file), file.stat().st_size)

    @property
    def known(self) -> bool:
        """Whether it is a published file."""
        return self.sha256 in KNOWN

    def facts(self, folder: str) -> dict[str, Any]:
        """What a card says of the copy that lies in this folder, below that of the model."""
        return {"file": f"{folder}/{self.file.name}", "sha256": self.sha256, "bytes": self.size}


@dataclass(frozen=True, eq=False)
class Decoder:
    """What turns the codes of an encoder back into pictures."""

    module: nn.Module  # codes [B, D] to pictures [B, 3, S, S] in [-1, 1]
    original: Original


@dataclass(frozen=True, eq=False)
class OfficialEncoder:
    """An encoder that was recognised."""

    family: str  # of `dadfi_fast.deepfakes.encoders.ENCODERS`
    image_size: int  # pixels
    module: nn.Module  # pictures [B, 3, S, S] in [-1, 1] to codes [B, D]
    code_size: int  # D
    original: Original
    decoder: Decoder | None = None


def read_encoder(path: Path, *, decoder: Path | None = None, image_size: int | None = None) -> OfficialEncoder | None:
    """Recognise and load an encoder; None where the file is something else, or no checkpoint at all.

    Args:
        path: the file: a pickle of PyTorch or a safetensors file.
        decoder: the file of the decoder that belongs to it (TAESD family).
        image_size: pixels a side; see `LATENT_SIZE`.

    Raises:
        UsageError: it is a decoder, the size or the decoder is not one for it, or the decoder is missing.
        WeightsError: it looks like an encoder and is none, or the decoder is none or does not belong to it.
    """
    state = _state(path)
    if state is None or (build := _builder(state, path)) is None:
        return None
    return build(state, path, decoder, image_size)


def _state(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a file that may be an encoder; `read_official` says what is wrong with others."""
    if not path.is_file():
        return None
    if path.stat().st_size > LARGEST:
        if path.suffix == ".safetensors":  # which no other model comes as
            raise WeightsError(f"{path} is refused: an encoder of a known family has less than {LARGEST >> 20} MB")
        return None
    try:
        content = read_state(path)
    except WeightsError:
        if path.suffix == ".safetensors":
            raise
        return None
    return content if content and all(isinstance(value, Tensor) for value in content.values()) else None


_Builder = Callable[[Mapping[str, Tensor], Path, "Path | None", "int | None"], OfficialEncoder]


def _builder(state: Mapping[str, Tensor], path: Path) -> _Builder | None:
    names = {name.removeprefix("module.") for name in state}
    if "gdconv.depthwise.weight" in names and "conv1.0.weight" in names:
        return _mobilefacenet
    parts = taesd.split(state)
    if "encoder" not in parts and _is_decoder(parts.get("decoder", state)):
        raise UsageError(f"{path} is a decoder of the TAESD family. Pass the encoder, and this as --decoder.")
    encoder = parts.get("encoder", state)
    if "0.weight" in encoder and "1.conv.0.weight" in encoder:
        return _taesd
    if path.suffix == ".safetensors":
        some = ", ".join(list(state)[:3])
        raise WeightsError(f"{path} is not an encoder of a known family (it contains {some}, ...)")
    return None


def _is_decoder(state: Mapping[str, Tensor]) -> bool:
    """A decoder of the TAESD family begins with a clamp, which has no weights, a convolution and ReLU."""
    return "0.weight" not in state and "1.weight" in state and "3.conv.0.weight" in state


def _taesd(state: Mapping[str, Tensor], path: Path, decoder: Path | None, image_size: int | None) -> OfficialEncoder:
    side = LATENT_SIZE if image_size is None else image_size
    if side % taesd.STRIDE or side < SMALLEST:
        raise UsageError(f"--image-size {side} does not fit this encoder; it must be a multiple of {taesd.STRIDE}")
    parts = taesd.split(state)
    if decoder is None and "decoder" in parts:
        decoder = path
    with of_family("an encoder of the TAESD family", path):
        network = _network(parts.get("encoder", state))
        latents = _shape(network, torch.zeros(1, 3, SMALLEST, SMALLEST))
        if latents[2:] != (SMALLEST // taesd.STRIDE,) * 2:
            raise ValueError(f"latents of {latents[2]} x {latents[3]} for {SMALLEST} pixels a side")
    size = latents[1] * (side // taesd.STRIDE) ** 2
    encoder = OfficialEncoder("taesd", side, taesd.Latents(network), size, Original.of(path))
    return encoder if decoder is None else replace(encoder, decoder=_decoder(decoder, latents[1], side))


def _network(state: Mapping[str, Tensor]) -> nn.Module:
    """The layers that a state dict describes; what would need more memory than the file has numbers is refused."""
    if max(int(name.split(".", 1)[0]) for name in state) >= MOST_LAYERS:
        raise ValueError(f"more than {MOST_LAYERS} layers")
    if max(max(value.shape, default=0) for value in state.values()) > MOST_CHANNELS:
        raise ValueError(f"more than {MOST_CHANNELS} channels")
    return taesd.load(state)


def _decoder(path: Path, latents: int, side: int) -> Decoder:
    if not path.is_file():
        raise UsageError(f"--decoder {path} does not exist")
    state = read_state(path)
    state = taesd.split(state).get("decoder", state)
    if not _is_decoder(state):
        raise WeightsError(f"{path} is not a decoder of the TAESD family")
    with of_family("a decoder of the TAESD family", path):
        network = _network(state)
        small = SMALLEST // taesd.STRIDE
        wanted = state["1.weight"].shape[1]
        if wanted != latents:
            raise ValueError(f"it takes {wanted} latent channels, the encoder gives {latents}")
        if _shape(network, torch.zeros(1, latents, small, small)) != (1, 3, SMALLEST, SMALLEST):
            raise ValueError("it does not give RGB pictures of eight times the side")
    return Decoder(taesd.Pictures(network, latents, side), Original.of(path))


def _mobilefacenet(
    state: Mapping[str, Tensor], path: Path, decoder: Path | None, image_size: int | None
) -> OfficialEncoder:
    if decoder is not None:
        raise UsageError(f"{path} is a face embedder, which has no decoder. Remove --decoder.")
    if image_size not in (None, mobilefacenet.CROP):
        raise UsageError(f"{path} takes crops of {mobilefacenet.CROP} px. Remove --image-size.")
    with of_family("MobileFaceNet", path):
        network = mobilefacenet.load(state)
    module = mobilefacenet.Identity(network)
    return OfficialEncoder("mobilefacenet", mobilefacenet.CROP, module, network.bn.num_features, Original.of(path))


@torch.no_grad()
def _shape(network: nn.Module, x: Tensor) -> tuple[int, ...]:
    return tuple(network(x).shape)
