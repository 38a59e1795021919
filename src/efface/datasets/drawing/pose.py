"""Where a head is in its picture, and each pixel on that head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from efface.data.faces import Array
from efface.datasets.drawing.columns import Columns
from efface.datasets.drawing.shapes import Field, above
from efface.datasets.drawing.traits import Circumstance

HEAD = 0.265
"""Half a head's width in smaller picture sides, at scale 1."""
LARGEST_HEAD = 1.15 * HEAD
"""The same at the largest scale of a `Circumstance`."""
CROWN = 1.22
"""Height of the skull above the head's centre, in half head widths."""


@dataclass(frozen=True)
class Pose(Columns):
    """Where the head is in the picture: pixels of its centre and of half its width, sine and cosine of its turns."""

    x: Array
    y: Array
    scale: Array
    roll_sin: Array
    roll_cos: Array
    yaw_sin: Array
    yaw_cos: Array
    pitch: Array


@dataclass(frozen=True)
class Grid:
    """Where each pixel lies, in half head widths: (x, y) upright, (u, v) along the head, (t, s) seen from its front."""

    x: Field
    y: Field
    u: Field
    v: Field
    t: Field
    s: Field
    pixels: Field
    """Pixels in one unit of length."""


def pose_of(photo: Circumstance, size: tuple[int, int]) -> Pose:
    """Where the heads are in pictures of `size` (width, height)."""
    width, height = size
    side = min(size)
    return Pose(
        x=(width - 1) / 2 + side * photo.shift_x,
        y=(height - 1) / 2 + side * (photo.shift_y - 0.02),
        scale=HEAD * side * photo.scale,
        roll_sin=np.sin(photo.roll),
        roll_cos=np.cos(photo.roll),
        yaw_sin=np.sin(photo.yaw),
        yaw_cos=np.cos(photo.yaw),
        pitch=photo.pitch,
    )


def grid(pose: Pose, column: Field, row: Field) -> Grid:
    """Pixels in the coordinates of each head: the picture's turn is undone, then the head's, as on a cylinder."""
    x, y = (column - pose.x) / pose.scale, (row - pose.y) / pose.scale
    u = x * pose.roll_cos + y * pose.roll_sin
    v = y * pose.roll_cos - x * pose.roll_sin
    depth = np.sqrt(above(1 - u * u))
    return Grid(x, y, u, v, u * pose.yaw_cos - depth * pose.yaw_sin, v - depth * pose.pitch, pose.scale)


def in_picture(pose: Pose, t: Array, s: Array) -> tuple[Array, Array]:
    """Pixels (x, y) of a point on the head given as seen from the front: what `grid` undoes."""
    u = t * pose.yaw_cos + np.sqrt(1 - t * t) * pose.yaw_sin
    v = s + np.sqrt(1 - u * u) * pose.pitch
    x = pose.x + pose.scale * (u * pose.roll_cos - v * pose.roll_sin)
    y = pose.y + pose.scale * (u * pose.roll_sin + v * pose.roll_cos)
    return x, y
