"""Official checkpoints: which family a file is of, and the model in it, ready to be run or exported.

StarGAN's ``200000-G.ckpt``, StarGAN v2's ``nets_ema.ckpt`` and STGAN's TensorFlow pair, as their authors publish them,
and files of the same form from training with the authors' code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from dadfi_fast.deepfakes import stargan, stargan2, stgan
from dadfi_fast.deepfakes.base import Editor
from dadfi_fast.deepfakes.edits import ATTRIBUTES, edits_of
from dadfi_fast.deepfakes.landmarks import MaskedGenerator, load_masks
from dadfi_fast.deepfakes.tensorflow_checkpoint import read_variables, to_state
from dadfi_fast.deepfakes.torch_checkpoint import of_family, read_tensors
from dadfi_fast.errors import UsageError, WeightsError
from dadfi_fast.files import sha256
from dadfi_fast.types import LEVELS, UInt8

#: sha256 of the files that the authors publish -> the side of the pictures that they work at.
KNOWN: Final = {
    "5d8ee48fa2f5232f4bc0919a9ec795409041181688a1e0f596adec754b3ddd5c": 128,  # StarGAN, celeba-128x128-5attrs
    "399a26023ec159fd3a9ddd04603bcb0fb34b647588a9e4e8acc9bf7da3774d44": 256,  # StarGAN, celeba-256x256-5attrs
}
#: Bytes of published files by their names.
SIZES: Final = {"200000-G.ckpt": 33_764_594}
#: First width of STGAN -> the side that the authors train it at (their README's two commands).
STGAN_SIZES: Final = {64: 128, 48: 384}
#: The domains of StarGAN v2's celeba_hq file, in its order (the names of its folders, sorted).
DOMAINS: Final = ("female", "male")
#: What a domain shows: an attribute and its value; any other name is that of an attribute which it has.
SHOWS: Final = {"female": ("Male", 0), "male": ("Male", 1)}
#: Styles that are kept of a StarGAN v2: so many of each domain from latent codes, drawn from this seed (official: 777).
STYLES: Final = 2
STYLE_SEED: Final = 777


@dataclass(frozen=True)
class Wishes:
    """What the user says of a file: what it does not tell itself."""

    image_size: int | None = None  # pixels
    attributes: tuple[str, ...] = ()  # in the model's order; the domains of a StarGAN v2
    references: Sequence[Sequence[UInt8]] = ()  # pictures [H, W, 3] of each domain


#: What is said where nothing is.
NO_WISHES: Final = Wishes()


@dataclass(frozen=True, eq=False)
class Official:
    """A checkpoint that was recognised."""

    family: str  # of `dadfi_fast.deepfakes.edits.FAMILIES`
    image_size: int  # pixels
    attributes: tuple[str, ...]  # in the model's order; the domains of a StarGAN v2
    module: nn.Module  # in evaluation mode; what `Editor` takes
    facts: Mapping[str, Any]  # what its card says of its edits
    sha256: str = ""  # of the file (of a TensorFlow pair: of the data)
    size: int = 0  # bytes, likewise
    files: tuple[Path, ...] = ()  # all that belongs to it
    known: bool = False  # the hash is that of a published file
    notes: tuple[str, ...] = ()  # what was assumed

    @property
    def edit_size(self) -> int:
        """D, the length of an edit."""
        return edits_of(self.family, self.facts, where=self.files).size


def read_official(path: Path, wishes: Wishes = NO_WISHES) -> Official:
    """Recognise and load a checkpoint.

    Args:
        path: the file; of a TensorFlow checkpoint its .index, its .data-00000-of-00001 or their common beginning.

    Raises:
        UsageError: there is no such file, or something must be said that the file does not tell.
        WeightsError: the file is no such checkpoint, is damaged, or holds more than tensors.
        BackendMissing: it is a TensorFlow checkpoint and TensorFlow is not installed.
    """
    files = _files(path)
    weights = files[-1]
    size = _size(weights)
    digest = sha256(weights)
    published = KNOWN.get(digest)
    if published and wishes.image_size not in (None, published):
        raise UsageError(f"{weights} was published for {published} px. Remove --image-size.")
    official = _read(files, replace(wishes, image_size=published or wishes.image_size))
    if wishes.references and official.family != "stargan2":
        raise UsageError(f"{path} is a model of family {official.family}, which takes no --reference")
    notes = (
        official.notes
        if published
        else (f"{weights.name} is not a published file whose hash is known", *official.notes)
    )
    official.module.eval()
    return replace(official, sha256=digest, size=size, files=files, known=published is not None, notes=notes)


def _files(path: Path) -> tuple[Path, ...]:
    """The one file of a PyTorch checkpoint, or index and data of a TensorFlow one."""
    stem = re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", path.name)
    pair = (path.with_name(f"{stem}.index"), path.with_name(f"{stem}.data-00000-of-00001"))
    if stem == path.name and not pair[0].is_file():
        if not path.is_file():
            raise UsageError(f"{path} does not exist")
        return (path,)
    missing = [file.name for file in pair if not file.is_file()]
    if missing:
        raise UsageError(f"{path} is half of a TensorFlow checkpoint; {missing[0]} is missing from its folder")
    return pair


def _size(weights: Path) -> int:
    """The file's bytes; a file with a published name must have as many as were published."""
    size = weights.stat().st_size
    if size != SIZES.get(weights.name, size):
        sizes = f"{size:,} bytes; the published file of this name has {SIZES[weights.name]:,}"
        raise WeightsError(f"{weights} has {sizes}. Download it again, or rename it if you trained it yourself.")
    return size


