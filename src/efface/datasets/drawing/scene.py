"""Photos while they are drawn, and the windows of them that a part of the face fills."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from efface.datasets.drawing.look import Look, Palette
from efface.datasets.drawing.pose import LARGEST_HEAD, Grid, Pose, grid, in_picture
from efface.datasets.drawing.shapes import Field, lay
from efface.datasets.drawing.traits import Circumstance, Identity


@dataclass(frozen=True)
class Scene:
    """A chunk of photos being drawn.

    `paint` is colour in flat light, `light` multiplies it at the end, `head` is the head's share of each pixel.
    """

    paint: Field
    light: Field
    head: Field
    identity: Identity
    circumstance: Circumstance
    palette: Palette
    pose: Pose
    look: Look
    moles: Field


def draw_in_window(scene: Scene, draw: Callable[[Scene, Grid], None], s: float, extent: tuple[float, float]) -> None:
    """Draw what does not reach beyond the head, working on a window of every photo only.

    The window is centred at the height `s` of the head's middle line and is `extent` (width, height) half heads of
    the largest scale.
    """
    count, _, height, width = scene.paint.shape
    unit = LARGEST_HEAD * min(width, height)
    wide, high = min(int(extent[0] * unit), width), min(int(extent[1] * unit), height)
    x, y = in_picture(scene.pose, np.zeros(1, np.float32), np.full(1, s, np.float32))
    left = np.rint(x - wide / 2).clip(0, width - wide).astype(np.intp)
    top = np.rint(y - high / 2).clip(0, height - high).astype(np.intp)
    column = (left + np.arange(wide)).astype(np.float32)
    row = (top + np.arange(high)[:, None]).astype(np.float32)
    where = (np.arange(count), slice(None), top.ravel(), left.ravel())
    paint, light, head = (
        sliding_window_view(whole, (high, wide), axis=(2, 3), writeable=True)
        for whole in (scene.paint, scene.light, scene.head)
    )
    window = replace(scene, paint=paint[where], light=light[where], head=head[where])
    draw(window, grid(scene.pose, column, row))
    for whole, drawn in ((paint, window.paint), (light, window.light)):
        before = whole[where]
        lay(before, drawn, window.head)
        whole[where] = before
