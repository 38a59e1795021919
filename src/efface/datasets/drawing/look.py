"""What a photo shows of its person: age, mood and light, and every colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from efface.data.faces import Array
from efface.datasets.drawing.columns import Columns
from efface.datasets.drawing.traits import Circumstance, Identity

SKIN = [(0.97, 0.85, 0.77), (0.92, 0.75, 0.63), (0.80, 0.60, 0.46), (0.59, 0.41, 0.30), (0.40, 0.27, 0.20)]
HAIR = [(0.07, 0.06, 0.06), (0.20, 0.13, 0.09), (0.38, 0.25, 0.16), (0.62, 0.46, 0.28), (0.82, 0.68, 0.45)]
IRIS = [(0.15, 0.09, 0.06), (0.31, 0.19, 0.10), (0.42, 0.37, 0.20), (0.34, 0.47, 0.41), (0.42, 0.57, 0.72)]
CLOTH = [(0.13, 0.15, 0.22), (0.45, 0.16, 0.18), (0.86, 0.85, 0.82), (0.22, 0.38, 0.36), (0.35, 0.45, 0.62)]
WALL = [(0.28, 0.31, 0.36), (0.62, 0.60, 0.55), (0.80, 0.82, 0.84), (0.45, 0.54, 0.50), (0.66, 0.56, 0.48)]
LUMINANCE = np.array([0.299, 0.587, 0.114])


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


def look_of(person: Identity, photo: Circumstance, quality: float) -> Look:
    """What the photo shows of age, mood, light and camera."""
    years = np.clip((person.age - 35) / 35, 0, 1)
    long = np.clip(2.5 * person.hair_length - 1, 0, 1)
    strength = photo.light_strength
    return Look(
        smile=np.where(photo.smiling > 0, 0.4 + 0.6 * photo.smiling, 0.0),
        glasses=np.where(photo.glasses < person.wears_glasses, 1.0, 0.0),
        lines=years,
        beard=np.where(long > 0.4, 0.0, 0.75 * np.clip(3 * person.beard - 1.2, 0, 1)),
        bald=(1 - long) * np.clip(person.balding + years - 0.6, 0, 0.6),
        hair_thick=0.03 + 0.2 * person.hair_volume * (0.4 + 0.6 * long),
        hair_fall=0.5 + 1.4 * long,
        curtain=1.2 * long,
        curl=0.04 * np.clip(2 * person.hair_curl - 0.5, 0, 1),
        light_x=strength * np.sin(photo.light),
        light_y=-strength * photo.light_height * 0.6,
        light_z=strength * np.cos(photo.light) * 0.5 + 0.25,
        quality=quality * (1 - 0.75 * photo.damage**3),
    )


def palette_of(person: Identity, photo: Circumstance, look: Look, colour: bool) -> Palette:
    """The colours of each photo in its light, RGB or their luminance."""
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
        cloth=ramp(photo.cloth, CLOTH),
        wall=ramp(photo.wall, WALL),
        far_wall=ramp(photo.far_wall, WALL) * 0.8,
        blob=ramp(photo.blob_tone * 0.5 + 0.5, CLOTH),
    )
    tint = 1 + photo.warmth[:, None] * np.array([1.0, 0.0, -1.0])
    tinted = (getattr(palette, f.name) * tint for f in fields(palette))
    return Palette(*(one if colour else (one * LUMINANCE).sum(-1) for one in tinted))


def mixed(one: Array, other: Array, share: Array | float) -> Array:
    """Colours (n, 3) between one and the other, of which there is a share (n,)."""
    mixture: Array = one + np.reshape(share, (-1, 1)) * (other - one)
    return mixture


def ramp(tone: Array, stops: Sequence[tuple[float, float, float]]) -> Array:
    """Colours (n, 3) at `tone` in [0, 1] along evenly spaced stops."""
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(tone, at, channel) for channel in np.transpose(stops)], axis=-1)
