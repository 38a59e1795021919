"""What faces are drawn with: smooth shapes, their edges, and layers of colour."""

from __future__ import annotations

import numpy as np

from efface.data.faces import Array

Field = Array
"""float32: a value per pixel (n, 1, h, w), a value per photo (n, 1, 1, 1) or a colour per photo (n, c, 1, 1)."""


def cover(distance: Field, pixels: Field) -> Field:
    """Share of each pixel inside a shape, from the signed distance to its edge (negative inside)."""
    covered: Field = (0.5 - distance * pixels).clip(0, 1)
    return covered


def spot(square: Field) -> Field:
    """A soft spot from a squared distance: 1 in the middle, 0 from 1 on."""
    depth: Field = (1 - square).clip(0, 1)
    return depth * depth


def rise(x: Field) -> Field:
    """From 0 to 1 smoothly while x does."""
    x = x.clip(0, 1)
    risen: Field = x * x * (3 - 2 * x)
    return risen


def wave(x: Field) -> Field:
    """Nearly a sine of period 1, made of parabolas."""
    x = x - np.rint(x)
    swung: Field = x * (8 - 16 * np.abs(x))
    return swung


def above(x: Field) -> Field:
    """What is positive of it."""
    positive: Field = x.clip(0, np.inf)
    return positive


def lay(ground: Field, colour: Field | float, alpha: Field) -> None:
    """Lay a colour over the ground, in place."""
    ground += alpha * (colour - ground)


def radius(x: Field, y: Field) -> Field:
    """Distance from the middle: 1 on the unit circle."""
    distance: Field = np.sqrt(x * x + y * y)
    return distance


def square_radius(x: Field, y: Field, squareness: Field) -> Field:
    """Distance from the middle of a shape between the unit circle (0) and the superellipse of power four (1)."""
    x, y = x * x, y * y
    round_one, square_one = np.sqrt(x + y), np.sqrt(np.sqrt(x * x + y * y))
    distance: Field = round_one + squareness * (square_one - round_one)
    return distance
