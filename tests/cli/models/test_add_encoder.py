"""``models add`` with encoders, and what ``models list``, ``models verify`` and ``check`` make of them then."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image

from dadfi_fast import model_card
from dadfi_fast.cli.models import add_encoder
from dadfi_fast.deepfakes import mobilefacenet, registry, taesd
from dadfi_fast.deepfakes.official_encoders import read_encoder
from dadfi_fast.deepfakes.registry import encoder_cards, load_encoders
from dadfi_fast.deepfakes.torch_model import load_target
from dadfi_fast.errors import WeightsError
from dadfi_fast.types import UInt8
from tests.encoders import LATENTS, decoder, embedder, encoder, saved

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """The user's data folder with a latent encoder, ``tiny``, and an embedder, ``who``; made once and not changed."""
    folder = tmp_path_factory.mktemp("added")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(model_card.MODELS_VARIABLE, str(folder / "models"))
        files = [saved(encoder(), folder / "same.safetensors"), saved(embedder(), folder / "face.pt")]
        (folder / "other").mkdir()
        companion = saved(decoder(), folder / "other" / "same.safetensors")
        result = command("models", "add", "tiny", files[0], "--decoder", companion, "--image-size", 64)
        assert result.exit_code == 0, result.stderr
        assert result.stdout == f"{folder / 'models' / 'tiny' / 'tiny.onnx'}\n"
        assert f"same.safetensors: taesd, 64 px, {LATENTS * 64} numbers a code (latents) and decoder" in result.stderr
        result = command("models", "add", "who", files[1])
        assert result.exit_code == 0, result.stderr
    return folder / "models"


