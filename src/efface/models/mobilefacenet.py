"""MobileFaceNet: a recogniser for telephones.

Chen et al. 2018, arXiv:1804.07573: bottlenecks of MobileNetV2 with PReLU, and a convolution over the whole remaining
picture in place of average pooling, since the middle of a face tells more than its edges.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""(expansion, channels, how often, stride of the first) as published."""


def layer(
    before: int, after: int, size: int | tuple[int, int], stride: int = 1, groups: int = 1, active: bool = True
) -> nn.Sequential:
    """Convolution, batch normalisation and, if active, PReLU; without padding for a kernel as large as the picture."""
    padding = size // 2 if isinstance(size, int) else 0
    convolution = nn.Conv2d(before, after, size, stride, padding, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), *([nn.PReLU(after)] if active else []))


class Bottleneck(nn.Module):
    """Widen, filter each channel, narrow; added to its input where the shapes agree."""

    def __init__(self, before: int, after: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = before * expansion
        self.layers = nn.Sequential(
            layer(before, wide, 1), layer(wide, wide, 3, stride, groups=wide), layer(wide, after, 1, active=False)
        )
        self.adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.adds else out


class MobileFaceNet(nn.Module):
    """Images (b, c, h, w) of one size, 16 pixels or more on each side, to embeddings (b, dimensions)."""

    depths: ClassVar = {"stem": "layers.1", "stage 1": "layers.6", "stage 2": "layers.13", "stage 3": "layers.16"}

    def __init__(self, shape: tuple[int, int, int], width: int = 64, dimensions: int = 512) -> None:
        super().__init__()
        channels, height, across = shape
        layers: list[nn.Module] = [layer(channels, width, 3, 2), layer(width, width, 3, groups=width)]
        before = width
        for expansion, published, times, stride in BOTTLENECKS:
            after = published * width // 64
            for place in range(times):
                layers.append(Bottleneck(before, after, expansion, stride if place == 0 else 1))
                before = after
        wide = 512 * width // 64
        layers.append(layer(before, wide, 1))
        self.layers = nn.Sequential(*layers)
        whole = (math.ceil(height / 16), math.ceil(across / 16))
        self.pool = layer(wide, wide, whole, groups=wide, active=False)
        self.fc = nn.Linear(wide, dimensions, bias=False)
        self.features = nn.BatchNorm1d(dimensions)

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.features(self.fc(torch.flatten(self.pool(self.layers(images)), 1)))
        return embeddings
