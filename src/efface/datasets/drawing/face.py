"""The layers of a face: head, nose and mouth, eyes, glasses."""

from __future__ import annotations

import numpy as np

from efface.datasets.drawing.pose import CROWN, Grid
from efface.datasets.drawing.scene import Scene
from efface.datasets.drawing.shapes import above, cover, lay, radius, rise, spot, square_radius, wave


def draw_head(scene: Scene, at: Grid) -> None:
    """Ears, and the head itself in its light with what lies softly on the skin."""
    person, palette, look = scene.identity, scene.palette, scene.look
    aside = np.abs(at.u)
    below = above(at.v) / person.head_length
    crown = above(-at.v) / CROWN
    ear_u = aside - person.head_width - 0.02 + 0.15 * np.sign(at.u) * scene.pose.yaw_sin
    ear = radius(ear_u / (0.55 * person.ear_size), (at.v - 0.06) / person.ear_size) - 1
    ears = cover(ear, 0.6 * person.ear_size * at.pixels)
    lay(scene.paint, palette.skin, ears)
    lay(scene.light, 0.78 + 0.15 * look.light_x * at.u - 0.25 * spot(2 * np.square(1 + ear)), ears)

    width = person.head_width * (1 - (1 - person.jaw_width) * rise(below))
    across = (at.u - 0.3 * scene.pose.yaw_sin * below) / width
    outline = square_radius(across, below - crown, person.jaw_squareness * (2 * below).clip(0, 1))
    head = scene.head
    head[:] = cover(outline - 1, at.pixels)
    lay(scene.paint, palette.skin, head)
    facing = np.sqrt((1 - 0.92 * np.square(outline)).clip(0.02, 1))
    shade = 0.48 + 0.9 * look.light_x * across + 0.7 * look.light_y * (below - crown) + look.light_z * facing
    wrinkles = wave(5.5 * at.s) * spot(np.square(at.t / 0.6) + np.square((at.s + 0.55) / 0.22))
    shade -= 0.10 * look.lines * wrinkles
    lay(scene.light, shade.clip(0.25, 2), head)
    flush = spot(np.square((np.abs(at.t) - 0.5) / 0.34) + np.square((at.s - 0.42) / 0.26))
    lay(scene.paint, palette.lips, 0.16 * flush * head)
    square = np.square(at.t)
    stubble = rise(5 * (at.s - 0.60 + 0.55 * np.square(square)))
    lay(scene.paint, palette.hair, look.beard * stubble * head)


def draw_nose_and_mouth(scene: Scene, at: Grid) -> None:
    """Nose and mouth and the folds between them, freckles and moles."""
    person, palette, look = scene.identity, scene.palette, scene.look
    tip = person.eye_height + person.nose_length
    mouth = tip + person.mouth_drop
    s = at.s - tip
    along = rise(1 + s / person.nose_length)
    t = at.t - 0.16 * along * scene.pose.yaw_sin
    aside = np.abs(t)

    ridge = t / (0.10 + 0.85 * person.nose_width * np.square(along))
    length = spot(np.square(above(s + 0.02) / 0.12) + np.square(above(-s - person.nose_length) / 0.25))
    slope = ridge * np.square(above(1.4 - np.abs(ridge)))
    shade = 1 + length * (0.9 * look.light_x * slope - 0.04)
    shade += 0.16 * spot(np.square((t + 0.02) / 0.09) + np.square((s + 0.06) / 0.12))
    shade -= 0.30 * spot(np.square(t / (1.25 * person.nose_width)) + np.square((s - 0.07) / 0.09))
    shade -= 0.22 * spot(np.square((aside - person.nose_width) / 0.035) + np.square((s + 0.01) / 0.085))
    nostril = np.square((aside / person.nose_width - 0.48) / 0.38) + np.square((s - 0.035) / 0.04)
    shade -= 0.40 * spot(nostril)
    fold = np.square((np.abs(at.t) - person.nose_width - 0.06 - 0.45 * s) / 0.05)
    reach = np.square((s - 0.5 * person.mouth_drop) / 0.24)
    shade -= (0.05 + 0.14 * look.smile + 0.16 * look.lines) * spot(fold + reach)

    x = (at.t - 0.08 * scene.pose.yaw_sin) / (person.mouth_width * (1 + 0.2 * look.smile))
    square = np.square(x)
    y = at.s - mouth + (0.02 + 0.12 * look.smile) * (square - 0.4)
    arch = 1 - square
    full = person.lip_fullness
    gap = 0.16 * above(look.smile - 0.5)
    lip_top = 0.85 * full * arch * (1 - 0.35 * spot(square / 0.06))
    lips = cover(np.maximum(-y - lip_top, y - (1.15 * full + gap) * arch), at.pixels)
    lay(scene.paint, palette.lips, 0.9 * lips)
    shine = spot(np.square((y - gap - 0.5 * full) / (0.5 * full)) + square / 0.4)
    shade += lips * (0.14 * shine - 0.12 * (-y / full).clip(0, 1))
    teeth = (40 * gap).clip(0, 1) * cover(np.maximum(-y, y - gap * arch), at.pixels)
    lay(scene.paint, palette.white, 0.9 * teeth)
    parting = cover(np.maximum(np.abs(y) - 0.014, np.abs(x) - 1.05), at.pixels)
    shade -= (0.55 - 0.3 * teeth) * parting
    shade -= 0.2 * spot(np.square(x / 0.8) + np.square((y - 1.15 * full - gap - 0.07) / 0.07))

    bent = 0.4 * wave(1.7 * at.t + 2.3 * at.s + 3 * person.freckle_phase)
    dots = wave(4.9 * at.t + 3.1 * at.s + bent) * wave(5.3 * at.s - 4.4 * at.t + 2 * bent + person.freckle_phase)
    cheeks = spot(np.square(at.t / 0.75) + np.square((s + 0.15) / 0.28))
    shade -= 0.4 * above(person.freckles - 0.2) * cheeks * rise(3 * (dots - 0.4))
    for mole in np.moveaxis(scene.moles, 1, 0)[..., None, None, None]:
        mole_t, mole_s, size = np.moveaxis(mole, 1, 0)
        shade -= 0.55 * cover(radius(at.t - mole_t, at.s - mole_s) - size, at.pixels)
    scene.light[:] *= shade.clip(0.1, 2)


