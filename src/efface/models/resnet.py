"""ResNet-18, with the names and shapes of torchvision's weights, for any width and any size of face.

He et al., Deep Residual Learning, CVPR 2016, arXiv:1512.03385. The published stem (7x7, stride 2, and a pool) is made
for 224 pixels; `stem = "small"` (3x3, stride 1, no pool) keeps faces of 32 to 64 pixels from shrinking to nothing.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from efface.models.pointwise import Pointwise
from efface.settings import Count

Stem = Literal["imagenet", "small"]
Normalise = Literal["none", "zero_one", "imagenet"]

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    """Two 3x3 convolutions and a way around them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = (
            None
            if stride == 1 and before == after
            else nn.Sequential(Pointwise(before, after, stride), nn.BatchNorm2d(after))
        )

    def forward(self, features: Tensor) -> Tensor:
        around = features if self.downsample is None else self.downsample(features)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(features)))))
        return self.relu(out + around)  # type: ignore[no-any-return]


class ResNet18(nn.Module):
    """Images (b, c, h, w) in [-1, 1] to logits (b, classes)."""

    depths: ClassVar = {"stem": "maxpool", **{f"stage {number}": f"layer{number}" for number in range(1, 5)}}

    def __init__(self, channels: int, classes: int, width: int, stem: Stem, normalise: Normalise) -> None:
        super().__init__()
        size, stride = (7, 2) if stem == "imagenet" else (3, 1)
        self.conv1 = nn.Conv2d(channels, width, size, stride, size // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()
        self.layer1 = nn.Sequential(Block(width, width, 1), Block(width, width, 1))
        self.layer2 = nn.Sequential(Block(width, 2 * width, 2), Block(2 * width, 2 * width, 1))
        self.layer3 = nn.Sequential(Block(2 * width, 4 * width, 2), Block(4 * width, 4 * width, 1))
        self.layer4 = nn.Sequential(Block(4 * width, 8 * width, 2), Block(8 * width, 8 * width, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width, classes)
        self.scale: Tensor
        self.shift: Tensor
        scale, shift = as_wanted(normalise, channels)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew: He et al.'s normal distribution by fan-out, as torchvision does."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, (nn.BatchNorm2d, nn.Linear)):
                module.reset_parameters()

    def forward(self, images: Tensor) -> Tensor:
        features = self.maxpool(self.relu(self.bn1(self.conv1(images * self.scale + self.shift))))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        return self.fc(self.avgpool(features).flatten(1))  # type: ignore[no-any-return]


def as_wanted(normalise: Normalise, channels: int) -> tuple[Tensor, Tensor]:
    """Scale and shift (c, 1, 1) from [-1, 1] to what the weights were trained on: `zero_one` is [0, 1], `imagenet` that
    less ImageNet's mean over its deviation."""
    if normalise == "none":
        return torch.ones(1, 1, 1), torch.zeros(1, 1, 1)
    if normalise == "zero_one":
        return torch.full((1, 1, 1), 0.5), torch.full((1, 1, 1), 0.5)
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    if channels == 1:
        mean, deviation = mean.mean(0, keepdim=True), deviation.mean(0, keepdim=True)
    return 0.5 / deviation, (0.5 - mean) / deviation


def resnet18(
    shape: tuple[int, int, int],
    classes: int,
    *,
    width: Count = 64,
    stem: Stem = "imagenet",
    normalise: Normalise = "none",
) -> ResNet18:
    """ResNet-18; `width` is the number of channels of its first stage (64 as published)."""
    return ResNet18(shape[0], classes, width, stem, normalise)
