"""Hide the eyes that a model found, and measure how much of the true eyes that hid.

The bar over the eyes follows the line between them and is sized by how far apart they are: all of it as *predicted*.
Positions are pixels, x before y, the centre of the first pixel being (0, 0); eyes are (n, 2, 2), subject's left first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from efface.errors import InputError

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]

WIDTH, HEIGHT = 1.9, 0.7
"""The bar's length and height in eye distances: it reaches 0.45 beyond either eye centre, 0.35 above and below."""

EYE_RADIUS = 0.25
"""An open eye, about 30 mm from corner to corner, is half as wide as the pupils are apart, about 62 mm."""

CHUNK = 2**20
"""Positions worked on at once; bounds memory, changes nothing."""

_steps = (np.arange(40) + 0.5) / 20 - 1
_lattice = np.stack(np.meshgrid(_steps, _steps), axis=-1).reshape(-1, 2)
DISC = _lattice[np.hypot(_lattice[:, 0], _lattice[:, 1]) < 1]
"""(m, 2) points spread evenly over the unit disc; each stands for 0.08 % of its area."""


@dataclass(frozen=True)
class Boxes:
    """n rectangles, each turned along a line of eyes."""

    centre: Floats
    """(n, 2)."""
    along: Floats
    """(n, 2) unit vectors from the right end towards the left eye's end."""
    half: Floats
    """(n, 2) half the length along the eyes, half the height across."""


def eye_box(eyes: Floats, *, width: float = WIDTH, height: float = HEIGHT) -> Boxes:
    """The bar over each pair of eyes; `width` and `height` are in eye distances. Eyes in one point get an empty one."""
    eyes = _checked(eyes)
    across = eyes[:, 0] - eyes[:, 1]
    apart = np.hypot(across[:, 0], across[:, 1])
    along = np.where(apart[:, None] > 0, across / np.where(apart > 0, apart, 1)[:, None], [1.0, 0.0])
    return Boxes(eyes.mean(axis=1), along, apart[:, None] * np.array([width, height]) / 2)


def on_boxes(boxes: Boxes, points: Floats) -> Floats:
    """(n, m, 2) where points (n, m, 2) or (1, m, 2) lie on each bar: both within -1..1 inside, infinite off an empty
    bar."""
    away = points - boxes.centre[:, None]
    turned = np.stack(
        [
            (away * boxes.along[:, None]).sum(axis=-1),
            away[..., 1] * boxes.along[:, None, 0] - away[..., 0] * boxes.along[:, None, 1],
        ],
        axis=-1,
    )
    empty = boxes.half[:, None] == 0
    return np.where(empty, np.inf, turned / np.where(empty, 1, boxes.half[:, None]))


def cover(images: Pixels, eyes: Floats, *, shade: int = 0, width: float = WIDTH, height: float = HEIGHT) -> Pixels:
    """Images (n, c, h, w) with a filled bar over the eyes."""
    return _changed(images, eyes, width, height, lambda faces, _boxes, _places, _hidden: np.full_like(faces, shade))


def pixelate(images: Pixels, eyes: Floats, *, blocks: int = 6, width: float = WIDTH, height: float = HEIGHT) -> Pixels:
    """Images (n, c, h, w) with the bar as a mosaic of `blocks` squares along it, each the mean of what it hides."""
    if blocks < 1:
        raise InputError(f"blocks {blocks} must be 1 or more")
    down = max(1, round(blocks * height / width))

    def mosaic(faces: Floats, _boxes: Boxes, places: Floats, hidden: NDArray[np.bool_]) -> Floats:
        """The mean over each block, at every pixel of it."""
        shares = (np.where(hidden[..., None], places, 0) + 1) / 2
        column, row = (np.minimum(shares * [blocks, down], [blocks - 1, down - 1])).astype(int).transpose(3, 0, 1, 2)
        block = (np.arange(len(faces))[:, None, None] * down + row) * blocks + column
        size = len(faces) * down * blocks
        count = np.maximum(1, np.bincount(block[hidden], minlength=size))
        sums = [np.bincount(block[hidden], channel[hidden], size) for channel in faces.swapaxes(0, 1)]
        return np.stack([(total / count)[block] for total in sums], axis=1)

    return _changed(images, eyes, width, height, mosaic)


def blur(
    images: Pixels, eyes: Floats, *, strength: float = 0.25, width: float = WIDTH, height: float = HEIGHT
) -> Pixels:
    """Images (n, c, h, w) blurred under the bar by three running means, each reaching `strength` eye distances."""
    if not strength > 0:
        raise InputError(f"strength {strength} must be above 0")

    def smooth(faces: Floats, boxes: Boxes, _places: Floats, _hidden: NDArray[np.bool_]) -> Floats:
        """The whole picture blurred as its bar asks."""
        reach = np.maximum(1, np.rint(strength * boxes.half[:, 0] * 2 / width)).astype(int)
        for _ in range(3):
            faces = _running_mean(_running_mean(faces, reach).swapaxes(2, 3), reach).swapaxes(2, 3)
        return faces

    return _changed(images, eyes, width, height, smooth)