def draw_eyes(scene: Scene, at: Grid) -> None:
    """Sockets, brows and both eyes at once: the face is folded along its middle."""
    person, palette, look = scene.identity, scene.palette, scene.look
    unit = person.eye_width
    pixels = unit * at.pixels
    aside = np.abs(at.t) - person.eye_spacing
    flat_x, flat_y = aside / unit, (at.s - person.eye_height) / unit
    x, y = flat_x - person.eye_tilt * flat_y, flat_y + person.eye_tilt * flat_x
    opening = person.eye_opening * (1 - 0.18 * look.smile)
    arch = 1 - x * x
    upper, lower = y + opening * arch, y - 0.62 * opening * arch

    socket = spot(np.square(flat_x / 1.9) + np.square((flat_y + 0.25) / 1.3))
    bag = spot(np.square(flat_x / 1.1) + np.square((flat_y - opening - 0.5) / 0.4))
    fold = spot(np.square((y + opening * (1.35 - x * x) + 0.12) / 0.16)) * spot(x * x / 1.3)
    shade = 1 - 0.22 * socket - (0.06 + 0.16 * look.lines) * bag - 0.22 * fold

    white = cover(np.maximum(-upper, lower), pixels)
    lay(scene.paint, palette.white, white)
    from_pupil = radius(x, y) / person.iris_size
    ring = person.iris_size * pixels
    iris = palette.iris * (1.15 - 0.5 * np.square(from_pupil.clip(0, 1)))
    lay(scene.paint, iris, white * cover(from_pupil - 1, ring))
    lay(scene.paint, palette.dark, white * cover(from_pupil - 0.45, ring))
    lay(shade, 1 - 0.3 * spot(np.square(upper / 0.35)), 0.8 * white)

    ends = np.abs(x) - 1.1
    lashes = cover(np.maximum(np.abs(upper) - 0.10 - 0.05 * x, ends), pixels)
    lay(scene.paint, palette.dark, person.lash * lashes)
    shade -= 0.2 * cover(np.maximum(np.abs(lower - 0.04) - 0.06, ends), pixels)

    glint = radius(np.sign(at.t) * x - 0.14 * np.sign(look.light_x), y + 0.15)
    lay(scene.paint, 1.0, 0.9 * white * cover(glint - 0.08, pixels))
    scene.light[:] *= shade

    along = aside - 0.02
    rising = person.brow_slant * along + person.brow_arch * (3.3 * np.square(along) - 0.1)
    off = np.abs(at.s - person.eye_height + person.brow_gap - 0.02 * look.smile - rising)
    brow = np.maximum(off - person.brow_thickness * (1.15 - 1.6 * along), np.abs(along - 0.02) - 0.29)
    lay(scene.paint, palette.brow, person.brow_density * cover(brow, 0.7 * at.pixels))


def draw_glasses(scene: Scene, at: Grid) -> None:
    """Rims, bridge and arms, and a pale reflection."""
    person, palette, look = scene.identity, scene.palette, scene.look
    side = np.abs(at.t)
    x = (side - person.eye_spacing - 0.01) / 0.33
    y = (at.s - person.eye_height - 0.05) / 0.27
    rim = 0.29 * (square_radius(x, y, person.frame_squareness) - 1)
    bars = np.maximum(np.abs(y + 0.35) * 0.27 - person.frame_weight, -rim)
    frame = np.maximum(np.minimum(np.abs(rim) - person.frame_weight, bars), np.abs(at.u) - person.head_width)
    reflection = rise(1.5 * (np.sign(at.t) * x - y))
    lay(scene.light, 1.15, look.glasses * 0.18 * cover(rim, at.pixels) * reflection)
    lay(scene.paint, palette.frame, look.glasses * cover(frame, at.pixels))
