"""Synthetic faces, drawn from numbers alone: the data every demo runs on, with no download and no real person.

Every face is a set of smooth analytic shapes, drawn for many faces at once. Pixels are made with exactly rounded
operations only (sums, products, quotients, roots), so a call gives the same bytes whatever the number of threads.
Part of efface, Apache-2.0; nobody's likeness is in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from string import ascii_uppercase
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self, get_type_hints

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from efface.datasets.card import Card
from efface.errors import InputError
from efface.faces import Album, Array

if TYPE_CHECKING:
    import pandas as pd

Field = Array
"""float32: a value per pixel (n, 1, h, w), a value per photo (n, 1, 1, 1) or a colour per photo (n, c, 1, 1)."""

CARD = Card(
    name="synthetic",
    title="Synthetic faces",
    licence="Apache-2.0, as part of efface; no real person",
    home="this package",
    layout="none: drawn in memory from a seed",
    about="People of fixed looks in groups whose means differ by a chosen distance; exact eye centres.",
)

CHUNK_PIXELS = 1 << 17
"""Pixels drawn at a time by one thread: few enough for a core's cache, enough that threads seldom meet."""
BUFFER = 512
"""numpy's buffer while drawing, in elements: smaller than a picture, so that values per photo are not copied out."""
NOISE_TAPE = 1 << 19
HEAD = 0.265
"""Half a head's width in smaller picture sides, at scale 1."""
LARGEST_HEAD = 1.15 * HEAD
CROWN = 1.22
"""Height of the skull above the head's centre, in half head widths."""
LUMINANCE = np.array([0.299, 0.587, 0.114])
MOLES = 3

SKIN = [(0.97, 0.85, 0.77), (0.92, 0.75, 0.63), (0.80, 0.60, 0.46), (0.59, 0.41, 0.30), (0.40, 0.27, 0.20)]
HAIR = [(0.07, 0.06, 0.06), (0.20, 0.13, 0.09), (0.38, 0.25, 0.16), (0.62, 0.46, 0.28), (0.82, 0.68, 0.45)]
IRIS = [(0.15, 0.09, 0.06), (0.31, 0.19, 0.10), (0.42, 0.37, 0.20), (0.34, 0.47, 0.41), (0.42, 0.57, 0.72)]
CLOTH = [(0.13, 0.15, 0.22), (0.45, 0.16, 0.18), (0.86, 0.85, 0.82), (0.22, 0.38, 0.36), (0.35, 0.45, 0.62)]
WALL = [(0.28, 0.31, 0.36), (0.62, 0.60, 0.55), (0.80, 0.82, 0.84), (0.45, 0.54, 0.50), (0.66, 0.56, 0.48)]


class Trait(NamedTuple):
    """A column uniform on mean ± spread; the mean of group A lies `shift` below, that of B `shift` above."""

    mean: float
    spread: float
    shift: float = 0.0


@dataclass(frozen=True)
class Columns:
    """Columns of one length, one value a row."""

    @classmethod
    def draw(cls, chances: Array, shifts: Array | float = 0.0) -> Self:
        """Columns from uniform `chances` (n, columns); `shifts` (n, columns) says how far each mean is moved."""
        hints = get_type_hints(cls, include_extras=True)
        traits: list[Trait] = [hints[f.name].__metadata__[0] for f in fields(cls)]
        mean, spread, shift = np.transpose(traits)
        return cls(*np.transpose(mean + spread * (2 * chances - 1) + shift * shifts))

    def rows(self, rows: Any) -> Self:
        """The same columns at `rows`."""
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))

    def per_face(self) -> Self:
        """The same columns as float32 values per face, (n, 1, 1, 1), or colours, (n, c, 1, 1)."""
        columns = (np.asarray(getattr(self, f.name), np.float32) for f in fields(self))
        return type(self)(*(column.reshape(len(column), -1, 1, 1) for column in columns))


