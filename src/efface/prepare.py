"""Photos become packed faces: each one decoded, checked, cropped and annotated, once.

An interrupted preparation continues where it stopped and ends with the same bytes. Eye centres and boxes can come from
YuNet (Wu et al., Machine Intelligence Research 2023, doi 10.1007/s11633-023-1423-y; weights Apache-2.0, from
https://github.com/opencv/opencv_zoo), run by OpenCV.

Inside this file a position is continuous, (0, 0) being the top left corner of the picture, so that scaling is a
multiplication; `efface.faces.EYES` count from the centre of the first pixel, half a pixel less.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import combinations, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from efface.datasets.bioid import HEADER
from efface.datasets.card import Card
from efface.errors import InputError
from efface.faces import EYES, Album
from efface.packed import FORMAT, MANIFEST, new_folder, read_manifest, refuse_occupied, write_packed

if TYPE_CHECKING:
    import cv2
    import pandas as pd
    from PIL import Image

Crop = Literal["whole", "box", "align"]
Eyes = Literal["annotated", "detected", "none"]
Floats = NDArray[np.float64]
Progress = Callable[[Iterable[int], int], Iterable[int]]

YUNET = "give YuNet's file (face_detection_yunet, from https://github.com/opencv/opencv_zoo)"

CHUNK = 256
"""Photos between two savings: about a second of work."""

THREADS = min(8, os.cpu_count() or 1)

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where ArcFace wants subject's right eye, left eye, nose, right and left mouth corner: pixels of a 112x112 picture."""

FACE_WIDTH, FACE_HEIGHT, FACE_DROP = 2.2, 3.0, 0.33
"""YuNet's box in eye distances: its width, its height and how far its centre lies below the eyes (means over 496 photos
of LFW), so that a box drawn from annotated eyes is the one a detector would have given."""

SCORE = 0.6
"""From here on a detection counts: 99 % of FairFace's 128x128 photos and every photo of LFW have one."""

FIRST_LOOK = 640
"""Larger photos are shrunk to this longest side to find the face. Enlarging small ones finds fewer (FairFace: 0.99 as
they are, 0.98 doubled), so they are not."""

SECOND_LOOK, SECOND_MARGIN = 320, 1.1
"""Points are taken from a second look at the face alone, `SECOND_MARGIN` times its box, at the size YuNet was trained
on, averaged with its mirror image. Their median distance, in eye distances, from the mean of twelve looks at other
sizes and margins: FairFace 0.034 (0.119 at first look), LFW 0.028 (0.057). It triples the time."""


@dataclass(frozen=True)
class Settings:
    """How photos are prepared."""

    size: tuple[int, int]
    colour: bool
    crop: Crop
    margin: float
    jitter: float
    eyes: Eyes
    seed: int
    detector: str | None
    """sha256 of the detector's weights; None where nothing is detected."""


@dataclass(frozen=True)
class Prepared:
    """What a preparation left on disk."""

    folder: Path
    faces: int
    people: int
    refused: dict[str, str]
    """Reason by key of each photo that was left out."""
    several_faces: int
    """Photos with more than one face; the most prominent was taken."""
    near_duplicates: int
    """Pairs of photos of different people that look the same (equal 64-bit difference hash). Only reported."""


@dataclass(frozen=True)
class Face:
    """One detected face, in continuous positions."""

    box: Floats
    """(4,) left, top, width, height."""
    points: Floats
    """(5, 2) in the order of `TEMPLATE`."""
    score: float


@dataclass(frozen=True)
class Result:
    """What became of one photo."""

    reason: str
    """Why it was refused, or ""."""
    image: NDArray[np.uint8]
    """(c, h, w); zeros where refused."""
    eyes: Floats
    """(4,) `EYES` in pixels of `image`; NaN where unknown."""
    look: int
    """Difference hash of the whole photo."""
    faces: int
    """How many were detected."""


def silent(chunks: Iterable[int], _total: int) -> Iterable[int]:
    """Progress that nobody watches."""
    return chunks


