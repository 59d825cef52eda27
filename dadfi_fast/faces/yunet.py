"""YuNet, run by OpenCV from the user's ONNX file.

Source: Wu, Peng, Yu, "YuNet: A tiny millisecond-level face detector", Machine Intelligence Research, 2023.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from dadfi_fast.errors import UsageError
from dadfi_fast.faces.detector import CONFIDENCE, SAME, Detector
from dadfi_fast.types import Face, UInt8


class YuNet(Detector):
    """Takes ``face_detection_yunet_2023mar.onnx`` of OpenCV's model zoo (MIT licence).

    Raises:
        UsageError: OpenCV cannot read the file as YuNet.
    """

    name: ClassVar[str] = "yunet"

    def __init__(self, model: Path) -> None:
        self._model = model
        # One network a thread: OpenCV's object holds the size and the buffers of the last picture.
        self._local = threading.local()
        try:
            self.find(np.zeros((64, 64, 3), np.uint8))
        except cv2.error as error:
            raise UsageError(f"{model} is not an ONNX file of YuNet that OpenCV can run: {error}") from error

    @classmethod
    def missing(cls, model: Path | None) -> str | None:
        if model is None:
            return (
                "it needs its file; pass --detector-model face_detection_yunet_2023mar.onnx"
                " (from https://github.com/opencv/opencv_zoo, folder models/face_detection_yunet)"
            )
        return None if model.is_file() else f"--detector-model {model} does not exist"

    def find(self, pixels: UInt8) -> list[Face]:
        height, width = pixels.shape[:2]
        _, found = self._network(width, height).detect(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        if found is None:
            return []
        return [Face(x, y, x + w, y + h, row[-1]) for row in found.tolist() for x, y, w, h in [row[:4]]]

    def _network(self, width: int, height: int) -> cv2.FaceDetectorYN:
        if not hasattr(self._local, "network"):
            self._local.network = cv2.FaceDetectorYN.create(str(self._model), "", (width, height), CONFIDENCE, SAME)
        network: cv2.FaceDetectorYN = self._local.network
        network.setInputSize((width, height))
        return network
