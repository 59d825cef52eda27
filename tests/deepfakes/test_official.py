"""Files in the form of the authors' releases, made on the spot, small."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dadfi_fast.deepfakes import official, stargan, stargan2, stgan
from dadfi_fast.deepfakes.edits import ATTRIBUTES
from dadfi_fast.deepfakes.landmarks import MaskedGenerator, MaskNetwork
from dadfi_fast.deepfakes.official import STYLE_SEED, Wishes, read_official
from dadfi_fast.errors import UsageError, WeightsError
from dadfi_fast.files import sha256


@pytest.fixture(scope="module")
def fan() -> MaskNetwork:
    torch.manual_seed(0)
    return MaskNetwork()


def stargan_state(c_dim: int = 5) -> dict[str, Tensor]:
    """As the official code saves it: instance norms keep running statistics."""
    torch.manual_seed(0)
    state = dict(stargan.Generator(conv_dim=4, c_dim=c_dim, repeat_num=1).state_dict())
    for name in [n for n in state if n.endswith(".bias")]:
        stem, width = name.removesuffix("bias"), state[name].shape
        state |= {f"{stem}running_mean": torch.rand(width), f"{stem}running_var": torch.rand(width)}
        state[f"{stem}num_batches_tracked"] = torch.tensor(200_000)
    return state


def stargan_file(path: Path, c_dim: int = 5) -> Path:
    torch.save(stargan_state(c_dim), path, _use_new_zipfile_serialization=False)  # as torch 0.4 did
    return path


def nets(domains: int = 2, *, high_pass: float = 0, prefix: str = "") -> dict[str, dict[str, Tensor]]:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"max_width": 8, "width": 4}
    modules = {
        "generator": stargan2.Generator(32, 4, high_pass=high_pass, **sizes),
        "mapping_network": stargan2.MappingNetwork(3, 4, domains, 8),
        "style_encoder": stargan2.StyleEncoder(32, 4, domains, **sizes),
    }
    return {
        name: {f"{prefix}{key}": value for key, value in part.state_dict().items()} for name, part in modules.items()
    }


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def picture(seed: int, height: int = 40, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_stargan_is_recognised(tmp_path: Path) -> None:
    path = stargan_file(tmp_path / "G.ckpt")
    model = read_official(path, Wishes(image_size=64))
    assert (model.family, model.image_size, model.attributes, model.edit_size) == ("stargan", 64, ATTRIBUTES, 5)
    assert (model.sha256, model.size, model.files) == (sha256(path), path.stat().st_size, (path,))
    assert model.facts == {"labels": list(ATTRIBUTES)}
    assert not model.known and not model.module.training
    assert "G.ckpt is not a published file" in model.notes[0] and "Black_Hair, Blond_Hair" in model.notes[1]
    x, labels = torch.rand(1, 3, 64, 64), torch.eye(5)[:1]
    with torch.no_grad():
        assert torch.equal(model.module(x, labels), stargan.load_official(stargan_state())(x, labels))


def test_a_published_file_tells_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stargan_file(tmp_path / "200000-G.ckpt")
    monkeypatch.setattr(official, "KNOWN", {sha256(path): 128})
    monkeypatch.setattr(official, "SIZES", {path.name: path.stat().st_size})
    model = read_official(path)
    assert (model.image_size, model.known) == (128, True)
    assert not any("published" in note for note in model.notes)
    assert read_official(path, Wishes(128)).image_size == 128
    with pytest.raises(UsageError, match=r"was published for 128 px. Remove --image-size"):
        read_official(path, Wishes(256))


def test_the_published_sizes_and_hashes_are_whole() -> None:
    assert set(official.KNOWN.values()) == {128, 256}
    assert all(len(digest) == 64 and int(digest, 16) for digest in official.KNOWN)


def test_other_attributes_are_named_by_the_user(tmp_path: Path) -> None:
    path = stargan_file(tmp_path / "G.ckpt", c_dim=3)
    model = read_official(path, Wishes(64, ("Smiling", "Bald", "Hat")))
    assert model.facts["labels"] == ["Smiling", "Bald", "Hat"] and len(model.notes) == 1


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_stargan2_is_recognised(tmp_path: Path, prefix: str) -> None:
    content = nets(prefix=prefix)
    model = read_official(saved(content, tmp_path / "100000_nets_ema.ckpt"))
    assert (model.family, model.image_size, model.attributes) == ("stargan2", 32, ("female", "male"))
    assert model.facts["labels"] == [] and model.facts["style_seed"] == STYLE_SEED
    styles = [(style["name"], style["attribute"], style["value"]) for style in model.facts["styles"]]
    assert styles == [
        ("female latent 1", "Male", 0),
        ("female latent 2", "Male", 0),
        ("male latent 1", "Male", 1),
        ("male latent 2", "Male", 1),
    ]
    assert model.edit_size == 4
    again = read_official(tmp_path / "100000_nets_ema.ckpt")
    assert torch.equal(model.module.styles.weight, again.module.styles.weight)
    assert len(model.module.styles.weight.T.unique(dim=0)) == 4


def test_latent_styles_come_from_the_mapping_network(tmp_path: Path) -> None:
    content = nets()
    model = read_official(saved(content, tmp_path / "x.ckpt"))
    _, mapping, _ = stargan2.load_official(content)
    rng = torch.Generator().manual_seed(STYLE_SEED)
    codes = torch.cat([torch.randn(2, 3, generator=rng) for _ in range(2)])
    torch.testing.assert_close(model.module.styles.weight.T, mapping(codes, torch.tensor([0, 0, 1, 1])))


def test_references_become_styles_of_their_domain(tmp_path: Path) -> None:
    content = nets()
    path = saved(content, tmp_path / "x.ckpt")
    # The middle of a picture counts: the two rows of the border may be anything.
    middle = picture(1, 32, 32)
    framed = np.concatenate([picture(2, 4, 32), middle, picture(3, 4, 32)])
    model = read_official(path, Wishes(references=([framed], [picture(4, 64, 64), picture(5)])))
    names = [style["name"] for style in model.facts["styles"]]
    assert names[2] == "female reference 1" and names[5:] == ["male reference 1", "male reference 2"]
    _, _, encoder = stargan2.load_official(content)
    expected = encoder(torch.from_numpy(middle).permute(2, 0, 1)[None] / 127.5 - 1, torch.tensor([0]))
    torch.testing.assert_close(model.module.styles.weight.T[2:3], expected)


def test_other_domains_are_attributes(tmp_path: Path) -> None:
    path = saved(nets(3), tmp_path / "x.ckpt")
    model = read_official(path, Wishes(attributes=("Black_Hair", "Blond_Hair", "female")))
    shown = {(style["attribute"], style["value"]) for style in model.facts["styles"]}
    assert shown == {("Black_Hair", 1), ("Blond_Hair", 1), ("Male", 0)}


def test_masks_come_with_the_generator_that_needs_them(tmp_path: Path, fan: MaskNetwork) -> None:
    content: dict[str, Any] = nets(high_pass=1) | {"fan": fan.state_dict()}
    content["generator"]["hpf.filter"] = torch.tensor([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]]) / 0.5
    model = read_official(saved(content, tmp_path / "x.ckpt"))
    assert isinstance(model.module, MaskedGenerator) and model.module.generator.high_pass == 0.5
    assert torch.equal(model.module.fan.l0.weight, fan.l0.weight)


def test_a_mask_network_that_is_missing_is_said(tmp_path: Path) -> None:
    model = read_official(saved(nets(high_pass=1), tmp_path / "x.ckpt"))
    assert not isinstance(model.module, MaskedGenerator)
    assert any("mask network (the part 'fan') is missing" in note for note in model.notes)


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TensorFlow pair as far as its names go; reading it gives a small STGAN's weights."""
    torch.manual_seed(0)
    generator = stgan.Generator(4, 13, 3)
    monkeypatch.setattr(official, "read_variables", lambda prefix: {"prefix": prefix})
    monkeypatch.setattr(official, "to_state", lambda variables: generator.state_dict())
    prefix = tmp_path / "Epoch_(199)_(947of947).ckpt"
    for end in (".index", ".data-00000-of-00001", ".meta"):
        Path(f"{prefix}{end}").write_bytes(end.encode())
    return prefix


