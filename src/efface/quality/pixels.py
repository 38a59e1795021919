"""Quality of a face picture from its pixels alone: the measures of OFIQ that need no trained weights.

ISO/IEC 29794-5 in the form of BSI's Open Source Face Image Quality (OFIQ). OFIQ looks at landmarked regions; here the
whole aligned crop stands for the face and its left and right halves for the two cheeks. Higher is better in every
measure.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array

Scores = NDArray[np.float64]
LEVELS = 256


def luminance(images: Array) -> NDArray[np.float64]:
    """(n, h, w) in [0, 1] of images (n, c, h, w) uint8: linear light, weighted as ITU-R BT.709."""
    light = linear(images)
    return light[:, 0] if light.shape[1] == 1 else np.einsum("nchw,c->nhw", light, [0.2126, 0.7152, 0.0722])


def linear(images: Array) -> NDArray[np.float64]:
    """sRGB bytes as linear light in [0, 1]."""
    share = np.arange(LEVELS) / 255
    table = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    light: NDArray[np.float64] = table[images]
    return light


def histograms(light: Array) -> NDArray[np.float64]:
    """(n, 256) share of the pixels of (n, h, w) at each of 256 levels."""
    levels = np.rint(255 * light.reshape(len(light), -1)).astype(np.int64)
    counts = np.bincount((levels + LEVELS * np.arange(len(levels))[:, None]).ravel(), minlength=LEVELS * len(levels))
    share: NDArray[np.float64] = counts.reshape(len(levels), LEVELS) / levels.shape[1]
    return share


def dynamic_range(images: Array) -> Scores:
    """Entropy of the luminance histogram, 12.5 for each bit: 0 to 100."""
    share = histograms(luminance(images))
    bits: Scores = -(share * np.log2(np.where(share > 0, share, 1))).sum(1)
    return 12.5 * bits


def luminance_mean(images: Array) -> Scores:
    """Neither dark nor bright on the whole: 0 to 100."""
    mean = luminance(images).mean((1, 2))
    return 100 * _sigmoid(mean, 0.2, 0.05) * (1 - _sigmoid(mean, 0.8, 0.05))


def luminance_variance(images: Array) -> Scores:
    """Contrast that is neither none nor too much: 0 to 100."""
    variance = luminance(images).var((1, 2))
    contrast: Scores = 100 * np.sin(np.pi * 60 * variance / (60 * variance + 1))
    return contrast


def under_exposure(images: Array) -> Scores:
    """1 / (share of pixels below a tenth of full light + 0.01): 1 to 100."""
    lit: Scores = 1 / (histograms(luminance(images))[:, :26].sum(1) + 0.01)
    return lit


def over_exposure(images: Array) -> Scores:
    """1 / (share of blown-out pixels + 0.01): 1 to 100."""
    drawn: Scores = 1 / (histograms(luminance(images))[:, 247:].sum(1) + 0.01)
    return drawn


def illumination_uniformity(images: Array) -> Scores:
    """How alike the light of the left and the right half is: 0 to 100."""
    light = luminance(images)
    half = light.shape[2] // 2
    shared = np.minimum(histograms(light[:, :, :half]), histograms(light[:, :, -half:])).sum(1)
    uniform: Scores = 100 * shared**0.3
    return uniform


def natural_colour(images: Array) -> Scores:
    """Minus the distance of the mean colour from that of skin in any light, a* 5 to 25, b* 5 to 35 in CIELAB: 0 at
    best; NaN for grey pictures."""
    if images.shape[1] == 1:
        return np.full(len(images), np.nan)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = np.einsum("dc,nchw->ndhw", to_xyz / to_xyz.sum(1, keepdims=True), linear(images))
    roots = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    a, b = (500 * (roots[:, 0] - roots[:, 1])).mean((1, 2)), (200 * (roots[:, 1] - roots[:, 2])).mean((1, 2))
    away: Scores = -np.hypot(
        *(np.maximum(0, np.maximum(low - value, value - high)) for value, low, high in ((a, 5, 25), (b, 5, 35)))
    )
    return away


def sharpness(images: Array) -> Scores:
    """Logarithm of the variance of the Laplacian of the grey levels. A plain stand-in: OFIQ's needs trained weights."""
    grey = images.astype(np.float64).mean(1)
    laplacian = (
        grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:] + grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] - 4 * grey[:, 1:-1, 1:-1]
    )
    sharp: Scores = np.log(laplacian.var((1, 2)) + 1e-3)
    return sharp


def _sigmoid(value: Array, middle: float, width: float) -> Scores:
    return 1 / (1 + np.exp(-(value - middle) / width))


PIXELS: dict[str, Callable[[Array], Scores]] = {
    "dynamic_range": dynamic_range,
    "luminance_mean": luminance_mean,
    "luminance_variance": luminance_variance,
    "under_exposure": under_exposure,
    "over_exposure": over_exposure,
    "illumination_uniformity": illumination_uniformity,
    "natural_colour": natural_colour,
    "sharpness": sharpness,
}
