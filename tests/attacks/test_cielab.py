from __future__ import annotations

import cv2
import numpy as np
import torch

from dadfi_fast.attacks.cielab import from_lab, to_lab


def test_agrees_with_opencv() -> None:
    rgb = np.random.default_rng(0).uniform(0, 1, (16, 16, 3)).astype(np.float32)
    rgb[0, :2] = [[0, 0, 0], [1, 1, 1]]
    expected = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    lab = to_lab(torch.from_numpy(rgb).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    np.testing.assert_allclose(lab, expected, atol=0.4)  # OpenCV interpolates in tables


def test_there_and_back() -> None:
    rgb = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    rgb[0, :, 0, 0], rgb[0, :, 0, 1], rgb[0, :, 0, 2] = 0.0, 1.0, 0.01
    torch.testing.assert_close(from_lab(to_lab(rgb)), rgb, atol=1e-4, rtol=0)


def test_grey_has_no_colour() -> None:
    lab = to_lab(torch.linspace(0, 1, 12).expand(1, 3, 1, 12))
    assert lab[:, 1:].abs().max() < 1e-3
    assert (lab[0, 0, 0].diff() > 0).all() and abs(lab[0, 0, 0, -1] - 100) < 1e-3


def test_slopes_are_finite_everywhere_and_colours_beyond_a_screen_stop_at_its_edge() -> None:
    lab = torch.tensor([[0.0, 0, 0], [100, 0, 0], [50, 200, -200], [0, -90, 90]]).T[None, :, :, None].requires_grad_()
    rgb = from_lab(lab)
    rgb.sum().backward()
    assert rgb.min() >= 0 and rgb.max() <= 1 and rgb.isfinite().all()
    assert lab.grad is not None and lab.grad.isfinite().all()
