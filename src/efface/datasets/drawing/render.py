"""Photos from all that is known of them: scenes drawn chunk by chunk on all cores, then photographed."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from efface.datasets.drawing.camera import photographed
from efface.datasets.drawing.face import draw_eyes, draw_glasses, draw_head, draw_nose_and_mouth
from efface.datasets.drawing.hair import draw_hair_behind, draw_hair_in_front, hair_around
from efface.datasets.drawing.look import Look, palette_of
from efface.datasets.drawing.pose import Pose, grid
from efface.datasets.drawing.scene import Scene, draw_in_window
from efface.datasets.drawing.shapes import Field
from efface.datasets.drawing.surroundings import draw_body, draw_wall
from efface.datasets.drawing.traits import Circumstance, Identity

CHUNK_PIXELS = 1 << 17
"""Pixels drawn at a time by one thread: few enough for a core's cache, enough that threads seldom meet."""
BUFFER = 512
"""numpy's buffer while drawing, in elements: smaller than a picture, so that values per photo are not copied out."""
NOISE_TAPE = 1 << 19
"""Places on the tape of noise where a photo's stretch may start."""


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


def drawn(scene: Scene) -> Field:
    """The whole scene, from the wall to the glasses, before any camera."""
    height, width = scene.paint.shape[2:]
    column = np.arange(width, dtype=np.float32).reshape(1, 1, 1, -1)
    row = np.arange(height, dtype=np.float32).reshape(1, 1, -1, 1)
    at = grid(scene.pose, column, row)
    draw_wall(scene, at)
    lower = (slice(None), slice(None), slice(height // 2, None))
    draw_body(replace(scene, paint=scene.paint[lower], light=scene.light[lower]), replace(at, y=at.y[lower]))
    hair = hair_around(scene, at)
    draw_hair_behind(scene, at, hair)
    draw_head(scene, at)
    draw_in_window(scene, draw_nose_and_mouth, 0.62, (1.7, 1.5))
    draw_in_window(scene, draw_eyes, -0.10, (1.9, 1.3))
    draw_hair_in_front(scene, at, hair)
    draw_in_window(scene, draw_glasses, 0.0, (2.2, 1.1))
    return scene.paint * scene.light * scene.circumstance.exposure
