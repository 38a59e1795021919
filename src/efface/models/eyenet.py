"""EyeNet: a small convolutional regressor of two eye centres, for faces of any size.

Three convolution blocks, `AdaptiveAvgPool2d((4, 6))` and fully connected layers, as in the eye-localisation
study this task comes from. What it leaves open is set here: 256 hidden units, and no batch normalisation, with
which the net learned more slowly when it was tried on synthetic faces.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from efface.settings import Count


class EyeNet(nn.Module):
    """Images (b, c, h, w) to eye centres (b, 2, 2): subject's left eye first, x before y, in pixels.

    Inside, coordinates are fractions of width and height around the middle of the picture, so an untrained
    net answers near the middle and one set of weights serves every size.
    """

    depths: ClassVar = {"block 1": "features.2", "block 2": "features.5", "block 3": "features.8", "hidden": "head.2"}

    def __init__(self, channels: int, widths: tuple[int, int, int], hidden: int) -> None:
        super().__init__()
        sizes = (channels, *widths)
        self.features = nn.Sequential(
            *(
                layer
                for before, after in pairwise(sizes)
                for layer in (nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
            )
        )
        self.pool = nn.AdaptiveAvgPool2d((4, 6))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * 24, hidden), nn.ReLU(), nn.Linear(hidden, 4))

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        answer = self.head(self.pool(self.features(images))).view(-1, 2, 2)
        fractions = 0.5 + answer.to(images.dtype)  # of 16 bits, a half and a little would be told in steps of .002
        return fractions * torch.tensor(  # type: ignore[no-any-return]
            [width, height], dtype=images.dtype, device=images.device
        )


def eyenet(
    shape: tuple[int, int, int],
    _classes: int = 0,
    *,
    widths: tuple[Count, Count, Count] = (32, 64, 128),
    hidden: Count = 256,
) -> EyeNet:
    """Eye centres in pixels from grey or colour faces of any size from 8x8 up."""
    return EyeNet(shape[0], widths, hidden)
