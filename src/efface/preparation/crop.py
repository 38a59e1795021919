"""Which part of a photo becomes a packed face, and that part drawn.

A position is continuous, (0, 0) being the top left corner of a picture, so that scaling is a multiplication;
`efface.data.faces.EYES` count from the centre of the first pixel, half a pixel less. A place is the (2, 3) affine map
from positions in the packed face to positions in its photo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

Floats = NDArray[np.float64]

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where ArcFace wants subject's right eye, left eye, nose, right and left mouth corner: pixels of a 112x112 picture."""
TEMPLATE_SIDE = 112

FACE_WIDTH, FACE_HEIGHT, FACE_DROP = 2.2, 3.0, 0.33
"""YuNet's box in eye distances: its width, its height and how far its centre lies below the eyes (means over 496 photos
of LFW), so that a box drawn from annotated eyes is the one a detector would have given."""


def whole(
    photo_size: tuple[int, int],
    eyes: Floats | None,
    size: tuple[int, int],
    jitter: float,
    generator: np.random.Generator,
) -> Floats:
    """The place of a photo's window: all of it, or smaller by up to `jitter`, anywhere that keeps the eyes (2, 2)."""
    share, spot = generator.random(), generator.random(2)
    full = np.array(photo_size, float)
    low, high = (full, np.zeros(2)) if eyes is None else _eyes_whole(eyes)
    low, high = np.maximum(low, 0), np.minimum(high, full)
    extent = full * max(1 - jitter * share, *((high - low) / full))
    first, last = np.maximum(high - extent, 0), np.minimum(low, full - extent)
    return stretch(extent / size, first + spot * (last - first))


def box(
    face: Floats,
    eyes: Floats | None,
    size: tuple[int, int],
    margin: float,
    jitter: float,
    generator: np.random.Generator,
) -> Floats:
    """The place of a face's box (left, top, width, height) with its margin, in the shape of `size`.

    jitter: shifts and scales it by up to this share of its side, but keeps the eyes (2, 2).
    """
    share, shift = generator.uniform(-1, 1), generator.uniform(-1, 1, 2)
    shape = size[0] / size[1]
    height = max(face[3], face[2] / shape) * (1 + margin) * (1 + jitter * share)
    extent = np.array([height * shape, height])
    left_top = face[:2] + face[2:] / 2 + (jitter * shift - 0.5) * extent
    if eyes is not None:
        low, high = _eyes_whole(eyes)
        left_top = np.clip(left_top, high - extent, low)
    return stretch(extent / size, left_top)


def align(points: Floats, size: tuple[int, int]) -> Floats:
    """The place that brings a face's points (5, 2) closest to `TEMPLATE` in the middle of `size`.

    Heights agree whatever the width, so that 96x112 is the crop of SphereFace: ArcFace's without 8 pixels at either
    side.
    """
    scale = size[1] / TEMPLATE_SIDE
    return similarity((TEMPLATE + 0.5) * scale + aligned_corner(size), points)


def aligned_corner(size: tuple[int, int]) -> Floats:
    """(2,) where in a crop of `size` the corner of the whole template's square lies; negative where sides are cut."""
    return np.array([(size[0] - size[1]) / 2, 0.0])


def box_around(eyes: Floats) -> Floats:
    """(left, top, width, height) of the face around eyes (2, 2), subject's left first."""
    across = eyes[0] - eyes[1]
    apart = np.hypot(*across)
    centre = eyes.mean(axis=0) + FACE_DROP * np.array([-across[1], across[0]])
    extent = apart * np.array([FACE_WIDTH, FACE_HEIGHT])
    return np.concatenate([centre - extent / 2, extent])


def similarity(source: Floats, target: Floats) -> Floats:
    """(2, 3) turn, scale and shift that brings `source` (n, 2) closest to `target` in the least squares sense.

    Umeyama, IEEE PAMI 1991, in the plane, where it is a complex number: a point z goes to factor * z + shift.
    """
    start, end = source @ [1, 1j], target @ [1, 1j]
    centred = start - start.mean()
    factor = np.vdot(centred, end - end.mean()) / np.vdot(centred, centred).real
    shift = end.mean() - factor * start.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def stretch(scale: Floats, shift: Floats) -> Floats:
    """(2, 3) map that scales each axis on its own, then shifts."""
    return np.column_stack([np.diag(scale), shift])


def into_photo(place: Floats, points: Floats) -> Floats:
    """Where points (n, 2) of a drawn picture lie in its photo."""
    return points @ place[:, :2].T + place[:, 2]


def into_picture(place: Floats, points: Floats) -> Floats:
    """Where points (n, 2) of a photo lie in the picture drawn of it."""
    return (points - place[:, 2]) @ np.linalg.inv(place[:, :2]).T


def render(photo: Image.Image, place: Floats, size: tuple[int, int]) -> Image.Image:
    """The picture of `size` whose positions `place` (2, 3) maps into the photo, antialiased, edges repeated."""
    from PIL import Image

    steps = np.hypot(place[0, :2], place[1, :2])  # photo pixels per packed pixel, along both axes of the result
    shrink = max(1, int(steps.min() // 4))
    if shrink > 1:
        photo = photo.reduce(shrink)
        place, steps = place / shrink, steps / shrink
    across, down = (int(step) for step in np.maximum(1, np.ceil(steps)))
    photo, place = _padded(photo, place, size)
    fine = place / [across, down, 1]
    drawn = photo.transform(
        (size[0] * across, size[1] * down), Image.Transform.AFFINE, tuple(fine.ravel()), Image.Resampling.BICUBIC
    )
    return drawn.reduce((across, down))


def _padded(photo: Image.Image, place: Floats, size: tuple[int, int]) -> tuple[Image.Image, Floats]:
    """The photo with its edge repeated as far as a picture reaches, and the map into that."""
    from PIL import Image

    corners = np.array([[0, 0, 1], [size[0], 0, 1], [0, size[1], 1], [*size, 1]]) @ place.T
    before = np.maximum(0, np.ceil(-corners.min(axis=0))).astype(int)
    after = np.maximum(0, np.ceil(corners.max(axis=0) - photo.size)).astype(int)
    if not (before.any() or after.any()):
        return photo, place
    pixels = np.asarray(photo)
    widths = [(before[1], after[1]), (before[0], after[0])] + [(0, 0)] * (pixels.ndim - 2)
    return Image.fromarray(np.pad(pixels, widths, mode="edge")), place + np.column_stack([np.zeros((2, 2)), before])


def _eyes_whole(eyes: Floats) -> tuple[Floats, Floats]:
    """(left top, right bottom) of what both eyes (2, 2) take, an eye being half as wide as the eyes are apart."""
    reach = np.hypot(*(eyes[0] - eyes[1])) / 4
    return eyes.min(axis=0) - reach, eyes.max(axis=0) + reach
