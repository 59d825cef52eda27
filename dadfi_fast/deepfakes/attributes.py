"""A small attribute classifier: which of a StarGAN's attributes a face has.

StarGAN wants target labels, and those follow from the labels that the picture has (`stargan.edits`); photos from the
street carry none. The classifier supplies them, and judges whether an edit shows the attribute that was asked for.
"""

from __future__ import annotations

from torch import Tensor, nn


class AttributeClassifier(nn.Module):
    """Faces [B, 3, 64, 64] in [-1, 1] to logits [B, attributes]: four conv-BN-ReLU-pool stages, global mean, linear."""

    def __init__(self, attributes: int = 5, width: int = 24) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        source = 3
        for target in (width, 2 * width, 4 * width, 8 * width):
            layers += [nn.Conv2d(source, target, 3, padding=1, bias=False), nn.BatchNorm2d(target), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
            source = target
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(source, attributes))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.features(x))
        return out