@pytest.mark.parametrize("end", ["", ".index", ".data-00000-of-00001", ".meta"])
def test_an_stgan_is_found_by_any_of_its_files(pair: Path, end: str) -> None:
    model = read_official(Path(f"{pair}{end}"), Wishes(64))
    assert (model.family, model.image_size, model.attributes) == ("stgan", 64, stgan.ATTRIBUTES)
    assert [file.name.rpartition(".")[2] for file in model.files] == ["index", "data-00000-of-00001"]
    assert model.sha256 == sha256(model.files[1])
    assert model.module(torch.rand(1, 3, 64, 64), torch.zeros(1, 13)).shape == (1, 3, 64, 64)


@pytest.mark.parametrize(("width", "side"), [(64, 128), (48, 384)])  # the two commands in the authors' README
def test_the_width_of_an_stgan_tells_its_size(
    pair: Path, monkeypatch: pytest.MonkeyPatch, width: int, side: int
) -> None:
    monkeypatch.setattr(stgan, "load", lambda state: _named(stgan.Generator(4, 13, 3), width))
    assert read_official(pair).image_size == side


def _named(generator: stgan.Generator, width: int) -> stgan.Generator:
    generator.dim = width
    return generator


def test_half_of_a_pair_is_told(pair: Path) -> None:
    Path(f"{pair}.data-00000-of-00001").unlink()
    with pytest.raises(
        UsageError, match=r"half of a TensorFlow checkpoint; Epoch_.*data-00000-of-00001 is missing from its folder"
    ):
        read_official(pair)


