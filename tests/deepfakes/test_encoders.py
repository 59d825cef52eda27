"""Encoders: the layers that official state dicts describe, and what counts as a broken code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dadfi_fast.attacks.distortion import code_distortion, distortion_of
from dadfi_fast.deepfakes import mobilefacenet, taesd
from dadfi_fast.deepfakes.base import Editor
from dadfi_fast.deepfakes.encoders import BROKEN, Unedited, code_distance
from dadfi_fast.deepfakes.torch_model import Target
from dadfi_fast.metrics.defence import SUCCESS
from tests.encoders import LATENTS, decoder, embedder, encoder


@pytest.mark.parametrize("network", [encoder(), decoder()], ids=["encoder", "decoder"])
def test_a_state_dict_says_which_layers_there_are(network: nn.Sequential) -> None:
    read = taesd.load({name: value.half() for name, value in network.state_dict().items()})
    assert [type(layer) for layer in read] == [type(layer) for layer in network]
    first = network[0] if isinstance(network[0], nn.Conv2d) else network[1]
    x = torch.rand(1, first.in_channels, 16, 16)
    with torch.no_grad():
        assert torch.allclose(read(x), network(x), atol=0.02)


def test_latents_are_an_eighth_of_the_picture_and_their_scale_is_that_of_bytes() -> None:
    network = encoder()
    images = torch.rand(2, 3, 32, 24) * 2 - 1
    with torch.no_grad():
        code = taesd.Latents(network)(images, torch.zeros(2, 0))
        assert code.shape == (2, LATENTS * 4 * 3)
        assert torch.equal(code, network((images + 1) / 2).flatten(1))


def test_what_is_no_member_of_the_family_is_refused() -> None:
    state = encoder().state_dict()
    state["3.conv.0.weight"] = state["3.conv.0.weight"][:, :-1]
    with pytest.raises(RuntimeError):
        taesd.load(state)


def test_the_embedder_has_the_published_parameters_and_reads_their_names() -> None:
    network = embedder()
    assert sum(parameter.numel() for parameter in network.parameters()) == 999_936
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    x = torch.rand(1, 3, mobilefacenet.SIDE, mobilefacenet.SIDE)
    with torch.no_grad():
        assert torch.equal(mobilefacenet.load(state)(x), network(x))


def test_embeddings_have_length_1_and_do_not_see_what_lies_around_the_face() -> None:
    model = mobilefacenet.Identity(embedder())
    images = torch.rand(2, 3, mobilefacenet.CROP, mobilefacenet.CROP) * 2 - 1
    other = images.clone()
    other[:, :, :, : mobilefacenet.LEFT] = -1
    other[:, :, : mobilefacenet.TOP] = 1
    with torch.no_grad():
        code = model(images)
        assert torch.allclose(code.norm(dim=1), torch.ones(2))
        assert torch.equal(model(other), code)
        other[:, :, 76, 76] = -other[:, :, 76, 76]
        assert not torch.equal(model(other), code)


def test_d_code_is_the_squared_relative_shift_and_for_unit_codes_2_less_2_cos() -> None:
    code = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32)
    moved = np.array([[3.0, 9.0], [0.5, np.sqrt(0.75)]], np.float32)
    assert code_distance(code, moved) == pytest.approx([1.0, 2 - 2 * 0.5])
    scaled = code_distortion(torch.from_numpy(code), torch.from_numpy(moved), torch.empty(0))
    assert scaled.numpy() == pytest.approx(code_distance(code, moved) * SUCCESS / BROKEN)


class _Halves(nn.Module):
    def forward(self, images: Tensor, edit: Tensor) -> Tensor:
        return images.flatten(1) / 2


def test_a_target_says_itself_how_far_its_outputs_are_apart() -> None:
    one, other = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    target = Target("latents", Editor(_Halves(), 8), "0", Unedited(()), family="taesd")
    edits = target.edits(torch.zeros(2, 0))
    assert edits.shape == (1, 2, 0)
    outputs = [target.fake(images, edits[0]) for images in (one, other)]
    d_code = ((other - one) ** 2).flatten(1).sum(1) / (one**2).flatten(1).sum(1)
    assert torch.allclose(distortion_of(target)(outputs[0], outputs[1], one), d_code * SUCCESS / BROKEN)