def _read(files: tuple[Path, ...], wishes: Wishes) -> Official:
    if len(files) > 1:
        state = to_state(read_variables(files[0].with_suffix("")))
        with of_family("STGAN", files[-1]):
            return _stgan(state, wishes)
    content = read_tensors(files[0])
    family, build = _recognise(content, files[0])
    with of_family(family, files[0]):
        return build(content, wishes)


def _recognise(content: Mapping[str, Any], path: Path) -> tuple[str, Callable[[Any, Wishes], Official]]:
    if all(isinstance(content.get(part), dict) for part in ("generator", "mapping_network", "style_encoder")):
        return "StarGAN v2", _stargan2
    flat = all(isinstance(value, Tensor) for value in content.values())
    if flat and "main.0.weight" in content and "conv2.weight" in content:
        raise WeightsError(
            f"{path} is the discriminator of a StarGAN. Pass the generator, the file that ends with -G.ckpt."
        )
    if flat and "main.0.weight" in content:
        return "StarGAN", _stargan
    names = ", ".join(list(content)[:3]) or "nothing"
    raise WeightsError(f"{path} is not a checkpoint of a known family (it contains {names}, ...)")


def _stargan(content: Mapping[str, Tensor], wishes: Wishes) -> Official:
    generator = stargan.load_official(dict(content))
    names, notes = _named(wishes.attributes, generator.c_dim, ATTRIBUTES, "attributes")
    return Official("stargan", _side(wishes, None, 4), names, generator, {"labels": list(names)}, notes=notes)


def _stgan(state: Mapping[str, Tensor], wishes: Wishes) -> Official:
    generator = stgan.load(state)
    names, notes = _named(wishes.attributes, generator.c_dim, stgan.ATTRIBUTES, "attributes")
    side = _side(wishes, STGAN_SIZES.get(generator.dim), 2**generator.layers)
    return Official("stgan", side, names, generator, {"labels": list(names)}, notes=notes)


def _stargan2(content: Mapping[str, Mapping[str, Tensor]], wishes: Wishes) -> Official:
    nets = {name: _without_prefix(part) for name, part in content.items() if isinstance(part, dict)}
    # The filter, over w_hpf, is in files from newer versions of the official code.
    high_pass = nets["generator"].pop("hpf.filter", None)
    generator, mapping, encoder = stargan2.load_official(nets)
    if wishes.image_size not in (None, generator.image_size):
        raise UsageError(f"the file is for {generator.image_size} px. Remove --image-size.")
    domains, notes = _named(wishes.attributes, len(mapping.unshared), DOMAINS, "domains")
    table = _styles(mapping, encoder, domains, wishes.references, generator.image_size)
    styles = torch.cat([style for _, _, style in table])
    module: nn.Module = stargan2.StyledGenerator(generator, styles)
    if generator.high_pass and "fan" in nets:
        generator.high_pass = generator.high_pass if high_pass is None else 8 / float(high_pass[1, 1])
        module = MaskedGenerator(generator, styles, load_masks(nets["fan"]))
    elif generator.high_pass:
        notes += ("its mask network (the part 'fan') is missing; the official code would not run it without",)
    shown = [(name, *SHOWS.get(domain, (domain, 1))) for name, domain, _ in table]
    facts = {
        "labels": [],
        "styles": [{"name": name, "attribute": attribute, "value": value} for name, attribute, value in shown],
        "style_seed": STYLE_SEED,
    }
    return Official("stargan2", generator.image_size, domains, module, facts, notes=notes)


@torch.no_grad()
def _styles(
    mapping: stargan2.MappingNetwork,
    encoder: stargan2.StyleEncoder,
    domains: Sequence[str],
    references: Sequence[Sequence[UInt8]],
    image_size: int,
) -> list[tuple[str, str, Tensor]]:
    """The styles that are kept: name, domain and vector [1, style_dim]; of each domain the latent ones come first."""
    if references and len(references) != len(domains):
        raise UsageError(f"--reference must be given once for each domain, in this order: {', '.join(domains)}")
    rng = torch.Generator().manual_seed(STYLE_SEED)
    table = []
    for number, domain in enumerate(domains):
        codes = torch.randn(STYLES, mapping.latent_dim, generator=rng)
        styles = [("latent", mapping(code[None], torch.tensor([number]))) for code in codes]
        for picture in references[number] if references else ():
            styles.append(("reference", encoder(_square(picture, image_size), torch.tensor([number]))))
        for guide in ("latent", "reference"):
            own = [style for kind, style in styles if kind == guide]
            table += [(f"{domain} {guide} {i}", domain, style) for i, style in enumerate(own, start=1)]
    return table


def _square(picture: UInt8, side: int) -> Tensor:
    """The middle of a picture [H, W, 3] as the networks take it: [1, 3, side, side] in [-1, 1]."""
    height, width = picture.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    x = torch.from_numpy(picture[top : top + edge, left : left + edge].copy()).permute(2, 0, 1)[None]
    return Editor(nn.Identity(), side).resize(x.float() / LEVELS - 1)


def _named(
    given: tuple[str, ...], count: int, official: tuple[str, ...], kind: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the model's ``count`` attributes or domains, and what was assumed."""
    names = given or official
    if len(names) == count and len(set(names)) == count:
        return names, () if given else (f"its {kind} are taken to be the official ones: {', '.join(names)}",)
    raise UsageError(f"the file has {count} {kind}. List their names in order with --attributes A,B,...")


def _side(wishes: Wishes, official: int | None, multiple: int) -> int:
    side = wishes.image_size or official
    if side is None:
        raise UsageError("cannot tell the image size of this model from its file. Pass --image-size N")
    if side % multiple:
        raise UsageError(f"--image-size {side} does not fit this model; it must be a multiple of {multiple}")
    return side


def _without_prefix(part: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("module."): value for name, value in part.items()}
