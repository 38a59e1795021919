"""IResNet: the residual network that ArcFace models are made of, at any depth, width and picture size.

Duta et al. 2020, arXiv:2004.04989, in the form of insightface's `arcface_torch`: no pooling at the start, every stage
halves the picture, batch normalisation before each convolution. At width 64, 512 dimensions and 112x112 pixels the
names and shapes of the weights are those of its `backbone.pth`.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from efface.models.pointwise import Pointwise
from efface.models.reset import draw

BLOCKS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 14, 3),
    100: (3, 13, 30, 3),
    200: (6, 26, 60, 6),
}
"""Blocks of each stage, by depth."""


class Block(nn.Module):
    """Two convolutions beside an identity: (b, before, h, w) to (b, after, h / stride, w / stride)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.prelu = nn.PReLU(after)
        self.conv2 = nn.Conv2d(after, after, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample = (
            nn.Sequential(Pointwise(before, after, stride), nn.BatchNorm2d(after))
            if stride > 1 or before != after
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        beside = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x)))))) + beside
        return out


class IResNet(nn.Module):
    """Images (b, c, h, w) of one size, 16 pixels or more on each side, to embeddings (b, dimensions)."""

    depths: ClassVar = {"stem": "prelu", **{f"stage {number}": f"layer{number}" for number in range(1, 5)}}

    def __init__(
        self,
        shape: tuple[int, int, int],
        depth: int = 18,
        width: int = 64,
        dimensions: int = 512,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, height, across = shape
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        before = width
        for number, blocks in enumerate(BLOCKS[depth], start=1):
            after = width * 2 ** (number - 1)
            stage = [Block(before if place == 0 else after, after, 2 if place == 0 else 1) for place in range(blocks)]
            self.add_module(f"layer{number}", nn.Sequential(*stage))
            before = after
        self.bn2 = nn.BatchNorm2d(before)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(before * math.ceil(height / 16) * math.ceil(across / 16), dimensions)
        self.features = nn.BatchNorm1d(dimensions)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As published: convolutions from N(0, 0.1), normalisations neutral, the last one's scale fixed to one."""
        for module in self.children():
            draw(module)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.1)
        self.features.weight.requires_grad = False

    def forward(self, images: Tensor) -> Tensor:
        x = self.prelu(self.bn1(self.conv1(images)))
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        x = torch.flatten(self.dropout(self.bn2(x)), 1)
        embeddings: Tensor = self.features(self.fc(x))
        return embeddings
