"""The layers around a head: the wall behind it and the body below."""

from __future__ import annotations

import numpy as np

from efface.datasets.drawing.pose import Grid
from efface.datasets.drawing.scene import Scene
from efface.datasets.drawing.shapes import above, cover, lay, radius, rise, spot, wave


def draw_wall(scene: Scene, at: Grid) -> None:
    """A wall shaded from one colour into another, panels or stripes on it, and a blurred thing far behind."""
    photo, palette = scene.circumstance, scene.palette
    scene.paint[:] = palette.wall
    far = 0.5 + 0.25 * photo.wall_turn * at.x + (0.25 - 0.25 * np.abs(photo.wall_turn)) * at.y
    lay(scene.paint, palette.far_wall, rise(far))
    across = wave(at.x / photo.panel_pitch + photo.wall) * above(photo.panels)
    down = wave(at.y / photo.panel_pitch + photo.far_wall) * above(-photo.panels)
    scene.light[:] = 1 + 0.4 * (rise(4 * across) * across + rise(4 * down) * down)
    thing = np.square(at.x - 2 * photo.blob_x) + np.square(at.y - 1.6 * photo.blob_y)
    lay(scene.paint, palette.blob, 0.8 * spot(thing))


def draw_body(scene: Scene, at: Grid) -> None:
    """Shoulders, neck and collar, upright whatever the head does; all in the lower half of the picture."""
    person, palette, look = scene.identity, scene.palette, scene.look
    shoulders = cover(radius(at.x / 2.2, (at.y - 3.0) / 1.5) - 1, 1.5 * at.pixels)
    lay(scene.paint, palette.cloth, shoulders)
    sides = np.abs(at.x) - person.neck_width - 0.5 * np.square(above(at.y - 1.1))
    neckline = radius(at.x / 0.75, (at.y - 1.3) / 0.62) - 1
    neck = cover(np.maximum(sides, neckline), at.pixels)
    lay(scene.paint, palette.skin, neck)
    shadow = neck * spot(np.square((at.y - 0.95) / 0.75))
    lay(scene.light, 0.82 + 0.22 * look.light_x * wave(0.12 * at.x) - 0.30 * shadow, np.maximum(shoulders, neck))
