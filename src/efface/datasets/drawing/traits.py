"""What is drawn by chance: the looks a person keeps, and the circumstances of each photo."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, NamedTuple, Self, get_type_hints

import numpy as np

from efface.data.faces import Array
from efface.datasets.drawing.columns import Columns


class Trait(NamedTuple):
    """A column uniform on mean ± spread; the mean of group A lies `shift` below, that of B `shift` above."""

    mean: float
    spread: float
    shift: float = 0.0


@dataclass(frozen=True)
class Traits(Columns):
    """Columns drawn by chance, each as the `Trait` beside it says."""

    @classmethod
    def draw(cls, count: int, generator: np.random.Generator, shifts: Array | float = 0.0) -> Self:
        """`count` rows, drawn row by row; `shifts` (count, columns) says how many shifts each mean is moved."""
        hints = get_type_hints(cls, include_extras=True)
        traits: list[Trait] = [hints[f.name].__metadata__[0] for f in fields(cls)]
        mean, spread, shift = np.transpose(traits)
        chances = generator.random((count, len(traits)))
        return cls(*np.transpose(mean + spread * (2 * chances - 1) + shift * shifts))


@dataclass(frozen=True)
class Identity(Traits):
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
class Circumstance(Traits):
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