@dataclass(frozen=True)
class Identity(Columns):
    """What a person keeps from photo to photo.

    Lengths are in half head widths, but an eye's opening and iris are in half eye widths; slopes are plain ratios;
    tones run from light to dark skin, from black to blond hair, from brown to blue eyes.
    """

    head_width: Annotated[Array, Trait(0.97, 0.06, 0.03)]
    head_length: Annotated[Array, Trait(1.26, 0.09, -0.04)]
    jaw_width: Annotated[Array, Trait(0.80, 0.08, 0.03)]
    jaw_squareness: Annotated[Array, Trait(0.30, 0.25, 0.08)]
    ear_size: Annotated[Array, Trait(0.25, 0.05)]
    neck_width: Annotated[Array, Trait(0.52, 0.07)]
    eye_spacing: Annotated[Array, Trait(0.42, 0.03, 0.03)]
    eye_height: Annotated[Array, Trait(-0.03, 0.05, 0.06)]
    eye_width: Annotated[Array, Trait(0.215, 0.02, -0.015)]
    eye_opening: Annotated[Array, Trait(0.42, 0.08, -0.10)]
    eye_tilt: Annotated[Array, Trait(0.06, 0.09, 0.05)]
    lash: Annotated[Array, Trait(0.65, 0.20, -0.12)]
    iris_size: Annotated[Array, Trait(0.44, 0.03)]
    brow_gap: Annotated[Array, Trait(0.27, 0.03, -0.04)]
    brow_thickness: Annotated[Array, Trait(0.045, 0.015, 0.010)]
    brow_slant: Annotated[Array, Trait(0.04, 0.12, -0.06)]
    brow_arch: Annotated[Array, Trait(0.25, 0.15)]
    brow_density: Annotated[Array, Trait(0.75, 0.15, 0.08)]
    nose_length: Annotated[Array, Trait(0.47, 0.04, -0.03)]
    nose_width: Annotated[Array, Trait(0.185, 0.03, 0.03)]
    mouth_drop: Annotated[Array, Trait(0.32, 0.03)]
    mouth_width: Annotated[Array, Trait(0.34, 0.04, 0.02)]
    lip_fullness: Annotated[Array, Trait(0.085, 0.025, 0.02)]
    skin_tone: Annotated[Array, Trait(0.42, 0.22, 0.18)]
    skin_warmth: Annotated[Array, Trait(0.0, 0.03)]
    hair_tone: Annotated[Array, Trait(0.50, 0.35, -0.15)]
    hair_red: Annotated[Array, Trait(0.0, 0.10)]
    iris_tone: Annotated[Array, Trait(0.50, 0.25, -0.22)]
    hair_length: Annotated[Array, Trait(0.50, 0.40, 0.10)]
    hair_volume: Annotated[Array, Trait(0.45, 0.35, 0.10)]
    hair_curl: Annotated[Array, Trait(0.40, 0.40, 0.20)]
    hair_part: Annotated[Array, Trait(0.0, 0.8)]
    hair_shine: Annotated[Array, Trait(0.5, 0.4, -0.1)]
    hairline: Annotated[Array, Trait(-0.78, 0.15, 0.05)]
    balding: Annotated[Array, Trait(0.0, 1.0)]
    beard: Annotated[Array, Trait(0.0, 1.0)]
    freckles: Annotated[Array, Trait(0.0, 1.0)]
    freckle_phase: Annotated[Array, Trait(0.5, 0.5)]
    age: Annotated[Array, Trait(45.0, 25.0)]
    greying: Annotated[Array, Trait(0.5, 0.5)]
    wears_glasses: Annotated[Array, Trait(0.3, 0.3)]
    frame_squareness: Annotated[Array, Trait(0.5, 0.5)]
    frame_weight: Annotated[Array, Trait(0.024, 0.010)]
    frame_tone: Annotated[Array, Trait(0.25, 0.2)]


@dataclass(frozen=True)
class Circumstance(Columns):
    """What changes from photo to photo. Shifts are in smaller picture sides, angles in radians."""

    shift_x: Annotated[Array, Trait(0.0, 0.08)]
    shift_y: Annotated[Array, Trait(0.0, 0.08)]
    scale: Annotated[Array, Trait(1.0, 0.15)]
    roll: Annotated[Array, Trait(0.0, 0.21)]
    yaw: Annotated[Array, Trait(0.0, 0.35)]
    pitch: Annotated[Array, Trait(0.0, 0.10)]
    smiling: Annotated[Array, Trait(0.0, 1.0)]
    glasses: Annotated[Array, Trait(0.5, 0.5)]
    light: Annotated[Array, Trait(0.0, 1.1)]
    light_height: Annotated[Array, Trait(0.45, 0.35)]
    light_strength: Annotated[Array, Trait(0.55, 0.25)]
    exposure: Annotated[Array, Trait(1.04, 0.18)]
    warmth: Annotated[Array, Trait(0.0, 0.05)]
    cloth: Annotated[Array, Trait(0.5, 0.5)]
    wall: Annotated[Array, Trait(0.5, 0.5)]
    far_wall: Annotated[Array, Trait(0.5, 0.5)]
    wall_turn: Annotated[Array, Trait(0.0, 1.0)]
    panels: Annotated[Array, Trait(0.0, 0.5)]
    panel_pitch: Annotated[Array, Trait(1.6, 0.9)]
    blob_x: Annotated[Array, Trait(0.0, 1.0)]
    blob_y: Annotated[Array, Trait(0.0, 1.0)]
    blob_tone: Annotated[Array, Trait(0.0, 1.0)]
    damage: Annotated[Array, Trait(0.5, 0.5)]
    noise_start: Annotated[Array, Trait(0.5, 0.5)]


