"""Training faces changed at random, a whole batch at once, in ways that leave their labels true."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Augment = Literal["none", "flip", "benchmark"]
"""`flip` mirrors; `benchmark` is MUFAC's: mirror, scale by 0.8 to 1.2, shear by up to 10 degrees, and change
brightness, contrast and saturation by up to a fifth. For tasks whose targets do not move with the picture."""


def augmented(images: Tensor, how: Augment, rng: np.random.Generator) -> Tensor:
    """Images (b, c, h, w) in [-1, 1], each changed by its own draw; torch's own random state stays."""
    if how == "none":
        return images
    if how == "flip":
        mirrored = torch.from_numpy(rng.random(len(images)) < 0.5).to(images.device).view(-1, 1, 1, 1)
        return torch.where(mirrored, images.flip(3), images)
    with torch.random.fork_rng([images.device] if images.is_cuda else []):
        torch.manual_seed(int(rng.integers(2**31)))
        changed = benchmark(images.shape[1])((images + 1) / 2)
    return (2 * changed - 1).contiguous(memory_format=torch.channels_last)


@cache
def benchmark(channels: int) -> Callable[[Tensor], Tensor]:
    """The benchmark's transforms (Choi and Na, arXiv:2311.02240) as kornia has them; grey faces have no saturation."""
    from kornia import augmentation

    return augmentation.AugmentationSequential(
        augmentation.RandomHorizontalFlip(),
        augmentation.RandomAffine(degrees=0.0, shear=(-10.0, 10.0), scale=(0.8, 1.2), p=1.0),
        augmentation.ColorJitter(0.2, 0.2, 0.2 if channels == 3 else 0.0, 0.0, p=1.0),
    )
