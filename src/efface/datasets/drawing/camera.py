"""What a camera makes of a drawn scene: blur, coarse pixels, flat contrast and noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.datasets.drawing.shapes import Field, above


def photographed(images: Field, quality: Field, noise: Field) -> NDArray[np.uint8]:
    """What a camera of this quality (0..1) makes of the pictures: blurred, coarse, flat and noisy, in 8 bits."""
    side = min(images.shape[2:])
    loss = 1 - quality
    images = blurred(images, np.square(0.02 * side * loss))
    factor = 1 + side / 20 * above(loss - 0.4)
    coarse = np.flatnonzero(factor > 1)
    images[coarse] = coarsened(images[coarse], factor[coarse])
    images = 0.5 + (1 - 0.3 * loss) * (images - 0.5) + (0.006 + 0.045 * loss) * noise
    return (images.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def blurred(images: Field, variance: Field) -> Field:
    """Blurred by a variance (square pixels) per picture: B-spline steps of doubling reach, as strong as is needed."""
    reach = 1
    while variance.max() > 0:
        weight = (variance / (2 * reach * reach)).clip(0, 0.25)
        variance = variance - 2 * reach * reach * weight
        for axis in (2, 3):
            margin = [(0, 0)] * 4
            margin[axis] = (reach, reach)
            wider = np.moveaxis(np.pad(images, margin, mode="edge"), axis, 0)
            sides = np.moveaxis(wider[2 * reach :] + wider[: -2 * reach], 0, axis)
            images = images + weight * (sides - 2 * images)
        reach *= 2
    return images


def coarsened(images: Field, factor: Array) -> Field:
    """Pictures seen through pixels `factor` times as large."""
    for axis in (2, 3):
        place = np.arange(images.shape[axis])
        block = np.floor(place / factor)
        source = np.floor((block + 0.5) * factor).clip(0, len(place) - 1).astype(np.intp)
        images = np.take_along_axis(images, source if axis == 3 else source.swapaxes(2, 3), axis)
    return images