@dataclass(frozen=True)
class Palette(Columns):
    """Colours of each photo, (n, 3) or (n, 1)."""

    skin: Array
    lips: Array
    hair: Array
    brow: Array
    iris: Array
    white: Array
    dark: Array
    frame: Array
    cloth: Array
    wall: Array
    far_wall: Array
    blob: Array


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
class Look(Columns):
    """What follows from person and circumstance together."""

    smile: Array
    glasses: Array
    lines: Array
    beard: Array
    bald: Array
    hair_thick: Array
    hair_fall: Array
    curtain: Array
    curl: Array
    light_x: Array
    light_y: Array
    light_z: Array
    quality: Array


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


@dataclass(frozen=True)
class Hair:
    """Hair before it is drawn: signed distance to its outline, and the light on it."""

    outline: Field
    light: Field


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


def cover(distance: Field, pixels: Field) -> Field:
    """Share of each pixel inside a shape, from the signed distance to its edge (negative inside)."""
    covered: Field = (0.5 - distance * pixels).clip(0, 1)
    return covered


def above(x: Field) -> Field:
    """What is positive of it."""
    positive: Field = x.clip(0, np.inf)
    return positive


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


def draw_wall(scene: Scene, g: Grid) -> None:
    """A wall shaded from one colour into another, panels or stripes on it, and a blurred thing far behind."""
    c, palette = scene.circumstance, scene.palette
    scene.paint[:] = palette.wall
    lay(scene.paint, palette.far_wall, rise(0.5 + 0.25 * c.wall_turn * g.x + (0.25 - 0.25 * np.abs(c.wall_turn)) * g.y))
    across = wave(g.x / c.panel_pitch + c.wall) * above(c.panels)
    down = wave(g.y / c.panel_pitch + c.far_wall) * above(-c.panels)
    scene.light[:] = 1 + 0.4 * (rise(4 * across) * across + rise(4 * down) * down)
    thing = np.square(g.x - 2 * c.blob_x) + np.square(g.y - 1.6 * c.blob_y)
    lay(scene.paint, palette.blob, 0.8 * spot(thing))


def draw_body(scene: Scene, g: Grid) -> None:
    """Shoulders, neck and collar, upright whatever the head does; all in the lower half of the picture."""
    person, palette, look = scene.identity, scene.palette, scene.look
    shoulders = cover(radius(g.x / 2.2, (g.y - 3.0) / 1.5) - 1, 1.5 * g.pixels)
    lay(scene.paint, palette.cloth, shoulders)
    sides = np.abs(g.x) - person.neck_width - 0.5 * np.square(above(g.y - 1.1))
    neckline = radius(g.x / 0.75, (g.y - 1.3) / 0.62) - 1
    neck = cover(np.maximum(sides, neckline), g.pixels)
    lay(scene.paint, palette.skin, neck)
    shadow = neck * spot(np.square((g.y - 0.95) / 0.75))
    lay(scene.light, 0.82 + 0.22 * look.light_x * wave(0.12 * g.x) - 0.30 * shadow, np.maximum(shoulders, neck))