@pytest.fixture
def models(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(model_card.MODELS_VARIABLE, str(home))
    return home


@pytest.fixture
def copied(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of them that may be damaged."""
    shutil.copytree(home, tmp_path / "models")
    monkeypatch.setenv(model_card.MODELS_VARIABLE, str(tmp_path / "models"))
    return tmp_path / "models"


def test_added_encoders_are_listed_and_verified(command: Command, models: Path) -> None:
    rows = {row["name"]: row for row in json.loads(command("models", "list", "--json").stdout)}
    latents, identity = rows["tiny"], rows["who"]
    assert (latents["family"], latents["kind"], latents["measure"]) == (
        "taesd", "encoder (latents)", "d_code (relative shift)",
    )  # fmt: skip
    assert (identity["kind"], identity["measure"]) == ("encoder (identity)", "d_code (cosine)")
    assert (latents["image_size"], identity["image_size"]) == (64, mobilefacenet.CROP)
    assert latents["licence"].startswith("MIT") and identity["licence"].startswith("Apache-2.0")
    assert "encoder (latents)" in command("models", "list").stdout
    assert command("models", "verify", "tiny", "who").stdout == "tiny: ok\nwho: ok\n"
    assert list(encoder_cards()) == ["tiny", "who"] and "tiny" not in registry.deepfake_cards()


def test_the_files_are_kept_and_the_onnx_answers_as_they_do(models: Path) -> None:
    latents, identity = load_encoders()
    facts = latents.card.extra
    assert facts["published"] is False and facts["source"] == "added"
    assert facts["original"]["file"] == "original/same.safetensors"
    assert facts["decoder"]["original"]["file"] == "original/decoder/same.safetensors"
    for original in (facts["original"], facts["decoder"]["original"]):
        assert model_card.sha256(models / "tiny" / original["file"]) == original["sha256"]
    x = np.random.default_rng(0).uniform(-1, 1, (2, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        code = taesd.Latents(encoder())(torch.from_numpy(x))
        image = taesd.Pictures(decoder(), LATENTS, 64)(code)
    np.testing.assert_allclose(latents.encode(x), code.numpy(), atol=1e-4)
    np.testing.assert_allclose(latents.decode(code.numpy()), image.numpy(), atol=1e-4)
    assert image.shape == (2, 3, 64, 64) and image.abs().max() <= 1
    faces = np.random.default_rng(0).uniform(-1, 1, (2, 3, 152, 152)).astype(np.float32)
    with torch.no_grad():
        expected = mobilefacenet.Identity(embedder())(torch.from_numpy(faces)).numpy()
    np.testing.assert_allclose(identity.encode(faces), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["tiny", "who"])
def test_training_reads_the_same_file(models: Path, name: str) -> None:
    """A safetensors file too."""
    card = encoder_cards()[name]
    model = next(each for each in load_encoders() if each.name == name)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, card.image_size, card.image_size)).astype(np.float32)
    with torch.no_grad():
        code = load_target(card).fake(torch.from_numpy(x), torch.zeros(1, 0))
    np.testing.assert_allclose(model.encode(x), code.numpy(), atol=1e-4)


#: How files with both halves begin the names of their layers, and by how much their decoder's numbers are less:
#: diffusers (where its clamp is no layer), the official module, ComfyUI.
DIFFUSERS, LAYOUTS = ("{}.layers.", 1), [("{}.layers.", 1), ("{}.", 0), ("taesd_{}.", 0)]


def both_halves(path: Path, before: str, shift: int) -> dict[str, torch.Tensor]:
    """A safetensors file with an encoder and a decoder; what it holds."""
    from safetensors.torch import save_file

    state = {"vae_scale": torch.ones(())}
    for part, network, less in (("encoder", encoder(16), 0), ("decoder", decoder(16), shift)):
        for name, value in network.state_dict().items():
            place, rest = name.split(".", 1)
            state[f"{before.format(part)}{int(place) - less}.{rest}"] = value.clone()
    save_file(state, path)
    return state


@pytest.mark.parametrize(("before", "shift"), LAYOUTS)
def test_files_with_both_halves_are_read(tmp_path: Path, before: str, shift: int) -> None:
    both_halves(tmp_path / "both.safetensors", before, shift)
    official = read_encoder(tmp_path / "both.safetensors", image_size=32)
    assert official is not None and official.decoder is not None
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        code = taesd.Latents(encoder(16))(x)
        assert torch.equal(official.module(x), code)
        assert torch.equal(official.decoder.module(code), taesd.Pictures(decoder(16), 16, 32)(code))


def test_one_file_may_hold_encoder_and_decoder(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    monkeypatch.setenv(model_card.MODELS_VARIABLE, str(tmp_path / "models"))
    state = both_halves(tmp_path / "both.safetensors", *DIFFUSERS)
    result = command("models", "add", "both", tmp_path / "both.safetensors", "--image-size", 32)
    assert result.exit_code == 0, result.stderr
    assert "taesd, 32 px, 256 numbers a code (latents) and decoder" in result.stderr
    (model,) = load_encoders(["both"])
    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    with torch.no_grad():
        code = taesd.Latents(encoder(16))(torch.from_numpy(x))
        image = taesd.Pictures(decoder(16), 16, 32)(code)
        trained = load_target(encoder_cards()["both"]).fake(torch.from_numpy(x), torch.zeros(1, 0))
    np.testing.assert_allclose(model.encode(x), code.numpy(), atol=1e-4)
    np.testing.assert_allclose(model.decode(code.numpy()), image.numpy(), atol=1e-4)
    np.testing.assert_allclose(trained.numpy(), code.numpy(), atol=1e-4)
    save_file({name: value for name, value in state.items() if "decoder" in name}, tmp_path / "half.safetensors")
    result = command("models", "add", "half", tmp_path / "half.safetensors")
    assert result.exit_code == 2 and "is a decoder of the TAESD family" in result.stderr


def test_a_safetensors_file_that_is_too_large_is_told_as_such(command: Command, models: Path, tmp_path: Path) -> None:
    """The autoencoder of a diffusion model itself, say."""
    with (tmp_path / "vae.safetensors").open("wb") as file:
        file.write(bytes(8) + b"{")
        file.truncate(65 << 20)
    result = command("models", "add", "vae", tmp_path / "vae.safetensors")
    assert result.exit_code == 1 and "an encoder of a known family has less than 64 MB" in result.stderr


@pytest.mark.parametrize("file", ["tiny.onnx", "tiny-decoder.onnx"])
def test_a_file_that_was_changed_is_told(command: Command, copied: Path, file: str) -> None:
    path = copied / "tiny" / file
    path.write_bytes(path.read_bytes()[:-9])
    result = command("models", "verify", "tiny")
    assert result.exit_code == 1 and f"{file} does not match its card" in result.stderr
    path.unlink()
    assert f"{file} is missing" in command("models", "verify", "tiny").stderr


@pytest.fixture
def photos(tmp_path: Path, smooth: Callable[[int, int], UInt8]) -> tuple[Path, Path]:
    """An original and what became of it, in folders of their own."""
    change = np.random.default_rng(0).normal(0, 20, (96, 96, 3))
    for folder, picture in (("in", smooth(96, 96)), ("out", np.clip(smooth(96, 96) + change, 0, 255))):
        (tmp_path / folder).mkdir()
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / folder / "<b>.png")
    return tmp_path / "out", tmp_path / "in"


@pytest.fixture
def check(
    command: Command, models: Path, photos: tuple[Path, Path], toy_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    for name in ("load_models", "load_attributes"):
        monkeypatch.setattr(registry, name, functools.partial(getattr(registry, name), folder=toy_weights, threads=1))
    fixed = (photos[0], "--original", photos[1], "--detector", "none", "--visibility", 0)
    return lambda *arguments: command("check", *fixed, *arguments)


def test_check_judges_with_every_added_encoder(check: Command) -> None:
    report = json.loads(check("--json", "--also", "jpeg:50").stdout)
    assert set(report["models"]) == {"fragile", "sturdy"} and set(report["encoders"]) == {"tiny", "who"}
    latents, identity = report["encoders"]["tiny"], report["encoders"]["who"]
    assert latents["reads"] == "latents" and latents["measure"] == "relative shift" and latents["threshold"] == 1
    assert identity["reads"] == "identity" and identity["measure"] == "cosine" and identity["threshold"] == 0.5
    assert latents["n"] == identity["n"] == 1
    assert latents["shift"] > 0 and latents["noise"] > 0 and latents["jpeg75"] > 0
    assert latents["d_code"] == pytest.approx(latents["shift"] ** 2)
    assert identity["d_code"] == pytest.approx(2 - 2 * identity["cosine"])
    assert latents["reconstruction_psnr"] > 0 and identity["reconstruction_psnr"] is None
    assert set(report["conditions"]["jpeg:50"]["encoders"]) == {"tiny", "who"}
    table = check("--also", "jpeg:50").stdout
    assert "tiny (latents, the entrance of latent diffusion editors)" in table
    assert "a face swap itself was not measured" in table


def test_check_takes_names_of_encoders(check: Command) -> None:
    report = json.loads(check("--json", "--models", "who,sturdy").stdout)
    assert set(report["models"]) == {"sturdy"} and set(report["encoders"]) == {"who"}
    alone = check("--models", "tiny")
    assert alone.exit_code == 0 and "SR_mask" not in alone.stdout and "relative shift" in alone.stdout
    assert "encoders" not in json.loads(check("--json", "--models", "sturdy").stdout)
    unknown = check("--models", "tyni")
    assert unknown.exit_code == 2 and "Encoders: tiny, who" in unknown.stderr
    refused = check("--models", "tiny", "--check-min", "0.5")
    assert refused.exit_code == 2 and "--check-min counts deepfake models" in refused.stderr


def test_the_report_has_a_section_on_them(check: Command, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    assert check("--report", path).exit_code == 0
    text = path.read_text(encoding="utf-8")
    assert "Other networks" in text and "an editor itself was not measured" in text
    assert "what face swappers read a person from; a face swap itself was not measured" in text
    assert "Reconstructions by the decoder of tiny, of the first 1 faces" in text
    assert text.count('alt="reconstruction of the') == 2 and "tiny: relative shift" in text and "who: cosine" in text
    assert "<b>.png" not in text and "tiny: taesd, 64 px" in text
    assert check("--report", path, "--models", "tiny").exit_code == 0
    text = path.read_text(encoding="utf-8")
    assert "No deepfake model was run." in text and "who: mobilefacenet" in text  # it is there and was not run
    assert "What the protection changed" in text
    assert "The deepfake models tested" not in text and "By edit" not in text and "fakes side by side" not in text
    assert check("--report", path, "--models", "sturdy").exit_code == 0
    assert "Other networks" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["state_dict", "model", "params_ema"])
def test_checkpoints_of_trainings_are_read(tmp_path: Path, name: str) -> None:
    """They keep the weights beside the optimizer and what is no tensor."""
    weights = {f"module.{key}": value for key, value in embedder().state_dict().items()}
    content = {"epoch": 3, "best": 0.99, "note": "", "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}
    torch.save({**content, "params": {}, name: weights}, tmp_path / "checkpoint.pth")
    official = read_encoder(tmp_path / "checkpoint.pth")
    assert official is not None and official.family == "mobilefacenet"
    x = torch.rand(1, 3, 152, 152) * 2 - 1
    with torch.no_grad():
        assert torch.equal(official.module(x), mobilefacenet.Identity(embedder())(x))


def wrong_shape(path: Path) -> Path:
    state = {name: value.clone() for name, value in encoder().state_dict().items()}
    state["3.conv.0.weight"] = state["3.conv.0.weight"][:, :-1].clone()
    torch.save(state, path)
    return path


def renamed(path: Path) -> Path:
    state = {name.replace("pool", "pole"): value for name, value in encoder().state_dict().items()}
    torch.save(state, path)
    return path


def far_layer(path: Path) -> Path:
    torch.save({**encoder().state_dict(), "999999999.weight": torch.zeros(1)}, path)
    return path


def not_a_face(path: Path) -> Path:
    state = {name: value for name, value in embedder().state_dict().items() if not name.startswith("conv3")}
    torch.save(state, path)
    return path


def wide(path: Path) -> Path:
    torch.save({**encoder().state_dict(), "1.conv.0.weight": torch.zeros(9000, 1, 3, 3)}, path)
    return path


def nothing_known(path: Path) -> Path:
    return saved(torch.nn.Linear(2, 2), path.with_suffix(".safetensors"))


def cut_short(path: Path) -> Path:
    path = saved(encoder(), path.with_suffix(".safetensors"))
    path.write_bytes(path.read_bytes()[:-100])
    return path


def infinite(path: Path) -> Path:
    network = encoder()
    torch.nn.init.constant_(network[0].bias, float("inf"))  # type: ignore[arg-type]
    return saved(network, path.with_suffix(".safetensors"))


def good(path: Path) -> Path:
    return saved(encoder(), path)


def face(path: Path) -> Path:
    return saved(embedder(), path)


def as_decoder(path: Path) -> Path:
    return saved(decoder(), path)


#: How the file is made, options, exit code, words of the message.
BAD = [
    (as_decoder, [], 2, "is a decoder of the TAESD family. Pass the encoder, and this as --decoder."),
    (good, ["--image-size", "60"], 2, "--image-size 60 does not fit this encoder; it must be a multiple of 8"),
    (good, ["--decoder", "encoder.pth"], 1, "encoder.pth is not a decoder of the TAESD family"),
    (good, ["--decoder", "more.pth"], 1, f"it takes {LATENTS + 1} latent channels, the encoder gives {LATENTS}"),
    (good, ["--decoder", "none.pth"], 2, "'none.pth' does not exist"),
    (good, ["--half"], 2, "is an encoder, which takes no --half"),
    (good, ["--attributes", "Male"], 2, "is an encoder, which takes no --attributes"),
    (face, ["--image-size", "112"], 2, "takes crops of 152 px. Remove --image-size."),
    (face, ["--decoder", "more.pth"], 2, "is a face embedder, which has no decoder"),
    (wrong_shape, [], 1, "looks like an encoder of the TAESD family, but its parameter names or shapes differ"),
    (renamed, [], 1, "looks like an encoder of the TAESD family"),
    (far_layer, [], 1, "more than 64 layers"),
    (wide, [], 1, "more than 256 channels"),
    (not_a_face, [], 1, "looks like MobileFaceNet"),
    (nothing_known, [], 1, "is not an encoder of a known family (it contains bias, weight, ...)"),
    (cut_short, [], 1, "is truncated or damaged"),
    (infinite, [], 1, "0.bias has values that are not finite"),
]


@pytest.mark.parametrize(("make", "options", "code", "words"), BAD, ids=[f"{c[0].__name__}: {c[3]}" for c in BAD])
def test_what_cannot_be_added_is_told_and_leaves_nothing(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], Path], options: list[str], code: int, words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(model_card.MODELS_VARIABLE, str(tmp_path / "models"))
    saved(encoder(), tmp_path / "encoder.pth")
    saved(decoder(LATENTS + 1), tmp_path / "more.pth")
    result = command("models", "add", "x", make(tmp_path / "x.pth"), *options)
    assert result.exit_code == code, result.stderr
    assert words in " ".join(result.stderr.split())
    assert not (tmp_path / "models").exists()


def test_a_deepfake_model_takes_no_decoder(command: Command, tmp_path: Path) -> None:
    from dadfi_fast.deepfakes import stargan

    file = saved(stargan.Generator(conv_dim=4, c_dim=5, repeat_num=1), tmp_path / "G.ckpt")
    companion = saved(decoder(), tmp_path / "d.pth")
    result = command("models", "add", "x", file, "--image-size", 64, "--decoder", companion)
    assert result.exit_code == 2 and "takes no --decoder" in result.stderr


@pytest.mark.parametrize("which", [0, 1])
def test_what_answers_otherwise_is_not_added(
    models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, which: int
) -> None:
    from dadfi_fast.deepfakes.official_encoders import read_encoder

    files = saved(encoder(), tmp_path / "e.pth"), saved(decoder(), tmp_path / "d.pth")
    official = read_encoder(files[0], decoder=files[1], image_size=64)
    assert official and official.decoder
    model = load_encoders(("tiny",))[0]
    add_encoder._require_same(model, official)  # the files that were added
    network = (official.module.encoder, official.decoder.module.decoder)[which]
    torch.nn.init.constant_(network[-1].bias, 0.3)
    with pytest.raises(WeightsError, match=f"made from .*{files[which].name} gives other outputs"):
        add_encoder._require_same(model, official)
