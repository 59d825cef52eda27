from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dadfi_fast.training.augment import blur, framed, jpeg, resized, rounded


def picture(side: int = 64) -> Tensor:
    """Smooth colours with some texture, as photos have: [1, 3, side, side]."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:side, 0:side] / side
    planes = np.stack([np.sin(5 * rows + 3 * columns), np.cos(4 * columns), rows - columns])
    planes = np.clip(0.6 * planes + 0.08 * rng.standard_normal(planes.shape), -1, 1)
    return rounded(torch.from_numpy(planes.astype(np.float32))[None])


def pillow(x: Tensor, quality: int, subsampling: int) -> Tensor:
    levels = ((x[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.mark.parametrize("quality", [50, 75, 90, 95])
@pytest.mark.parametrize(("chroma", "subsampling"), [(1, 0), (2, 2)], ids=["444", "420"])
def test_jpeg_is_what_pillow_writes(quality: int, chroma: int, subsampling: int) -> None:
    x = picture()
    ours, theirs = jpeg(x, torch.tensor([quality]), chroma=chroma), pillow(x, quality, subsampling)
    codec_error = (theirs - x).abs().mean()
    # What is left is libjpeg's integer arithmetic.
    assert (ours - theirs).abs().mean() < 0.5 * codec_error


def test_jpeg_takes_any_size_and_a_quality_for_each_picture() -> None:
    x = picture().expand(2, -1, -1, -1)[:, :, :51, :37]
    out = jpeg(x, torch.tensor([95, 10]), chroma=1)
    assert out.shape == x.shape
    error = (out - x).abs().mean((1, 2, 3))
    assert error[1] > 2 * error[0]


def test_gradients_pass_the_roundings() -> None:
    x = picture().requires_grad_()
    jpeg(x, torch.tensor([75])).square().sum().backward()
    assert x.grad is not None and x.grad.abs().mean() > 0.1


def test_rounded_is_whole_levels_with_the_gradient_of_identity() -> None:
    x = torch.tensor([-1.0, 0.1234, 0.5, 1.0], requires_grad=True)
    out = rounded(x)
    levels = (out + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    out.sum().backward()
    torch.testing.assert_close(x.grad, torch.ones(4))


def test_blur_keeps_the_mean_and_takes_the_texture() -> None:
    x = picture()
    out = blur(x, 1.5)
    assert out.shape == x.shape
    assert (out.mean() - x.mean()).abs() < 0.01
    assert (out[..., 1:] - out[..., :-1]).abs().mean() < 0.6 * (x[..., 1:] - x[..., :-1]).abs().mean()


def test_resized_changes_the_side_and_leaves_what_fits() -> None:
    x = picture()
    assert resized(x, 64) is x
    assert resized(x, 20).shape == (1, 3, 20, 20)


def test_framed_draws_from_its_generator_only() -> None:
    x = picture().expand(4, -1, -1, -1)
    one, two = (framed(x, 48, torch.Generator().manual_seed(5)) for _ in range(2))
    assert one.shape == (4, 3, 48, 48)
    assert torch.equal(one, two)
    assert not torch.equal(one[0], one[1])  # every picture is cut in its own way


def test_framed_without_play_is_the_picture_or_its_mirror() -> None:
    x = picture().expand(8, -1, -1, -1)
    out = framed(x, 64, torch.Generator().manual_seed(0), zoom=0.0, shift=0.0)
    for each in out:
        distance = min((each - x[0]).abs().max(), (each - x[0].flip(2)).abs().max())
        assert distance < 1e-4