def draw_head(scene: Scene, g: Grid) -> None:
    """Ears, and the head itself in its light with what lies softly on the skin."""
    person, palette, look = scene.identity, scene.palette, scene.look
    aside = np.abs(g.u)
    below = above(g.v) / person.head_length
    crown = above(-g.v) / CROWN
    ear_u = aside - person.head_width - 0.02 + 0.15 * np.sign(g.u) * scene.pose.yaw_sin
    ear = radius(ear_u / (0.55 * person.ear_size), (g.v - 0.06) / person.ear_size) - 1
    ears = cover(ear, 0.6 * person.ear_size * g.pixels)
    lay(scene.paint, palette.skin, ears)
    lay(scene.light, 0.78 + 0.15 * look.light_x * g.u - 0.25 * spot(2 * np.square(1 + ear)), ears)

    width = person.head_width * (1 - (1 - person.jaw_width) * rise(below))
    across = (g.u - 0.3 * scene.pose.yaw_sin * below) / width
    outline = square_radius(across, below - crown, person.jaw_squareness * (2 * below).clip(0, 1))
    head = scene.head
    head[:] = cover(outline - 1, g.pixels)
    lay(scene.paint, palette.skin, head)
    facing = np.sqrt((1 - 0.92 * np.square(outline)).clip(0.02, 1))
    shade = 0.48 + 0.9 * look.light_x * across + 0.7 * look.light_y * (below - crown) + look.light_z * facing
    wrinkles = wave(5.5 * g.s) * spot(np.square(g.t / 0.6) + np.square((g.s + 0.55) / 0.22))
    shade -= 0.10 * look.lines * wrinkles
    lay(scene.light, shade.clip(0.25, 2), head)
    flush = spot(np.square((np.abs(g.t) - 0.5) / 0.34) + np.square((g.s - 0.42) / 0.26))
    lay(scene.paint, palette.lips, 0.16 * flush * head)
    square = np.square(g.t)
    stubble = rise(5 * (g.s - 0.60 + 0.55 * np.square(square)))
    lay(scene.paint, palette.hair, look.beard * stubble * head)


def draw_hair_behind(scene: Scene, g: Grid, hair: Hair) -> None:
    """Hair behind the head, parted under the chin."""
    parted = np.minimum(g.v - 0.75, scene.identity.neck_width + 0.15 - np.abs(g.u))
    behind = cover(np.maximum(hair.outline, parted), g.pixels)
    lay(scene.paint, scene.palette.hair, behind)
    lay(scene.light, 0.66 * hair.light, behind)


def draw_hair_in_front(scene: Scene, g: Grid, hair: Hair) -> None:
    """Hair above the hairline, and its shadow on the skin."""
    person, look = scene.identity, scene.look
    square = np.square(g.t)
    hairline = person.hairline + 0.25 * np.square(g.t - 0.5 * person.hair_part)
    hairline += (0.50 + look.curtain) * np.square(square) - look.bald * (1 - square)
    hairline += 0.03 * wave(3.1 * g.t + person.freckle_phase) + 0.02 * wave(7.3 * g.t)
    bare = g.v - hairline
    lay(scene.light, 0.0, 0.35 * scene.head * spot(np.square(bare / 0.25)))
    front = cover(np.maximum(hair.outline, bare), g.pixels * (0.4 + 0.6 * person.hair_shine))
    lay(scene.paint, scene.palette.hair, front)
    lay(scene.light, hair.light, front)


def hair_around(scene: Scene, g: Grid) -> Hair:
    """The hair around the head, with strands, a band of gloss and its side away from the lamp."""
    person, look = scene.identity, scene.look
    bent = 0.35 * wave(1.3 * g.u - 1.1 * g.v + 2 * person.freckle_phase)
    curl = wave(2.1 * g.u + 0.9 * g.v + bent) + wave(2.7 * g.v - 1.3 * g.u - bent)
    width = person.head_width + look.hair_thick * 0.8
    across = g.u / width
    fall = above(g.v) / look.hair_fall
    crown = above(-g.v) / (CROWN + look.hair_thick)
    outline = square_radius(across, fall + crown, 0.5 * fall.clip(0, 1)) - 1 + look.curl * curl
    strands = wave(4.3 * g.t - 1.9 * g.v * g.t + 0.25 * curl) + wave(9.7 * g.t + 2.3 * g.v)
    gloss = spot(np.square((g.v + 0.96 - 0.3 * np.square(g.u)) / 0.25) + np.square(across - 1.2 * look.light_x))
    light = 0.86 + 0.035 * strands + 0.3 * person.hair_shine * gloss + 0.28 * look.light_x * across
    return Hair(outline, light - 0.25 * look.light_y * crown)


def draw_eyes(scene: Scene, g: Grid) -> None:
    """Sockets, brows and both eyes at once: the face is folded along its middle."""
    person, palette, look = scene.identity, scene.palette, scene.look
    unit = person.eye_width
    pixels = unit * g.pixels
    aside = np.abs(g.t) - person.eye_spacing
    flat_x, flat_y = aside / unit, (g.s - person.eye_height) / unit
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

    glint = radius(np.sign(g.t) * x - 0.14 * np.sign(look.light_x), y + 0.15)
    lay(scene.paint, 1.0, 0.9 * white * cover(glint - 0.08, pixels))
    scene.light[:] *= shade

    along = aside - 0.02
    rising = person.brow_slant * along + person.brow_arch * (3.3 * np.square(along) - 0.1)
    off = np.abs(g.s - person.eye_height + person.brow_gap - 0.02 * look.smile - rising)
    brow = np.maximum(off - person.brow_thickness * (1.15 - 1.6 * along), np.abs(along - 0.02) - 0.29)
    lay(scene.paint, palette.brow, person.brow_density * cover(brow, 0.7 * g.pixels))