def true_eye_region(targets: Floats) -> tuple[Floats, Floats]:
    """What must be hidden: a disc on each eye centre (n, 2, 2), its radius (n,) being `EYE_RADIUS` eye distances."""
    targets = _checked(targets)
    across = targets[:, 0] - targets[:, 1]
    return targets, EYE_RADIUS * np.hypot(across[:, 0], across[:, 1])


def covered(
    predicted: Floats,
    targets: Floats,
    shape: tuple[int, int] | None = None,
    *,
    width: float = WIDTH,
    height: float = HEIGHT,
) -> Floats:
    """(n, 2) share of each true eye (see `true_eye_region`) that the bar of the predicted eyes hides, left eye first.

    Given a picture's `shape` (height, width), only what lies within it counts; an eye wholly outside is hidden. A
    prediction that is not finite hides nothing. Areas are sampled at `DISC`, not at pixels, so that the share does not
    depend on the resolution.
    """
    centres, radius = true_eye_region(targets)
    if np.shape(predicted) != centres.shape:
        raise InputError(f"predicted eyes {np.shape(predicted)} and true eyes {centres.shape} differ in shape")
    finite = np.asarray(np.isfinite(predicted).all(axis=(1, 2)))
    boxes = eye_box(np.where(finite[:, None, None], predicted, centres), width=width, height=height)
    end = np.inf if shape is None else np.array(shape[::-1]) - 0.5
    start = -np.inf if shape is None else -0.5
    shares = np.empty((len(centres), 2))
    for rows in _slices(len(centres), 2 * len(DISC)):
        points = centres[rows, :, None] + radius[rows, None, None, None] * DISC
        visible = ((points >= start) & (points <= end)).all(axis=-1)
        places = on_boxes(_some(boxes, rows), points.reshape(len(points), -1, 2)).reshape(points.shape)
        bare = visible & ((np.abs(places) > 1).any(axis=-1) | ~finite[rows, None, None])
        shares[rows] = 1 - bare.sum(axis=-1) / np.maximum(1, visible.sum(axis=-1))
    return shares


def _changed(
    images: Pixels,
    eyes: Floats,
    width: float,
    height: float,
    change: Callable[[Floats, Boxes, Floats, NDArray[np.bool_]], Floats],
) -> Pixels:
    """A copy of images (n, c, h, w) with each pixel whose centre lies on the bar as `change` makes it.

    `change` gets some faces (k, c, h, w), their boxes, where on the boxes the pixels lie (k, h, w, 2) and which are on.
    """
    boxes = eye_box(eyes, width=width, height=height)
    if images.ndim != 4 or images.dtype != np.uint8 or len(images) != len(boxes.centre):
        raise InputError(
            f"images are {images.dtype} {images.shape} for {len(boxes.centre)} pairs of eyes: "
            "expected uint8 (n, channels, height, width), one for each pair"
        )
    changed = np.array(images)
    lines, columns = images.shape[2:]
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(lines)), axis=-1).reshape(1, -1, 2).astype(float)
    for rows in _slices(len(images), max(1, grid.shape[1])):
        some = _some(boxes, rows)
        places = on_boxes(some, grid).reshape(-1, lines, columns, 2)
        hidden = np.asarray((np.abs(places) <= 1).all(axis=-1))
        values = change(changed[rows].astype(float), some, places, hidden)
        changed[rows] = np.where(hidden[:, None], np.rint(values), changed[rows])
    return changed


def _running_mean(faces: Floats, reach: NDArray[np.int_]) -> Floats:
    """The mean of the 2 * reach + 1 pixels around each along the last axis, of those that exist; reach (n,)."""
    length = faces.shape[-1]
    sums = np.concatenate([np.zeros_like(faces[..., :1]), np.cumsum(faces, axis=-1)], axis=-1)
    first = np.maximum(np.arange(length) - reach[:, None], 0)[:, None, None]
    last = np.minimum(np.arange(length) + reach[:, None] + 1, length)[:, None, None]
    means: Floats = (np.take_along_axis(sums, last, axis=-1) - np.take_along_axis(sums, first, axis=-1)) / (
        last - first
    )
    return means


def _some(boxes: Boxes, rows: slice) -> Boxes:
    """Some of the boxes."""
    return Boxes(boxes.centre[rows], boxes.along[rows], boxes.half[rows])


def _slices(count: int, each: int) -> Iterator[slice]:
    """Slices over `count` faces of `each` positions, of about `CHUNK` positions together."""
    step = max(1, CHUNK // each)
    return (slice(start, start + step) for start in range(0, count, step))


def _checked(eyes: Floats) -> Floats:
    """Eyes as floats, or an `InputError`: a bar that silently misses hides nothing."""
    given = np.asarray(eyes, dtype=float)
    if given.ndim != 3 or given.shape[1:] != (2, 2):
        raise InputError(f"eyes have the shape {given.shape}: expected (n, 2, 2), left eye first, x before y")
    if not np.isfinite(given).all():
        bad = int(np.flatnonzero(~np.isfinite(given).all(axis=(1, 2)))[0])
        raise InputError(f"the eyes of face {bad} are not finite: no bar can be drawn, leave the face out")
    return given