def prepare(
    photos: pd.DataFrame,
    folder: Path,
    *,
    card: Card,
    size: tuple[int, int] = (48, 48),
    colour: bool = False,
    crop: Crop = "whole",
    margin: float = 0.3,
    jitter: float = 0.0,
    eyes: Eyes = "annotated",
    detector: Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Prepared:
    """Turn a reader's table of photos into a packed folder of faces.

    size: (width, height) of a packed face. margin: how much larger than the face its box is cut, as a share.
    jitter: in [0, 0.5), how much a crop is shifted and scaled, as a share of its side, per photo and seed; faces that
    their publisher aligned have their eyes almost in one place, and jitter makes finding them a task again. A jittered
    crop keeps both eyes, and that of a whole photo never leaves it.

    crop "whole" is the whole photo, each axis on its own scale; "box" the face's box in the shape of `size`, detected,
    or without a detector drawn from annotated eyes; "align" five detected points moved onto `TEMPLATE`, not stretched.
    Where a crop leaves the photo, the photo's edge is repeated.

    eyes "annotated" must be given for every photo, inside it, and refer to the pixels as stored; "detected" come from
    the detector, after a photo's EXIF orientation is applied; "none" leaves them out.

    A photo without a detected face is refused and listed in the manifest; an unreadable photo or a wrong annotation is
    an `InputError`, because a data set that shrinks silently is a lie. If the folder is whole and of the same photos
    and settings nothing is done; a whole folder of others is an `InputError`.
    """
    detects = eyes == "detected" or crop == "align" or (crop == "box" and detector is not None)
    settings = Settings(
        (int(size[0]), int(size[1])),
        colour,
        crop,
        margin,
        jitter,
        eyes,
        seed,
        _weights_sum(detector) if detects else None,
    )
    check_settings(settings)
    check_photos(photos, settings)
    photos = photos.reset_index(drop=True)
    signature = sign(photos, settings, card)
    unfinished = folder.with_name(folder.name + ".partial")
    if (folder / MANIFEST).is_file():
        if read_manifest(folder).get("signature") != signature:
            raise InputError(f"{folder} was prepared from other photos or settings: choose another folder or remove it")
        shutil.rmtree(unfinished, ignore_errors=True)
        return summary(folder)
    refuse_occupied(folder)
    _continue_or_begin(unfinished, f"{signature} {CHUNK}")
    try:
        with _opencv(detects):
            network = Detector(detector) if settings.detector and detector else None
            _work(unfinished, photos, settings, network, progress)
        _assemble(unfinished, folder, photos, settings, card, signature)
    except InputError:
        shutil.rmtree(unfinished)
        raise
    shutil.rmtree(unfinished)
    return summary(folder)


def summary(folder: Path) -> Prepared:
    """What the manifest of a prepared folder says."""
    manifest = read_manifest(folder)
    return Prepared(
        folder=folder,
        faces=manifest["shape"][0],
        people=manifest["people"],
        refused=manifest["refused"],
        several_faces=manifest["several_faces"],
        near_duplicates=manifest["near_duplicates"]["pairs"],
    )


def export_eyes(album: Album, folder: Path, *, stem: str = "face") -> None:
    """Write an album as BioID does: `face_0000.pgm` and `face_0000.eye` per image, grey, eyes in whole pixels.

    `efface.datasets.bioid.read` reads it back. Identities do not survive, because the layout has no place for them.
    """
    from PIL import Image

    missing = [column for column in EYES if column not in album.table]
    if missing:
        raise InputError(f"the faces have no {', '.join(missing)}: only annotated faces can be exported")
    eyes = album.table[EYES].to_numpy(dtype=float)
    if not np.isfinite(eyes).all():
        raise InputError("some faces have no eye centres: only annotated faces can be exported")
    with new_folder(folder) as unfinished:
        for row, marks in enumerate(np.rint(eyes).astype(int)):
            pixels = np.asarray(album.images[row]).transpose(1, 2, 0)
            picture = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
            picture.convert("L").save(unfinished / f"{stem}_{row:04d}.pgm")
            lines = ["\t".join(HEADER), "\t".join(map(str, marks))]
            (unfinished / f"{stem}_{row:04d}.eye").write_text("\n".join(lines) + "\n", encoding="ascii")


# What may be asked for


def check_settings(settings: Settings) -> None:
    """Raise `InputError` for settings that cannot be followed."""
    for name, value, known in (("crop", settings.crop, get_args(Crop)), ("eyes", settings.eyes, get_args(Eyes))):
        if value not in known:
            raise InputError(f"{name} '{value}' is unknown: choose {', '.join(known)}")
    if min(settings.size) < 8:
        raise InputError(f"size {settings.size[0]}x{settings.size[1]} is too small for a face: at least 8x8")
    if not (math.isfinite(settings.margin) and settings.margin >= 0):
        raise InputError(f"margin {settings.margin} must be 0 or more")
    if not 0 <= settings.jitter < 0.5:
        raise InputError(f"jitter {settings.jitter} must be at least 0 and below 0.5")
    if settings.seed < 0:
        raise InputError(f"seed {settings.seed} must be 0 or more")
    if settings.jitter and settings.crop == "align":
        raise InputError("jitter undoes crop 'align': leave it out, or choose crop 'box'")
    if settings.detector is None:
        if settings.eyes == "detected" or settings.crop == "align":
            raise InputError(
                f"eyes '{settings.eyes}' with crop '{settings.crop}' needs a detector: give YuNet's ONNX file"
            )
        if settings.crop == "box" and settings.eyes == "none":
            raise InputError("crop 'box' without eyes needs a detector: give YuNet's ONNX file, or choose crop 'whole'")


def check_photos(photos: pd.DataFrame, settings: Settings) -> None:
    """Raise `InputError` for a table that is no table of photos, before any photo is opened."""
    needed = ["key", "path", "person", *(EYES if settings.eyes == "annotated" else [])]
    missing = [column for column in needed if column not in photos]
    if missing and set(missing) <= set(EYES):
        raise InputError(f"the photos have no {', '.join(missing)}: annotate them, or choose eyes 'detected' or 'none'")
    if missing:
        raise InputError(f"the table of photos has no column {', '.join(missing)}: use a reader of efface.datasets")
    if photos.empty:
        raise InputError("there are no photos to prepare: the table has no rows")
    twice = photos["key"][photos["key"].duplicated()]
    if len(twice):
        raise InputError(
            f"key '{twice.iloc[0]}' stands {int((photos['key'] == twice.iloc[0]).sum())} times: must be unique"
        )
    nobody = photos["key"][photos["person"].isna() | (photos["person"] == "")]
    if len(nobody):
        raise InputError(f"photo '{nobody.iloc[0]}' has no person: give each unknown person a name of their own")
    if settings.eyes == "annotated":
        marks = photos[EYES].to_numpy(dtype=float)
        wrong = np.flatnonzero(~np.isfinite(marks).all(axis=1) | (marks[:, :2] == marks[:, 2:]).all(axis=1))
        if len(wrong):
            given = ", ".join(f"{value:g}" for value in marks[wrong[0]])
            raise InputError(
                f"photo '{photos['key'].iloc[wrong[0]]}' has the eyes ({given}): expected two points apart"
            )


def sign(photos: pd.DataFrame, settings: Settings, card: Card) -> str:
    """A checksum of all that decides the outcome: settings, labels, and the size of every file, wherever it lies."""
    sizes = [_file_size(path, key) for path, key in zip(photos["path"], photos["key"], strict=True)]
    labels = photos.drop(columns="path").assign(bytes=sizes).to_csv(index=False)
    head = json.dumps([asdict(settings), card.name, FORMAT])
    return hashlib.sha256((head + labels).encode("utf-8", "surrogatepass")).hexdigest()


# One photo


def prepare_photo(path: str, key: str, marks: Floats | None, settings: Settings, detector: Detector | None) -> Result:
    """Decode, detect, crop and annotate one photo; `marks` are its annotated `EYES` (4,)."""
    photo = load(Path(path), upright=marks is None)
    eyes = None if marks is None else marks.reshape(2, 2) + 0.5
    if eyes is not None and ((eyes < 0) | (eyes > photo.size)).any():
        given = ", ".join(f"{value:g}" for value in eyes.ravel() - 0.5)
        raise InputError(f"photo '{key}' is {photo.width}x{photo.height} but has the eyes ({given}): outside of it")
    look = difference_hash(photo)
    refused = partial(Result, image=np.zeros(_shape(settings), np.uint8), eyes=np.full(4, np.nan), look=look)
    face, count = find_face(photo, detector, eyes) if detector else (None, 0)
    if detector and face is None:
        return refused("no face detected" if eyes is None else "no face detected at the annotated eyes", faces=count)
    if settings.eyes == "detected" and face is not None:
        eyes = face.points[[1, 0]]
    place = placement(photo.size, eyes, face, settings, _generator(settings.seed, key))
    image = render(photo if settings.colour else photo.convert("L"), place, settings.size)
    pixels = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
    if eyes is None:
        return Result("", pixels, np.full(4, np.nan), look, count)
    inside = (eyes - place[:, 2]) @ np.linalg.inv(place[:, :2]).T
    if ((eyes < 0) | (eyes > photo.size)).any() or ((inside < 0) | (inside > settings.size)).any():
        return refused("an eye lies outside the photo or its crop", faces=count)
    return Result("", pixels, inside.ravel() - 0.5, look, count)


def load(path: Path, *, upright: bool) -> Image.Image:
    """A photo in RGB; `upright` turns it as its EXIF orientation says."""
    from PIL import Image, ImageOps

    broken = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # all that Pillow's decoders raise
    try:
        with Image.open(path) as opened:
            opened.load()
            photo = ImageOps.exif_transpose(opened) if upright else opened
    except broken as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be decoded ({reason}): replace it or take it out of the data set") from None
    if photo.mode.startswith(("I", "F")):
        raise InputError(f"{path} has more than 8 bits per channel (mode {photo.mode}): convert it to 8 bits")
    return photo.convert("RGB")


def difference_hash(photo: Image.Image) -> int:
    """64 bits: whether each cell of an 8x8 raster over the photo is brighter than its right neighbour."""
    from PIL import Image

    cells = np.asarray(photo.convert("L").resize((9, 8), Image.Resampling.BOX)).astype(int)
    return int.from_bytes(np.packbits(cells[:, :-1] > cells[:, 1:]).tobytes(), "big")


# Where the crop lies


def placement(
    size: tuple[int, int], eyes: Floats | None, face: Face | None, settings: Settings, generator: np.random.Generator
) -> Floats:
    """(2, 3) affine map from positions in the packed face to positions in a photo of `size` (width, height)."""
    if settings.crop == "align" and face is not None:
        return similarity(_template(settings.size), face.points)
    if settings.crop == "box" and face is not None:
        left_top, extent = _around(face.box, eyes, settings, generator)
    elif settings.crop == "box" and eyes is not None:
        left_top, extent = _around(box_around(eyes), eyes, settings, generator)
    else:
        left_top, extent = _window(np.array(size, float), eyes, settings.jitter, generator)
    return _scaling(extent / settings.size, left_top)


def similarity(source: Floats, target: Floats) -> Floats:
    """(2, 3) turn, scale and shift that brings `source` (n, 2) closest to `target` in the least squares sense.

    Umeyama, IEEE PAMI 1991, in the plane, where it is a complex number: a point z goes to factor * z + shift.
    """
    start, end = source @ [1, 1j], target @ [1, 1j]
    centred = start - start.mean()
    factor = np.vdot(centred, end - end.mean()) / np.vdot(centred, centred).real
    shift = end.mean() - factor * start.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def render(photo: Image.Image, place: Floats, size: tuple[int, int]) -> Image.Image:
    """The picture of `size` whose positions `place` (2, 3) maps into the photo, antialiased, edges repeated."""
    from PIL import Image

    steps = np.hypot(place[0, :2], place[1, :2])  # photo pixels per packed pixel, along both axes of the result
    shrink = max(1, int(steps.min() // 4))
    if shrink > 1:
        photo = photo.reduce(shrink)
        place, steps = place / shrink, steps / shrink
    dense = np.maximum(1, np.ceil(steps)).astype(int)
    photo, place = _padded(photo, place, size)
    fine = place / [*dense, 1]
    across, down = int(dense[0]), int(dense[1])
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


def box_around(eyes: Floats) -> Floats:
    """(left, top, width, height) of the face around eyes (2, 2), subject's left first."""
    across = eyes[0] - eyes[1]
    apart = np.hypot(*across)
    centre = eyes.mean(axis=0) + FACE_DROP * np.array([-across[1], across[0]])
    extent = apart * np.array([FACE_WIDTH, FACE_HEIGHT])
    return np.concatenate([centre - extent / 2, extent])


def _window(size: Floats, eyes: Floats | None, jitter: float, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """(left top, extent) of a part of the photo, smaller by up to `jitter`, at any place that keeps the eyes."""
    share, place = generator.random(), generator.random(2)
    low, high = (size, np.zeros(2)) if eyes is None else _eyes_whole(eyes)
    low, high = np.maximum(low, 0), np.minimum(high, size)
    extent = size * max(1 - jitter * share, *((high - low) / size))
    first, last = np.maximum(high - extent, 0), np.minimum(low, size - extent)
    return first + place * (last - first), extent


def _around(
    box: Floats, eyes: Floats | None, settings: Settings, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """(left top, extent) of a box with its margin, in the shape of the packed face, jittered but keeping the eyes."""
    share, shift = generator.uniform(-1, 1), generator.uniform(-1, 1, 2)
    shape = settings.size[0] / settings.size[1]
    height = max(box[3], box[2] / shape) * (1 + settings.margin) * (1 + settings.jitter * share)
    extent = np.array([height * shape, height])
    left_top = box[:2] + box[2:] / 2 + (settings.jitter * shift - 0.5) * extent
    if eyes is None:
        return left_top, extent
    low, high = _eyes_whole(eyes)
    return np.clip(left_top, high - extent, low), extent


def _eyes_whole(eyes: Floats) -> tuple[Floats, Floats]:
    """(left top, right bottom) of what both eyes (2, 2) take, an eye being half as wide as the eyes are apart."""
    reach = np.hypot(*(eyes[0] - eyes[1])) / 4
    return eyes.min(axis=0) - reach, eyes.max(axis=0) + reach


def _template(size: tuple[int, int]) -> Floats:
    """`TEMPLATE` (continuous) in the middle of a picture of `size`, scaled by its smaller side."""
    scale = min(size) / 112
    return (TEMPLATE + 0.5) * scale + (np.array(size) - 112 * scale) / 2


# YuNet


class Detector(threading.local):
    """YuNet from its ONNX file; every thread that touches it gets a network of its own, as it is not thread-safe."""

    def __init__(self, weights: Path) -> None:
        """Open `weights`, once in every thread."""
        self.network = open_yunet(weights)


def open_yunet(weights: Path) -> cv2.FaceDetectorYN:
    """The network of an ONNX file that is checked to be YuNet."""
    import cv2

    try:
        outputs = set(cv2.dnn.readNetFromONNX(str(weights)).getUnconnectedOutLayersNames())
        if not outputs >= {f"{what}_{stride}" for what in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)}:
            raise InputError(f"{weights} is another network (its outputs are {', '.join(sorted(outputs))}): {YUNET}")
        return cv2.FaceDetectorYN.create(str(weights), "", (SECOND_LOOK, SECOND_LOOK), SCORE)
    except cv2.error:
        raise InputError(f"{weights} is not a network in ONNX: {YUNET}") from None


def find_face(photo: Image.Image, detector: Detector, eyes: Floats | None) -> tuple[Face | None, int]:
    """The face at the given eyes (2, 2), or else the most prominent one, if any; and how many there are."""
    shrink = max(1.0, max(photo.size) / FIRST_LOOK)
    size = max(1, round(photo.width / shrink)), max(1, round(photo.height / shrink))
    whole = _scaling(np.array(photo.size) / size, np.zeros(2))
    faces = [_moved(face, whole) for face in detect(photo if shrink == 1 else render(photo, whole, size), detector)]
    if eyes is not None:
        middle, apart = eyes.mean(axis=0), np.hypot(*(eyes[0] - eyes[1]))
        near = [face for face in faces if np.hypot(*(face.points[:2].mean(axis=0) - middle)) < apart]
    else:
        near = faces
    face = most_prominent(near, photo.size)
    return (None if face is None else look_again(photo, face, detector)), len(faces)


def detect(photo: Image.Image, detector: Detector) -> list[Face]:
    """Every face that YuNet finds in an RGB photo.

    Its numbers are taken as continuous positions: over 496 photos of LFW, 250 pixels wide, a point and the same point
    of the mirrored photo add up to 250.3, not to 249. Photos are filled up with black to the multiple of 32 that the
    network needs, as OpenCV would, but to at least 64: below, it returns whatever lies in memory.
    """
    width, height = (max(64, math.ceil(side / 32) * 32) for side in photo.size)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: photo.height, : photo.width] = np.asarray(photo)[:, :, ::-1]
    detector.network.setInputSize((width, height))
    rows = detector.network.detect(pixels)[1]
    found = np.zeros((0, 15)) if rows is None else np.asarray(rows, float)
    return [Face(row[:4], row[4:14].reshape(5, 2), float(row[14])) for row in found]


def most_prominent(faces: list[Face], size: tuple[int, int]) -> Face | None:
    """The face with the largest score x area x (1 - distance from the centre / half the diagonal)^2.

    On each of 100 LFW photos with several faces this is the person the photo is of.
    """
    centre, reach = np.array(size) / 2, math.hypot(*size) / 2

    def prominence(face: Face) -> float:
        away = np.hypot(*(face.box[:2] + face.box[2:] / 2 - centre)) / reach
        return float(face.score * face.box[2] * face.box[3] * max(0.0, 1 - away) ** 2)

    return max(faces, key=prominence, default=None)


def look_again(photo: Image.Image, face: Face, detector: Detector) -> Face:
    """The face with points from a closer look at it and at its mirror image, averaged; its box stays."""
    from PIL import ImageOps

    side = SECOND_MARGIN * face.box[2:].max()
    left_top = face.box[:2] + face.box[2:] / 2 - side / 2
    place = _scaling(np.full(2, side / SECOND_LOOK), left_top)
    view = render(photo, place, (SECOND_LOOK, SECOND_LOOK))
    seen = most_prominent(detect(view, detector), view.size)
    mirrored = most_prominent(detect(ImageOps.mirror(view), detector), view.size)
    looks = [] if seen is None else [seen.points]
    if mirrored is not None:
        looks.append((np.array([SECOND_LOOK, 0]) + np.array([-1, 1]) * mirrored.points)[[1, 0, 2, 4, 3]])
    return replace(face, points=_applied(place, np.mean(looks, axis=0))) if looks else face


def _scaling(scale: Floats, shift: Floats) -> Floats:
    """(2, 3) map that stretches each axis, then shifts."""
    return np.column_stack([np.diag(scale), shift])


def _applied(place: Floats, points: Floats) -> Floats:
    """Where a (2, 3) map brings points (n, 2)."""
    return points @ place[:, :2].T + place[:, 2]


def _moved(face: Face, place: Floats) -> Face:
    """A face where a stretching map brings it."""
    left_top, extent = _applied(place, face.box[None, :2])[0], face.box[2:] * np.diag(place)
    return replace(face, box=np.concatenate([left_top, extent]), points=_applied(place, face.points))


@contextmanager
def _opencv(needed: bool) -> Iterator[None]:
    """OpenCV without messages of its own and with one thread per call, as it was before at the end."""
    if not needed:
        yield
        return
    try:
        import cv2
    except ImportError:
        raise InputError("detecting faces needs OpenCV: pip install 'efface[detect]'") from None
    threads, level = cv2.getNumThreads(), cv2.utils.logging.getLogLevel()
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        cv2.utils.logging.setLogLevel(level)


def _weights_sum(weights: Path | None) -> str | None:
    """sha256 of the detector's file."""
    if weights is None:
        return None
    if not weights.is_file():
        raise InputError(f"the detector {weights} does not exist: {YUNET}")
    return hashlib.sha256(weights.read_bytes()).hexdigest()


# Many photos, and what is left on disk


def _work(
    unfinished: Path, photos: pd.DataFrame, settings: Settings, detector: Detector | None, progress: Progress
) -> None:
    """Save the results of every chunk of photos that is not yet there."""
    annotated = settings.eyes == "annotated"
    marks = list(photos[EYES].to_numpy(dtype=float)) if annotated else [None] * len(photos)
    one = partial(prepare_photo, settings=settings, detector=detector)
    count = math.ceil(len(photos) / CHUNK)
    with ThreadPoolExecutor(THREADS) as threads:
        for number in progress(range(count), count):
            file = _chunk(unfinished, number)
            if not file.exists():
                rows = slice(number * CHUNK, (number + 1) * CHUNK)
                _save(file, list(threads.map(one, photos["path"][rows], photos["key"][rows], marks[rows])))


def _save(file: Path, results: list[Result]) -> None:
    """Write a chunk under another name, then give it its own: it is whole or not there."""
    draft = file.with_suffix(".draft")
    with draft.open("wb") as stream:
        np.savez(
            stream,
            images=np.stack([result.image for result in results])[[not result.reason for result in results]],
            reasons=np.array([result.reason for result in results]),
            eyes=np.array([result.eyes for result in results]),
            looks=np.array([result.look for result in results], dtype=np.uint64),
            faces=np.array([result.faces for result in results]),
        )
    draft.replace(file)


def _assemble(
    unfinished: Path, folder: Path, photos: pd.DataFrame, settings: Settings, card: Card, signature: str
) -> None:
    """Make the packed folder of the saved chunks, one at a time."""
    files = [_chunk(unfinished, number) for number in range(math.ceil(len(photos) / CHUNK))]
    reasons, eyes, looks, faces = (
        np.concatenate(list(_column(files, name))) for name in ("reasons", "eyes", "looks", "faces")
    )
    kept = reasons == ""
    table = photos[kept].drop(columns=["path", *EYES], errors="ignore")
    first = ["key", "person"]
    if settings.eyes != "none":
        table[EYES] = eyes[kept]
        first += EYES
    table = table[first + [column for column in table.columns if column not in first]]
    pairs, examples = near_duplicates(looks, photos)
    about = {
        "name": card.name,
        "title": card.title,
        "licence": card.licence,
        "home": card.home,
        "settings": asdict(settings),
        "signature": signature,
        "photos": len(photos),
        "refused": dict(zip(photos["key"][~kept], reasons[~kept].tolist(), strict=True)),
        "several_faces": int((faces > 1).sum()),
        "near_duplicates": {"pairs": pairs, "first": examples},
    }
    write_packed(folder, _column(files, "images"), table, shape=_shape(settings), about=about)


def near_duplicates(looks: NDArray[np.uint64], photos: pd.DataFrame, shown: int = 20) -> tuple[int, list[list[str]]]:
    """How many pairs of photos of different people have one difference hash, and the keys of the first few.

    Equal, not merely close: of LFW's 11,585 aligned faces no two people's are equal, but five pairs of quite different
    photos are a single bit apart.
    """
    table = photos[["key", "person"]].assign(look=looks)
    same_look = table["look"].value_counts()
    same_person = table.value_counts(["look", "person"])
    count = int((same_look * (same_look - 1) // 2).sum() - (same_person * (same_person - 1) // 2).sum())
    alike = table[table["look"].isin(same_look.index[same_look > 1])]
    pairs = (
        [key, other]
        for _, group in alike.groupby("look", sort=False)
        for (key, person), (other, whose) in combinations(zip(group["key"], group["person"], strict=True), 2)
        if person != whose
    )
    return count, list(islice(pairs, shown))


def _column(files: list[Path], name: str) -> Iterator[NDArray[Any]]:
    """One array of every chunk, in order."""
    for file in files:
        with np.load(file, allow_pickle=False) as chunk:
            yield chunk[name]


def _chunk(unfinished: Path, number: int) -> Path:
    """Where a chunk is saved."""
    return unfinished / f"chunk-{number:06d}.npz"


def _continue_or_begin(unfinished: Path, label: str) -> None:
    """Make the folder of saved chunks, or empty it if it is of other photos, settings or chunks."""
    mark = unfinished / "signature"
    if not mark.is_file() or mark.read_text(encoding="ascii", errors="replace") != label:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        mark.write_text(label, encoding="ascii")


def _generator(seed: int, key: str) -> np.random.Generator:
    """The randomness of one photo, whatever stands beside it."""
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")])


def _shape(settings: Settings) -> tuple[int, int, int]:
    """(c, h, w) of a packed face."""
    return (3 if settings.colour else 1, settings.size[1], settings.size[0])


def _file_size(path: str, key: str) -> int:
    """Bytes of a photo's file."""
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise InputError(f"the file of photo '{key}' cannot be opened: {path} ({error.strerror})") from None