def draw_glasses(scene: Scene, g: Grid) -> None:
    """Rims, bridge and arms, and a pale reflection."""
    person, palette, look = scene.identity, scene.palette, scene.look
    side = np.abs(g.t)
    x = (side - person.eye_spacing - 0.01) / 0.33
    y = (g.s - person.eye_height - 0.05) / 0.27
    rim = 0.29 * (square_radius(x, y, person.frame_squareness) - 1)
    bars = np.maximum(np.abs(y + 0.35) * 0.27 - person.frame_weight, -rim)
    frame = np.maximum(np.minimum(np.abs(rim) - person.frame_weight, bars), np.abs(g.u) - person.head_width)
    reflection = rise(1.5 * (np.sign(g.t) * x - y))
    lay(scene.light, 1.15, look.glasses * 0.18 * cover(rim, g.pixels) * reflection)
    lay(scene.paint, palette.frame, look.glasses * cover(frame, g.pixels))


def draw_nose_and_mouth(scene: Scene, g: Grid) -> None:
    """Nose and mouth and the folds between them, freckles and moles."""
    person, palette, look = scene.identity, scene.palette, scene.look
    tip = person.eye_height + person.nose_length
    mouth = tip + person.mouth_drop
    s = g.s - tip
    along = rise(1 + s / person.nose_length)
    t = g.t - 0.16 * along * scene.pose.yaw_sin
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
    fold = np.square((np.abs(g.t) - person.nose_width - 0.06 - 0.45 * s) / 0.05)
    reach = np.square((s - 0.5 * person.mouth_drop) / 0.24)
    shade -= (0.05 + 0.14 * look.smile + 0.16 * look.lines) * spot(fold + reach)

    x = (g.t - 0.08 * scene.pose.yaw_sin) / (person.mouth_width * (1 + 0.2 * look.smile))
    square = np.square(x)
    y = g.s - mouth + (0.02 + 0.12 * look.smile) * (square - 0.4)
    arch = 1 - square
    full = person.lip_fullness
    gap = 0.16 * above(look.smile - 0.5)
    lip_top = 0.85 * full * arch * (1 - 0.35 * spot(square / 0.06))
    lips = cover(np.maximum(-y - lip_top, y - (1.15 * full + gap) * arch), g.pixels)
    lay(scene.paint, palette.lips, 0.9 * lips)
    shine = spot(np.square((y - gap - 0.5 * full) / (0.5 * full)) + square / 0.4)
    shade += lips * (0.14 * shine - 0.12 * (-y / full).clip(0, 1))
    teeth = (40 * gap).clip(0, 1) * cover(np.maximum(-y, y - gap * arch), g.pixels)
    lay(scene.paint, palette.white, 0.9 * teeth)
    parting = cover(np.maximum(np.abs(y) - 0.014, np.abs(x) - 1.05), g.pixels)
    shade -= (0.55 - 0.3 * teeth) * parting
    shade -= 0.2 * spot(np.square(x / 0.8) + np.square((y - 1.15 * full - gap - 0.07) / 0.07))

    bent = 0.4 * wave(1.7 * g.t + 2.3 * g.s + 3 * person.freckle_phase)
    dots = wave(4.9 * g.t + 3.1 * g.s + bent) * wave(5.3 * g.s - 4.4 * g.t + 2 * bent + person.freckle_phase)
    cheeks = spot(np.square(g.t / 0.75) + np.square((s + 0.15) / 0.28))
    shade -= 0.4 * above(person.freckles - 0.2) * cheeks * rise(3 * (dots - 0.4))
    for mole in np.moveaxis(scene.moles, 1, 0)[..., None, None, None]:
        mole_t, mole_s, size = np.moveaxis(mole, 1, 0)
        shade -= 0.55 * cover(radius(g.t - mole_t, g.s - mole_s) - size, g.pixels)
    scene.light[:] *= shade.clip(0.1, 2)


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


