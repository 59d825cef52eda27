"""Encoders as judges, with one whose codes are the pixels themselves, so that every figure can be worked out."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, checker, helper, numpy_helper
from PIL import Image

from dadfi_fast.check.codes import PICTURES, QUALITY, Codes, compressed, noise
from dadfi_fast.check.conditions import parse
from dadfi_fast.check.pairs import Pair
from dadfi_fast.check.result import CheckResult, check_files
from dadfi_fast.deepfakes.encoders import ENCODERS, EncoderModel
from dadfi_fast.deepfakes.onnx_model import AttributeModel, DeepfakeModel
from dadfi_fast.deepfakes.registry import deepfake_cards, encoder_cards, load_encoders, purpose
from dadfi_fast.errors import UsageError, WeightsError
from dadfi_fast.model_card import Card, write_card
from dadfi_fast.types import Face

SIZE = 32  # of the crops: the whole picture
Check = Callable[..., CheckResult]


def graph(source: tuple[str, list[object]], target: tuple[str, list[object]], shape: list[int]) -> bytes:
    nodes = [helper.make_node("Reshape", [source[0], "shape"], [target[0]])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in (source, target)]
    constants = [numpy_helper.from_array(np.array(shape), "shape")]
    model = helper.make_model(
        helper.make_graph(nodes, "pixels", ends[:1], ends[1:], constants),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
    )  # fmt: skip
    checker.check_model(model)
    return bytes(model.SerializeToString())


def put_encoder(folder: Path, name: str, family: str, *, decoder: bool = False) -> Path:
    """An encoder whose code is the picture itself, and a decoder that gives it back; the card."""
    image, code = ["b", 3, SIZE, SIZE], ["b", 3 * SIZE * SIZE]
    (folder / f"{name}.onnx").write_bytes(graph(("image", image), ("code", code), [-1, 3 * SIZE * SIZE]))
    facts: dict[str, object] = {
        "name": name, "family": family, "file": f"{name}.onnx", "sha256": digest(folder / f"{name}.onnx"),
        "image_size": SIZE, "parameters": 0, "licence": "none", "source": "added",
    }  # fmt: skip
    if decoder:
        path = folder / f"{name}-decoder.onnx"
        path.write_bytes(graph(("code", code), ("image", image), [-1, 3, SIZE, SIZE]))
        facts["decoder"] = {"file": path.name, "sha256": digest(path)}
    write_card(folder / f"{name}.md", facts, "A toy.")
    return folder / f"{name}.md"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders")
    put_encoder(folder, "pixels", "taesd", decoder=True)
    put_encoder(folder, "who", "mobilefacenet")
    return folder


@pytest.fixture(scope="module")
def encoders(folder: Path) -> list[EncoderModel]:
    return load_encoders(folder=folder, threads=1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Pair]:
    """Writes a picture of noise and the same with a change, as PNG."""
    folder = tmp_path_factory.mktemp("pairs")

    def write(name: str, change: np.ndarray | float = 0.0, *, level: int | None = None) -> Pair:
        result = Pair(name, folder / f"{name}-in.png", folder / f"{name}-out.png")
        picture = np.random.default_rng(1).integers(60, 190, (SIZE, SIZE, 3)).astype(float)
        if level is not None:
            picture[:] = level
        for path, pixels in ((result.original, picture), (result.protected, picture + change)):
            Image.fromarray(np.rint(pixels).astype(np.uint8)).save(path)
        return result

    return write


def crop(path: Path) -> np.ndarray:
    """The picture as encoders get it: [3, S, S] in [-1, 1]."""
    return np.asarray(Image.open(path)).transpose(2, 0, 1).astype(np.float32) / np.float32(127.5) - 1


def test_encoders_are_no_deepfake_models(folder: Path) -> None:
    assert list(deepfake_cards(folder)) == []
    assert list(encoder_cards(folder)) == ["pixels", "who"]
    assert [encoder.decodes for encoder in load_encoders(folder=folder)] == [True, False]
    assert purpose("taesd") == ("encoder (latents)", "d_code (relative shift)")
    assert purpose("mobilefacenet") == ("encoder (identity)", "d_code (cosine)")
    assert purpose("stgan") == ("deepfake model", "d_mask")
    with pytest.raises(UsageError, match=r"unknown encoder 'pixel' \(did you mean 'pixels'"):
        load_encoders(("pixel",), folder=folder)


@pytest.mark.parametrize("file", ["pixels.onnx", "pixels-decoder.onnx"])
def test_a_file_that_was_changed_is_refused(tmp_path: Path, file: str) -> None:
    put_encoder(tmp_path, "pixels", "taesd", decoder=True)
    assert load_encoders(folder=tmp_path)
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes() + b"\0")
    with pytest.raises(WeightsError, match=f"{file} does not match its card"):
        load_encoders(folder=tmp_path)


def test_a_decoder_lies_beside_its_card(tmp_path: Path) -> None:
    card = put_encoder(tmp_path, "pixels", "taesd", decoder=True)
    card.write_text(card.read_text().replace("pixels-decoder.onnx", "../pixels-decoder.onnx"))
    with pytest.raises(WeightsError, match="does not lie beside the card"):
        load_encoders(folder=tmp_path)


def test_the_figures_are_those_of_a_computation_by_hand(
    check: Check, encoders: list[EncoderModel], pair: Callable[..., Pair]
) -> None:
    files = [pair("a", 6.0), pair("b", 12.0)]
    result = check(files, encoders=encoders)
    shifts, cosines, psnrs = [], [], []
    for file in files:
        x, x_adv = crop(file.original).ravel().astype(float), crop(file.protected).ravel().astype(float)
        shifts.append(np.linalg.norm(x_adv - x) / np.linalg.norm(x))
        cosines.append(1 - shifts[-1] ** 2 / 2)
        psnrs.append(10 * math.log10(4 / np.mean((x_adv - x) ** 2)))
    latents, identity = result.codes("pixels"), result.codes("who")
    assert latents.figures() == pytest.approx(shifts, rel=1e-4)
    assert identity.figures() == pytest.approx(cosines, rel=1e-4)
    assert latents.psnr == pytest.approx(psnrs, abs=0.01) and np.isnan(identity.psnr).all()
    figures = result.to_dict()["encoders"]
    assert figures["pixels"]["shift"] == pytest.approx(np.mean(shifts), rel=1e-4)
    assert figures["pixels"]["shift_p50"] == pytest.approx(np.median(shifts), rel=1e-4)
    assert figures["pixels"]["reconstruction_psnr"] == pytest.approx(np.mean(psnrs), abs=0.01)
    assert (figures["pixels"]["reads"], figures["pixels"]["measure"], figures["pixels"]["n"]) == (
        "latents",
        "relative shift",
        2,
    )
    assert figures["who"]["cosine"] == pytest.approx(np.mean(cosines), rel=1e-4)
    assert figures["who"]["reconstruction_psnr"] is None
    assert [row["encoders"]["pixels"] for row in result.files()] == [[latents.figures()[i]] for i in (0, 1)]


def test_a_code_is_broken_from_a_shift_of_1_and_a_cosine_of_a_half_on() -> None:
    d_code = np.array([0.98, 1.0, 1.02, 0.0])
    for kind, figures in ((ENCODERS["taesd"], np.sqrt(d_code)), (ENCODERS["mobilefacenet"], 1 - d_code / 2)):
        codes = Codes(kind, d_code, d_code * 0, d_code, np.full(4, math.nan))
        assert codes.figures() == pytest.approx(figures)
        assert codes.broken() == 0.5 and codes.broken("noise") == 0 and codes.broken("jpeg") == 0.5
    assert ENCODERS["taesd"].threshold == 1 and ENCODERS["mobilefacenet"].threshold == 0.5


def test_noise_in_place_of_the_protection_gives_the_figure_of_the_control(
    check: Check, encoders: list[EncoderModel], pair: Callable[..., Pair]
) -> None:
    added = np.random.default_rng(7).normal(0, 8, (SIZE, SIZE, 3))
    codes = check([pair("noisy", added)], encoders=encoders).codes("pixels")
    assert codes.figures("noise") == pytest.approx(codes.figures(), rel=0.03)
    # A change of the same size in one direction moves other codes; pixels as codes only know the size.
    other = check([pair("flat", 8.0)], encoders=encoders).codes("pixels")
    assert other.figures("noise") == pytest.approx(other.figures(), rel=0.03)


def test_the_noise_has_the_rms_of_the_protection_and_is_the_same_each_time() -> None:
    original = np.random.default_rng(0).uniform(-0.8, 0.8, (3, 64, 64)).astype(np.float32)
    protected = original + np.float32(0.03) * np.where(np.indices((3, 64, 64)).sum(0) % 3, 1, -1).astype(np.float32)
    moved = noise(original, protected, "a.jpg", 1) - original
    assert np.sqrt(np.mean(moved**2)) == pytest.approx(0.03, rel=0.02)
    assert abs(moved.mean()) < 0.002
    assert np.array_equal(noise(original, protected, "a.jpg", 1) - original, moved)
    for name, face in (("a.jpg", 2), ("b.jpg", 1)):
        assert abs(np.corrcoef((noise(original, protected, name, face) - original).ravel(), moved.ravel())[0, 1]) < 0.05
    assert np.array_equal(noise(original, original, "a.jpg", 1), original)


def test_the_jpeg_control_is_the_original_crop_after_jpeg_75(
    check: Check, encoders: list[EncoderModel], pair: Callable[..., Pair]
) -> None:
    file = pair("j", 3.0)
    x = crop(file.original)
    _, after = parse(f"jpeg:{QUALITY}").treat(*(np.asarray(Image.open(file.original)),) * 2)
    expected = after.transpose(2, 0, 1).astype(np.float32) / np.float32(127.5) - 1
    assert np.array_equal(compressed(x), expected)
    shift = np.linalg.norm(expected - x) / np.linalg.norm(x)
    codes = check([file, pair("unprotected")], encoders=encoders).codes("pixels")
    assert codes.figures("jpeg") == pytest.approx([shift, shift], rel=1e-4)  # whatever the protection is
    assert codes.figures()[1] == 0 and codes.figures("noise")[1] == 0 and codes.psnr[1] == math.inf


def test_each_condition_has_figures_of_its_own(
    check: Check, encoders: list[EncoderModel], pair: Callable[..., Pair]
) -> None:
    result = check([pair("c", 6.0)], encoders=encoders, conditions=[parse("noise:0.2"), parse("blur:9")])
    figures = result.to_dict()
    shifts = [figures["encoders"]["pixels"]["shift"]]
    shifts += [figures["conditions"][name]["encoders"]["pixels"]["shift"] for name in ("noise:0.2", "blur:9")]
    assert shifts[0] < shifts[1] < shifts[2]
    rows = list(result.encoder_rows())
    assert [(row[0], row[2]) for row in rows] == [
        (condition, name) for condition in ("written", "noise:0.2", "blur:9") for name in ("pixels", "who")
    ]
    assert all(len(row) == len(result.ENCODER_COLUMNS) for row in rows)
    assert [row[6] for row in rows if row[2] == "pixels"] == pytest.approx(shifts)


def test_faces_of_a_photo_are_kept_apart(encoders: list[EncoderModel], pair: Callable[..., Pair], toys: object) -> None:
    file = pair("two", np.where(np.arange(SIZE)[None, :, None] < SIZE // 2, 10.0, 2.0))
    boxes = [Face(0, 0, SIZE / 3, SIZE / 3, 1.0), Face(2 * SIZE / 3, 0, SIZE, SIZE / 3, 1.0)]
    models, classifier = toys  # type: ignore[misc]
    result = check_files([file], models=models, classifier=classifier, detector=lambda _: boxes, encoders=encoders)
    left, right = result.codes("pixels").figures()
    assert left > 2 * right
    assert f"relative shift {right:.3f}, not broken" in result.codes("pixels").words()
    assert [each.face for each in result.judges[0].pictures] == [1, 2]


def test_without_encoders_the_verdict_is_what_it_was(
    check: Check, encoders: list[EncoderModel], pair: Callable[..., Pair]
) -> None:
    file = pair("plain", 6.0)
    plain, judged = check([file]), check([file], encoders=encoders)
    assert plain.encoders == () and list(plain.encoder_rows()) == [] and "encoders" not in plain.to_dict()
    assert "encoders" not in next(plain.files())
    figures = judged.to_dict()
    assert figures.pop("encoders") and figures == plain.to_dict()
    assert list(judged.rows()) == list(plain.rows())


def test_encoders_alone_judge_too(
    encoders: list[EncoderModel], pair: Callable[..., Pair], toys: tuple[list[DeepfakeModel], AttributeModel]
) -> None:
    file = pair("alone", 6.0)
    result = check_files([file], models=[], classifier=toys[1], detector=lambda _: [], encoders=encoders)
    figures = result.to_dict()
    assert figures["models"] == {} and figures["sr_all"] is None and set(figures["encoders"]) == {"pixels", "who"}
    assert next(result.files())["protected"] is None and result.sentence() == ""
    said = list(result.encoder_sentences())
    assert said[0].startswith("pixels (latents, the entrance of latent diffusion editors): 0 of 1 codes broken")
    assert said[0].endswith("an editor itself was not measured")
    assert "what face swappers read a person from" in said[1] and "at most 0.5" in said[1]


def test_reconstructions_are_kept_of_the_first_faces_as_written(
    check: Check, encoders: list[EncoderModel], pair: Callable[..., Pair]
) -> None:
    files = [pair(f"r{i:02}", 6.0) for i in range(PICTURES + 2)]
    latents, identity = check(files, encoders=encoders, conditions=[parse("blur:3")]).judges
    assert [each.pair for each in latents.pictures] == files[:PICTURES] and identity.pictures == []
    for pixels, path in (
        (latents.pictures[0].original, files[0].original),
        (latents.pictures[0].protected, files[0].protected),
    ):
        assert np.array_equal(pixels, np.asarray(Image.open(path)))


def test_an_encoder_is_of_a_family_of_encoders(toy_weights: Path) -> None:
    card: Card = deepfake_cards(toy_weights)["sturdy"]
    with pytest.raises(AssertionError, match="stargan"):
        EncoderModel(card)
