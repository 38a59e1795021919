"""Photos become packed faces: each one decoded, checked, cropped and annotated, once.

An interrupted preparation continues where it stopped and ends with the same bytes. Positions are continuous, as in
`efface.preparation.crop`; `EYES`, which count from the centre of the first pixel, are half a pixel less.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import EYES, FaceTable
from efface.datasets.bioid import HEADER
from efface.datasets.card import Card
from efface.errors import InputError
from efface.preparation.crop import TEMPLATE, Floats, align, box, box_around, into_picture, render, similarity, whole
from efface.preparation.detect import Detector, Face, detecting, find_face, weights_sum
from efface.preparation.packed import FORMAT, MANIFEST, new_folder, read_manifest, refuse_occupied, write_packed
from efface.preparation.photos import check_photos, difference_hash, file_size, load, near_duplicates

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "TEMPLATE",
    "Detector",
    "Face",
    "Prepared",
    "Settings",
    "box_around",
    "difference_hash",
    "export_eyes",
    "find_face",
    "load",
    "near_duplicates",
    "placement",
    "prepare",
    "render",
    "similarity",
    "summary",
]

Crop = Literal["whole", "box", "align"]
Eyes = Literal["annotated", "detected", "none"]
Progress = Callable[[Iterable[int], int], Iterable[int]]

CHUNK = 256
"""Photos between two savings: about a second of work."""

THREADS = min(8, os.cpu_count() or 1)


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

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of a packed face."""
        return 3 if self.colour else 1, self.size[1], self.size[0]


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

    crop "whole" keeps the frame: all of the photo (jittered, a window of its shape), each axis on its own scale, so
    that faces keep their tilt and are stretched where photo and `size` differ in shape. "box" keeps proportions and
    tilt, not place and scale: the face's upright box, detected, or without a detector drawn from annotated eyes,
    widened to the shape of `size`. "align" keeps proportions only: one turn, scale and shift brings five detected
    points closest to `TEMPLATE`. Where a crop leaves the photo, the photo's edge is repeated.

    eyes "annotated" must be given for every photo, inside it, and refer to the pixels as stored; "detected" come from
    the detector, after a photo's EXIF orientation is applied; "none" leaves them out.

    A photo without a detected face is refused and listed in the manifest; an unreadable photo or a wrong annotation is
    an `InputError`, because a data set that shrinks silently is a lie. If the folder is whole and of the same photos
    and settings nothing is done; a whole folder of others is an `InputError`.
    """
    weights = detector if eyes == "detected" or crop in ("box", "align") else None
    checksum = None if weights is None else weights_sum(weights)
    settings = Settings((int(size[0]), int(size[1])), colour, crop, margin, jitter, eyes, seed, checksum)
    check_settings(settings)
    check_photos(photos, annotated=eyes == "annotated")
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
    chunks = [unfinished / f"chunk-{number:06d}.npz" for number in range(math.ceil(len(photos) / CHUNK))]
    looking: AbstractContextManager[Detector | None] = nullcontext() if weights is None else detecting(weights)
    try:
        with looking as network:
            _fill(chunks, photos, settings, network, progress)
        _assemble(chunks, folder, photos, settings, card, signature)
    except InputError:
        shutil.rmtree(unfinished)
        raise
    shutil.rmtree(unfinished)
    return summary(folder)


def summary(folder: Path) -> Prepared:
    """What the manifest of a prepared folder says."""
    manifest = read_manifest(folder)
    counts = {name: manifest[name] for name in ("people", "refused", "several_faces")}
    return Prepared(folder, manifest["shape"][0], near_duplicates=manifest["near_duplicates"]["pairs"], **counts)


def export_eyes(face_table: FaceTable, folder: Path, *, stem: str = "face") -> None:
    """Write a face table as BioID does: `face_0000.pgm` and `face_0000.eye` per image, grey, eyes in whole pixels.

    `efface.datasets.bioid.read` reads it back. Identities do not survive, because the layout has no place for them.
    """
    from PIL import Image

    missing = [column for column in EYES if column not in face_table.table]
    if missing:
        raise InputError(f"the faces have no {', '.join(missing)}: only annotated faces can be exported")
    eyes = face_table.table[EYES].to_numpy(dtype=float)
    if not np.isfinite(eyes).all():
        raise InputError("some faces have no eye centres: only annotated faces can be exported")
    with new_folder(folder) as unfinished:
        for row, marks in enumerate(np.rint(eyes).astype(int)):
            pixels = np.asarray(face_table.images[row]).transpose(1, 2, 0)
            picture = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
            picture.convert("L").save(unfinished / f"{stem}_{row:04d}.pgm")
            lines = ["\t".join(HEADER), "\t".join(map(str, marks))]
            (unfinished / f"{stem}_{row:04d}.eye").write_text("\n".join(lines) + "\n", encoding="ascii")


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
    if settings.detector is None and (settings.eyes == "detected" or settings.crop == "align"):
        raise InputError(f"eyes '{settings.eyes}' with crop '{settings.crop}' needs a detector: give YuNet's ONNX file")
    if settings.detector is None and settings.crop == "box" and settings.eyes == "none":
        raise InputError("crop 'box' without eyes needs a detector: give YuNet's ONNX file, or choose crop 'whole'")


def sign(photos: pd.DataFrame, settings: Settings, card: Card) -> str:
    """A checksum of all that decides the result: settings, labels, and the size of every file, wherever it lies."""
    sizes = [file_size(path, key) for path, key in zip(photos["path"], photos["key"], strict=True)]
    labels = photos.drop(columns="path").assign(bytes=sizes).to_csv(index=False)
    head = json.dumps([asdict(settings), card.name, FORMAT])
    return hashlib.sha256((head + labels).encode("utf-8", "surrogatepass")).hexdigest()


def prepare_photo(path: str, key: str, marks: Floats | None, settings: Settings, detector: Detector | None) -> Result:
    """Decode, detect, crop and annotate one photo; `marks` are its annotated `EYES` (4,)."""
    photo = load(Path(path), upright=marks is None)
    eyes = None if marks is None else marks.reshape(2, 2) + 0.5
    if eyes is not None and ((eyes < 0) | (eyes > photo.size)).any():
        given = ", ".join(f"{value:g}" for value in eyes.ravel() - 0.5)
        raise InputError(f"photo '{key}' is {photo.width}x{photo.height} but has the eyes ({given}): outside of it")
    face, count = find_face(photo, detector, eyes) if detector else (None, 0)
    unknown, black = np.full(4, np.nan), np.zeros(settings.shape, np.uint8)
    refused = partial(Result, image=black, eyes=unknown, look=difference_hash(photo), faces=count)
    if detector and face is None:
        return refused("no face detected" if eyes is None else "no face detected at the annotated eyes")
    if settings.eyes == "detected" and face is not None:
        eyes = face.points[[1, 0]]
    place = placement(photo.size, eyes, face, settings, _generator(settings.seed, key))
    image = render(photo if settings.colour else photo.convert("L"), place, settings.size)
    kept = partial(refused, "", image=np.atleast_3d(np.asarray(image)).transpose(2, 0, 1))
    if eyes is None:
        return kept()
    inside = into_picture(place, eyes)
    if ((eyes < 0) | (eyes > photo.size)).any() or ((inside < 0) | (inside > settings.size)).any():
        return refused("an eye lies outside the photo or its crop")
    return kept(eyes=inside.ravel() - 0.5)


def placement(
    size: tuple[int, int], eyes: Floats | None, face: Face | None, settings: Settings, generator: np.random.Generator
) -> Floats:
    """(2, 3) affine map from positions in the packed face to positions in a photo of `size` (width, height)."""
    if settings.crop == "align" and face is not None:
        return align(face.points, settings.size)
    drawn = None if eyes is None else box_around(eyes)
    outline = drawn if face is None else face.box
    if settings.crop == "box" and outline is not None:
        return box(outline, eyes, settings.size, settings.margin, settings.jitter, generator)
    return whole(size, eyes, settings.size, settings.jitter, generator)


def _fill(
    chunks: list[Path], photos: pd.DataFrame, settings: Settings, detector: Detector | None, progress: Progress
) -> None:
    """Save the results of every chunk of photos that is not yet there."""
    marks = photos[EYES].to_numpy(dtype=float) if settings.eyes == "annotated" else [None] * len(photos)
    one = partial(prepare_photo, settings=settings, detector=detector)
    with ThreadPoolExecutor(THREADS) as threads:
        for number in progress(range(len(chunks)), len(chunks)):
            if not chunks[number].exists():
                rows = slice(number * CHUNK, (number + 1) * CHUNK)
                _save(chunks[number], list(threads.map(one, photos["path"][rows], photos["key"][rows], marks[rows])))


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
    chunks: list[Path], folder: Path, photos: pd.DataFrame, settings: Settings, card: Card, signature: str
) -> None:
    """Make the packed folder of the saved chunks, one at a time."""
    columns = ("reasons", "eyes", "looks", "faces")
    reasons, eyes, looks, faces = (np.concatenate(list(_column(chunks, name))) for name in columns)
    kept = reasons == ""
    table = photos[kept].drop(columns=["path", *EYES], errors="ignore")
    first = ["key", "person"]
    if settings.eyes != "none":
        table[EYES] = eyes[kept]
        first += EYES
    table = table[first + [column for column in table.columns if column not in first]]
    pairs, examples = near_duplicates(looks, photos)
    about = {
        **{name: getattr(card, name) for name in ("name", "title", "licence", "home")},
        "settings": asdict(settings),
        "signature": signature,
        "photos": len(photos),
        "refused": dict(zip(photos["key"][~kept], reasons[~kept].tolist(), strict=True)),
        "several_faces": int((faces > 1).sum()),
        "left_out": photos.attrs.get("left_out", {}),
        "near_duplicates": {"pairs": pairs, "first": examples},
    }
    write_packed(folder, _column(chunks, "images"), table, shape=settings.shape, about=about)


def _column(chunks: list[Path], name: str) -> Iterator[NDArray[Any]]:
    """One array of every chunk, in order."""
    for file in chunks:
        with np.load(file, allow_pickle=False) as chunk:
            yield chunk[name]


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