def drawn(scene: Scene) -> Field:
    """The whole scene, from the wall to the glasses, before any camera."""
    height, width = scene.paint.shape[2:]
    column = np.arange(width, dtype=np.float32).reshape(1, 1, 1, -1)
    row = np.arange(height, dtype=np.float32).reshape(1, 1, -1, 1)
    g = grid(scene.pose, column, row)
    draw_wall(scene, g)
    lower = (slice(None), slice(None), slice(height // 2, None))
    draw_body(replace(scene, paint=scene.paint[lower], light=scene.light[lower]), replace(g, y=g.y[lower]))
    hair = hair_around(scene, g)
    draw_hair_behind(scene, g, hair)
    draw_head(scene, g)
    draw_in_window(scene, draw_nose_and_mouth, 0.62, (1.7, 1.5))
    draw_in_window(scene, draw_eyes, -0.10, (1.9, 1.3))
    draw_hair_in_front(scene, g, hair)
    draw_in_window(scene, draw_glasses, 0.0, (2.2, 1.1))
    return scene.paint * scene.light * scene.circumstance.exposure


def pose_of(c: Circumstance, size: tuple[int, int]) -> Pose:
    """Where the heads are in pictures of `size` (width, height)."""
    width, height = size
    side = min(size)
    return Pose(
        x=(width - 1) / 2 + side * c.shift_x,
        y=(height - 1) / 2 + side * (c.shift_y - 0.02),
        scale=HEAD * side * c.scale,
        roll_sin=np.sin(c.roll),
        roll_cos=np.cos(c.roll),
        yaw_sin=np.sin(c.yaw),
        yaw_cos=np.cos(c.yaw),
        pitch=c.pitch,
    )


def look_of(person: Identity, c: Circumstance, quality: float) -> Look:
    """What the photo shows of age, mood, light and camera."""
    years = np.clip((person.age - 35) / 35, 0, 1)
    long = np.clip(2.5 * person.hair_length - 1, 0, 1)
    strength = c.light_strength
    return Look(
        smile=np.where(c.smiling > 0, 0.4 + 0.6 * c.smiling, 0.0),
        glasses=np.where(c.glasses < person.wears_glasses, 1.0, 0.0),
        lines=years,
        beard=np.where(long > 0.4, 0.0, 0.75 * np.clip(3 * person.beard - 1.2, 0, 1)),
        bald=(1 - long) * np.clip(person.balding + years - 0.6, 0, 0.6),
        hair_thick=0.03 + 0.2 * person.hair_volume * (0.4 + 0.6 * long),
        hair_fall=0.5 + 1.4 * long,
        curtain=1.2 * long,
        curl=0.04 * np.clip(2 * person.hair_curl - 0.5, 0, 1),
        light_x=strength * np.sin(c.light),
        light_y=-strength * c.light_height * 0.6,
        light_z=strength * np.cos(c.light) * 0.5 + 0.25,
        quality=quality * (1 - 0.75 * c.damage**3),
    )


def ramp(tone: Array, stops: Sequence[tuple[float, float, float]]) -> Array:
    """Colours (n, 3) at `tone` in [0, 1] along evenly spaced stops."""
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(tone, at, channel) for channel in np.transpose(stops)], axis=-1)


def palette_of(person: Identity, c: Circumstance, look: Look, colour: bool) -> Palette:
    """The colours of each photo in its light, RGB or their luminance."""

    def mixed(one: Array, other: Array, share: Array | float) -> Array:
        mixture: Array = one + np.reshape(share, (-1, 1)) * (other - one)
        return mixture

    red = np.array([1.0, 0.1, -0.6])
    skin = ramp(person.skin_tone, SKIN) + person.skin_warmth[:, None] * red
    hair = ramp(person.hair_tone * (1 - 0.6 * person.skin_tone), HAIR)
    hair = mixed(
        hair * (1 + person.hair_red[:, None] * red),
        np.array([0.70, 0.69, 0.68]),
        np.clip(1.8 * look.lines * person.greying, 0, 1),
    )
    full = np.ones((len(skin), 1))
    palette = Palette(
        skin=skin,
        lips=mixed(skin * np.array([0.92, 0.68, 0.66]), np.array([0.70, 0.30, 0.30]), 0.3),
        hair=hair,
        brow=hair * 0.62,
        iris=ramp(person.iris_tone * (1 - 0.5 * person.skin_tone), IRIS),
        white=np.array([0.95, 0.93, 0.91]) * full,
        dark=np.array([0.06, 0.05, 0.05]) * full,
        frame=ramp(person.frame_tone, HAIR),
        cloth=ramp(c.cloth, CLOTH),
        wall=ramp(c.wall, WALL),
        far_wall=ramp(c.far_wall, WALL) * 0.8,
        blob=ramp(c.blob_tone * 0.5 + 0.5, CLOTH),
    )
    tint = 1 + c.warmth[:, None] * np.array([1.0, 0.0, -1.0])
    tinted = (getattr(palette, f.name) * tint for f in fields(palette))
    return Palette(*(one if colour else (one * LUMINANCE).sum(-1) for one in tinted))


