"""Faces found in photos by YuNet, run by OpenCV.

Wu et al., Machine Intelligence Research 2023, doi 10.1007/s11633-023-1423-y; weights Apache-2.0, from
https://github.com/opencv/opencv_zoo. Positions are continuous, as in `efface.preparation.crop`.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from efface.errors import InputError
from efface.preparation.crop import Floats, into_photo, render, stretch

if TYPE_CHECKING:
    import cv2
    from PIL import Image

YUNET = "give YuNet's file (face_detection_yunet, from https://github.com/opencv/opencv_zoo)"

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
class Face:
    """One detected face."""

    box: Floats
    """(4,) left, top, width, height."""
    points: Floats
    """(5, 2) in the order of `efface.preparation.crop.TEMPLATE`."""
    score: float


class Detector(threading.local):
    """YuNet from its ONNX file; every thread that touches it gets a network of its own, as it is not thread-safe."""

    def __init__(self, weights: Path) -> None:
        """Open `weights`, once in every thread."""
        self.network = open_yunet(weights)


@contextmanager
def detecting(weights: Path) -> Iterator[Detector]:
    """A detector, while OpenCV is silent and takes one thread per call; at the end OpenCV is as it was before."""
    try:
        import cv2
    except ImportError:
        raise InputError("detecting faces needs OpenCV: pip install 'efface[detect]'") from None
    threads, level = cv2.getNumThreads(), cv2.utils.logging.getLogLevel()
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield Detector(weights)
    finally:
        cv2.setNumThreads(threads)
        cv2.utils.logging.setLogLevel(level)


def weights_sum(weights: Path) -> str:
    """sha256 of a detector's file, in hexadecimal."""
    if not weights.is_file():
        raise InputError(f"the detector {weights} does not exist: {YUNET}")
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def find_face(photo: Image.Image, detector: Detector, eyes: Floats | None) -> tuple[Face | None, int]:
    """The face at the given eyes (2, 2), or else the most prominent one, if any; and how many there are."""
    shrink = max(1.0, max(photo.size) / FIRST_LOOK)
    size = max(1, round(photo.width / shrink)), max(1, round(photo.height / shrink))
    place = stretch(np.array(photo.size) / size, np.zeros(2))
    view = photo if shrink == 1 else render(photo, place, size)
    faces = [_in_photo(face, place) for face in detect(view, detector)]
    face = most_prominent(faces if eyes is None else _near(faces, eyes), photo.size)
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
    place = stretch(np.full(2, side / SECOND_LOOK), left_top)
    view = render(photo, place, (SECOND_LOOK, SECOND_LOOK))
    seen = most_prominent(detect(view, detector), view.size)
    mirrored = most_prominent(detect(ImageOps.mirror(view), detector), view.size)
    looks = [] if seen is None else [seen.points]
    if mirrored is not None:
        looks.append((np.array([SECOND_LOOK, 0]) + np.array([-1, 1]) * mirrored.points)[[1, 0, 2, 4, 3]])
    return replace(face, points=into_photo(place, np.mean(looks, axis=0))) if looks else face


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


def _near(faces: list[Face], eyes: Floats) -> list[Face]:
    """The faces whose eyes lie around the same middle as these (2, 2), less than their distance away."""
    middle, apart = eyes.mean(axis=0), np.hypot(*(eyes[0] - eyes[1]))
    return [face for face in faces if np.hypot(*(face.points[:2].mean(axis=0) - middle)) < apart]


def _in_photo(face: Face, place: Floats) -> Face:
    """A face found in a shrunken view, where it lies in the photo."""
    left_top, extent = into_photo(place, face.box[None, :2])[0], face.box[2:] * np.diag(place)
    return replace(face, box=np.concatenate([left_top, extent]), points=into_photo(place, face.points))
