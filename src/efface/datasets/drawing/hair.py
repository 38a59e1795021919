"""The layers of hair: one behind the head, one in front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from efface.datasets.drawing.pose import CROWN, Grid
from efface.datasets.drawing.scene import Scene
from efface.datasets.drawing.shapes import Field, above, cover, lay, spot, square_radius, wave


@dataclass(frozen=True)
class Hair:
    """Hair before it is drawn: signed distance to its outline, and the light on it."""

    outline: Field
    light: Field


def hair_around(scene: Scene, at: Grid) -> Hair:
    """The hair around the head, with strands, a band of gloss and its side away from the lamp."""
    person, look = scene.identity, scene.look
    bent = 0.35 * wave(1.3 * at.u - 1.1 * at.v + 2 * person.freckle_phase)
    curl = wave(2.1 * at.u + 0.9 * at.v + bent) + wave(2.7 * at.v - 1.3 * at.u - bent)
    width = person.head_width + look.hair_thick * 0.8
    across = at.u / width
    fall = above(at.v) / look.hair_fall
    crown = above(-at.v) / (CROWN + look.hair_thick)
    outline = square_radius(across, fall + crown, 0.5 * fall.clip(0, 1)) - 1 + look.curl * curl
    strands = wave(4.3 * at.t - 1.9 * at.v * at.t + 0.25 * curl) + wave(9.7 * at.t + 2.3 * at.v)
    gloss = spot(np.square((at.v + 0.96 - 0.3 * np.square(at.u)) / 0.25) + np.square(across - 1.2 * look.light_x))
    light = 0.86 + 0.035 * strands + 0.3 * person.hair_shine * gloss + 0.28 * look.light_x * across
    return Hair(outline, light - 0.25 * look.light_y * crown)


def draw_hair_behind(scene: Scene, at: Grid, hair: Hair) -> None:
    """Hair behind the head, parted under the chin."""
    parted = np.minimum(at.v - 0.75, scene.identity.neck_width + 0.15 - np.abs(at.u))
    behind = cover(np.maximum(hair.outline, parted), at.pixels)
    lay(scene.paint, scene.palette.hair, behind)
    lay(scene.light, 0.66 * hair.light, behind)


def draw_hair_in_front(scene: Scene, at: Grid, hair: Hair) -> None:
    """Hair above the hairline, and its shadow on the skin."""
    person, look = scene.identity, scene.look
    square = np.square(at.t)
    hairline = person.hairline + 0.25 * np.square(at.t - 0.5 * person.hair_part)
    hairline += (0.50 + look.curtain) * np.square(square) - look.bald * (1 - square)
    hairline += 0.03 * wave(3.1 * at.t + person.freckle_phase) + 0.02 * wave(7.3 * at.t)
    bare = at.v - hairline
    lay(scene.light, 0.0, 0.35 * scene.head * spot(np.square(bare / 0.25)))
    front = cover(np.maximum(hair.outline, bare), at.pixels * (0.4 + 0.6 * person.hair_shine))
    lay(scene.paint, scene.palette.hair, front)
    lay(scene.light, hair.light, front)