def group_shifts(groups: Sequence[str], distance: float) -> Array:
    """How many shifts each group's means lie from the middle, (groups, traits).

    A and B are opposites in every trait, C and D in another pattern of signs, and so on to Z: a group's place depends
    on its letter alone. Beyond a distance of 2 the groups move no further apart, so that faces stay faces.
    """
    traits = len(fields(Identity))
    pairs, seconds = np.divmod([ascii_uppercase.index(group) for group in groups], 2)
    patterns = [np.random.default_rng(pair).choice([-1.0, 1.0], traits) if pair else np.ones(traits) for pair in pairs]
    shifts: Array = min(distance, 2.0) * (2 * seconds[:, None] - 1) * np.stack(patterns)
    return shifts


def dealt(people: int, shares: Array) -> NDArray[np.intp]:
    """The group of each person in turn, so that the first n keep to the shares for every n (Sainte-Laguë)."""
    turns = (np.arange(people)[:, None] + 0.5) / shares
    return np.argsort(turns, axis=None, kind="stable")[:people] % len(shares)


@dataclass(frozen=True)
class Cast:
    """The people: index of the group (people,), looks, and moles (people, MOLES, 3) as place (t, s) and size."""

    group: NDArray[np.intp]
    identity: Identity
    moles: Field


def cast(people: int, groups: Sequence[str], shares: Array, distance: float, generator: np.random.Generator) -> Cast:
    """People drawn row by row, so that the first ones are the same however many follow."""
    of_looks, of_moles = generator.spawn(2)
    group = dealt(people, shares)
    chances = of_looks.random((people, len(fields(Identity))))
    # A third of the sizes are negative: no mole.
    moles = of_moles.random((people, MOLES, 3)) * [1.3, 0.9, 0.045] - [0.65, -0.15, 0.015]
    identity = Identity.draw(chances, group_shifts(groups, distance)[group])
    return Cast(group, identity, moles.astype(np.float32))


@dataclass(frozen=True)
class Sittings:
    """All that the photos are made of, one row a photo."""

    identity: Identity
    moles: Field
    circumstance: Circumstance
    look: Look
    pose: Pose