def discriminator(path: Path) -> Path:
    return saved(stargan.Discriminator(32, 4, 5, 3).state_dict(), path)


def without(part: str, name: str) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        content = nets()
        del content[part][name]
        return saved(content, path)

    return make


def of_other_shape(path: Path) -> Path:
    state = stargan_state()
    state["main.3.weight"] = torch.rand(7, 7, 4, 4)
    return saved(state, path)


REFUSED: list[tuple[str, Callable[[Path], object], Wishes, type[Exception], str]] = [
    ("no file", lambda path: path, Wishes(), UsageError, "x.ckpt does not exist"),
    ("unknown size", stargan_file, Wishes(), UsageError, "Pass --image-size N"),
    ("size that does not fit", stargan_file, Wishes(66), UsageError, "must be a multiple of 4"),
    (
        "unknown attributes",
        lambda path: stargan_file(path, 8),
        Wishes(64),
        UsageError,
        "the file has 8 attributes. List their names in order with --attributes",
    ),
    ("too few names", stargan_file, Wishes(64, ("Male",)), UsageError, "the file has 5 attributes"),
    ("one name twice", stargan_file, Wishes(64, ("Male",) * 5), UsageError, "the file has 5 attributes"),
    ("references", stargan_file, Wishes(64, references=[[]]), UsageError, "family stargan, which takes no --reference"),
    ("domains", lambda path: saved(nets(3), path), Wishes(), UsageError, "the file has 3 domains"),
    ("size of v2", lambda path: saved(nets(), path), Wishes(64), UsageError, "for 32 px. Remove --image-size"),
    (
        "one reference",
        lambda path: saved(nets(), path),
        Wishes(references=[[picture(0)]]),
        UsageError,
        "once for each domain, in this order: female, male",
    ),
    ("discriminator", discriminator, Wishes(64), WeightsError, "is the discriminator of a StarGAN. Pass the generator"),
    (
        "other shapes",
        of_other_shape,
        Wishes(64),
        WeightsError,
        "looks like StarGAN, but its parameter names or shapes differ",
    ),
    (
        "a name is missing",
        without("generator", "to_rgb.2.bias"),
        Wishes(),
        WeightsError,
        "looks like StarGAN v2, .*to_rgb.2.bias",
    ),
    (
        "a name to recognise it by is missing",
        without("generator", "from_rgb.weight"),
        Wishes(),
        WeightsError,
        "looks like StarGAN v2, .*from_rgb.weight",
    ),
    (
        "something else",
        lambda path: saved({"layer1.weight": torch.rand(2)}, path),
        Wishes(),
        WeightsError,
        r"is not a checkpoint of a known family \(it contains layer1.weight, ...\)",
    ),
    ("nothing", lambda path: saved({}, path), Wishes(), WeightsError, "it contains nothing"),
]


@pytest.mark.parametrize(
    ("make", "wishes", "error", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, make: Callable[[Path], object], wishes: Wishes, error: type[Exception], words: str
) -> None:
    make(tmp_path / "x.ckpt")
    with pytest.raises(error, match=words):
        read_official(tmp_path / "x.ckpt", wishes)


def test_a_published_name_with_another_size_is_no_published_file(tmp_path: Path) -> None:
    path = stargan_file(tmp_path / "200000-G.ckpt")
    with pytest.raises(
        WeightsError, match=r"bytes; the published file of this name has 33,764,594\. Download it again"
    ):
        read_official(path, Wishes(64))


def test_the_published_size_is_that_of_the_official_weights() -> None:
    """Four bytes a weight, two running statistics for each norm, and some thousand bytes of names."""
    with torch.device("meta"):
        generator = stargan.Generator()
    norms = sum(p.numel() for name, p in generator.named_parameters() if name.endswith(".bias"))
    tensors = 4 * (sum(p.numel() for p in generator.parameters()) + 2 * norms)
    assert math.isclose(official.SIZES["200000-G.ckpt"], tensors, rel_tol=1e-3)
    assert official.SIZES["200000-G.ckpt"] > tensors
