from __future__ import annotations

import numpy as np
import pytest
import torch

from dadfi_fast.attacks.distortion import DISTORTIONS, edit_mask, masked_distortion, pixel_distortion
from dadfi_fast.errors import UsageError
from dadfi_fast.metrics import defence

CLEAN, MOVED, SOURCE = (torch.rand(4, 3, 6, 5, generator=torch.Generator().manual_seed(i)) * 2 - 1 for i in range(3))


def test_agrees_with_the_metrics() -> None:
    mask = defence.edit_mask(SOURCE.numpy(), CLEAN.numpy())
    assert np.array_equal(edit_mask(CLEAN, SOURCE)[:, 0].bool(), mask)
    expected = defence.mask_distance(CLEAN.numpy(), MOVED.numpy(), mask)
    np.testing.assert_allclose(masked_distortion(CLEAN, MOVED, SOURCE), expected, rtol=1e-5)
    expected = defence.pixel_distance(CLEAN.numpy(), MOVED.numpy())
    np.testing.assert_allclose(pixel_distortion(CLEAN, MOVED, SOURCE), expected, rtol=1e-5)


def test_an_empty_mask_is_no_distortion_and_has_no_gradient() -> None:
    moved = MOVED.clone().requires_grad_()
    distortion = masked_distortion(CLEAN, moved, CLEAN)
    distortion.sum().backward()
    assert not distortion.any() and moved.grad is not None and not moved.grad.any()


@pytest.mark.parametrize("name", list(DISTORTIONS))
def test_one_value_a_picture_that_grows_with_the_distance(name: str) -> None:
    near, far = (DISTORTIONS[name](CLEAN, CLEAN + share * (MOVED - CLEAN), SOURCE) for share in (0.1, 1.0))
    assert near.shape == (4,) and (near < far).all()
    assert not DISTORTIONS[name](CLEAN, CLEAN, SOURCE).any()


def test_an_unknown_one_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'masked'"):
        DISTORTIONS["maskd"]