def rendered(
    sittings: Sittings, size: tuple[int, int], colour: bool, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """The photos, (n, 1 or 3, height, width), drawn in chunks on all cores; their noise is cut from one long tape."""
    person, circumstance, look = sittings.identity, sittings.circumstance, sittings.look
    width, height = size
    shape = (3 if colour else 1, height, width)
    images = np.empty((len(sittings.moles), *shape), np.uint8)
    stretch = images[0].size
    tape = generator.standard_normal(NOISE_TAPE + stretch, np.float32)
    start = (circumstance.noise_start * NOISE_TAPE).astype(np.intp)
    noise = sliding_window_view(tape, stretch)
    step = max(1, CHUNK_PIXELS // (width * height))
    palette = palette_of(person, circumstance, look, colour)

    def draw(first: int) -> None:
        rows = slice(first, first + step)
        images_here = images[rows]
        plane = (len(images_here), 1, height, width)
        scene = Scene(
            paint=np.empty(images_here.shape, np.float32),
            light=np.empty(plane, np.float32),
            head=np.empty(plane, np.float32),
            identity=person.rows(rows).per_face(),
            circumstance=circumstance.rows(rows).per_face(),
            palette=palette.rows(rows).per_face(),
            pose=sittings.pose.rows(rows).per_face(),
            look=look.rows(rows).per_face(),
            moles=sittings.moles[rows],
        )
        images_here[:] = photographed(drawn(scene), scene.look.quality, noise[start[rows]].reshape(images_here.shape))

    with ThreadPoolExecutor(os.cpu_count(), initializer=np.setbufsize, initargs=(BUFFER,)) as threads:
        list(threads.map(draw, range(0, len(images), step)))
    return images


def labelled(sittings: Sittings, group: Array, photos_per_person: int) -> pd.DataFrame:
    """What is known of each photo, one row each."""
    import pandas as pd

    person, circumstance, look, pose = sittings.identity, sittings.circumstance, sittings.look, sittings.pose
    number, photo = np.divmod(np.arange(len(group)), photos_per_person)
    name = np.char.mod("p%05d", number)
    left_x, left_y = in_picture(pose, person.eye_spacing, person.eye_height)
    right_x, right_y = in_picture(pose, -person.eye_spacing, person.eye_height)
    return pd.DataFrame(
        {
            "key": np.char.add(name, np.char.mod("-%02d", photo)),
            "person": name,
            "group": group,
            "left_x": left_x,
            "left_y": left_y,
            "right_x": right_x,
            "right_y": right_y,
            "age": [f"{decade}0-{decade}9" for decade in (person.age // 10).astype(int)],
            "smile": (look.smile > 0).astype(int),
            "glasses": look.glasses.astype(int),
            "yaw": np.degrees(circumstance.yaw),
            "roll": np.degrees(circumstance.roll),
            "light": np.degrees(circumstance.light),
            "light_strength": circumstance.light_strength,
            "quality": look.quality,
        }
    )


def checked_shares(people: int, groups: Sequence[str], shares: Sequence[float] | None) -> Array:
    """The share of each group, equal unless given; refuses groups and shares that cannot be dealt."""
    unknown = [group for group in groups if len(group) != 1 or group not in ascii_uppercase]
    if unknown:
        raise InputError(f"group '{unknown[0]}' is unknown: groups are single letters from A to Z")
    if not groups or len(set(groups)) < len(groups):
        raise InputError(f"groups are {list(groups)}: give at least one, each once")
    shares = [1.0] * len(groups) if shares is None else shares
    if len(shares) != len(groups):
        raise InputError(f"{len(shares)} shares for {len(groups)} groups: give one share a group")
    if not all(0 < share < np.inf for share in shares):
        raise InputError(f"shares are {list(shares)}: give positive numbers")
    if people < len(groups):
        raise InputError(f"{people} people for {len(groups)} groups: give at least one person a group")
    return np.asarray(shares, np.float64)


def synthetic(
    *,
    people: int = 600,
    photos_per_person: int = 4,
    size: tuple[int, int] = (64, 64),
    colour: bool = False,
    groups: Sequence[str] = ("A", "B"),
    shares: Sequence[float] | None = None,
    distance: float = 1.0,
    quality: float = 1.0,
    seed: int = 0,
) -> Album:
    """Photos of invented people, `photos_per_person` of each, in pictures of `size` (width, height) pixels.

    groups: letters from A to Z; each is a way of looking, and `shares` says how many of the people have it.
    distance: between the means of the groups; at 0 they are exchangeable, at 1 eyes learnt on A are hard to find on B.
    quality: 0 to 1, the best a photo can be; each falls below it by chance, seldom far.

    The table has, beside key, person, group and the exact eye centres: age (in decades), smile and glasses (0 or 1),
    yaw and roll (degrees, positive towards image right and clockwise), light (degrees, positive when it comes from
    image right), light_strength and quality (0 to 1). The same arguments give the same bytes, and the first people
    are the same however many follow. Raises InputError for arguments that cannot be drawn.
    """
    dealing = checked_shares(people, groups, shares)
    if photos_per_person < 1:
        raise InputError(f"photos_per_person is {photos_per_person}: give 1 or more")
    if min(size) < 16:
        raise InputError(f"size is {size[0]}x{size[1]}: give 16 pixels or more a side")
    if not 0 <= distance < np.inf:
        raise InputError(f"distance is {distance}: give 0 (groups alike) or more")
    if not 0 <= quality <= 1:
        raise InputError(f"quality is {quality}: give a number from 0 to 1")
    if seed < 0:
        raise InputError(f"seed is {seed}: give 0 or more")

    of_people, of_photos, of_noise = np.random.default_rng(seed).spawn(3)
    actors = cast(people, groups, dealing, distance, of_people)
    owner = np.repeat(np.arange(people), photos_per_person)
    person = actors.identity.rows(owner)
    circumstance = Circumstance.draw(of_photos.random((len(owner), len(fields(Circumstance)))))
    look = look_of(person, circumstance, quality)
    sittings = Sittings(person, actors.moles[owner], circumstance, look, pose_of(circumstance, size))
    images = rendered(sittings, size, colour, of_noise)
    return Album(images, labelled(sittings, np.asarray(groups)[actors.group[owner]], photos_per_person))
