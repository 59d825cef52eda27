"""A drawn portrait for measurements where the user names no photo: the detectors find its face."""

from __future__ import annotations

from typing import Final

_HEIGHT, _WIDTH = 1350, 1080
_MIDDLE: Final = (540, 600)
_UNIT: Final = 280
#: Ellipses: middle and half axes in units of `_UNIT` pixels, seen from `_MIDDLE`; RGB.
_ELLIPSES: Final = (
    (0, 2.6, 2, 1.3, (60, 70, 110)),  # shoulders
    (0, -0.15, 1.08, 1.4, (60, 40, 30)),  # hair
    (0, 1.2, 0.45, 0.6, (190, 145, 120)),  # neck
    (0, 0.05, 0.85, 1.15, (215, 170, 145)),  # face
    *((0.36 * side, -0.1, 0.19, 0.09, (245, 245, 245)) for side in (-1, 1)),  # eyes
    *((0.36 * side, -0.1, 0.09, 0.09, (60, 40, 25)) for side in (-1, 1)),
    *((0.36 * side, -0.33, 0.22, 0.06, (60, 40, 30)) for side in (-1, 1)),  # brows
    (0, 0.25, 0.12, 0.18, (195, 145, 120)),  # nose
    (0, 0.66, 0.3, 0.1, (175, 80, 80)),  # mouth
)


def portrait() -> bytes:
    """A JPEG of 1080 x 1350 pixels, quality 92, with soft edges and a little noise: about 200 kB, as of a camera."""
    import cv2
    import numpy as np

    shade = np.linspace(110, 190, _HEIGHT)[:, None, None] + np.array([0, 10, 20])
    pixels = np.ascontiguousarray(np.broadcast_to(shade, (_HEIGHT, _WIDTH, 3)).astype(np.uint8))
    for x, y, a, b, colour in _ELLIPSES:
        middle = (_MIDDLE[0] + round(x * _UNIT), _MIDDLE[1] + round(y * _UNIT))
        cv2.ellipse(pixels, middle, (round(a * _UNIT), round(b * _UNIT)), 0, 0, 360, colour, -1, cv2.LINE_AA)
    noise = np.random.default_rng(0).normal(0, 3, pixels.shape)
    stored = np.clip(cv2.GaussianBlur(pixels, (0, 0), 7) + noise, 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", stored[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return data.tobytes()
