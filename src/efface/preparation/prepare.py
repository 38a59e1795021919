"""Photos become packed faces: each one decoded, checked, cropped and annotated, once.

An interrupted preparation continues where it stopped and ends with the same bytes; so does one of which some photos
were replaced. Positions are continuous, as in `efface.preparation.crop`; `EYES`, which count from the centre of the
first pixel, are half a pixel less.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import numpy as np
import psutil
from numpy.typing import NDArray
from pydantic import Field

from efface.data.faces import EYES, FaceTable
from efface.data.names import spelling_warning
from efface.data.photos import MANY, Unusable, digests, left_out_line, load, refuse_unusable, some
from efface.datasets.bioid import HEADER
from efface.datasets.card import Card
from efface.errors import InputError, one_line
from efface.files import exclusive, make_folder, replacing, write_text
from efface.preparation.crop import TEMPLATE, Floats, align, box, box_around, into_picture, render, similarity, whole
from efface.preparation.detect import Detector, Face, detecting, find_face, weights_sum
from efface.preparation.packed import (
    FORMAT,
    IMAGES,
    LABELS,
    MANIFEST,
    new_folder,
    read_manifest,
    refuse_occupied,
    verify_packed,
    write_packed,
)
from efface.preparation.photos import check_photos, difference_hash, near_duplicates
from efface.settings import Count, Seed, Share, Strength

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

CHUNK, CHUNK_BYTES = 256, 2**28
"""Photos between two savings, about a second of work, and the most memory that their faces take."""

PHOTO_BYTES = 2**31
"""The most that one photo takes while it is turned, converted and cropped (see `efface.data.photos.MAX_PIXELS`)."""
THREADS = max(1, min(8, os.cpu_count() or 1, psutil.virtual_memory().total // PHOTO_BYTES))

WAY_OUT = "replace them, or leave them out with --skip-unreadable (in a plan: prepare.skip_unreadable = true)"

LARGEST, WIDEST = 1024, 10.0
"""The longest side of a packed face, and the widest margin of a box."""


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

    @property
    def version(self) -> tuple[int, ...]:
        """What changes when the same settings give other faces: aligned ones that are higher than wide were once drawn
        smaller."""
        return (FORMAT, 2) if self.crop == "align" and self.size[0] < self.size[1] else (FORMAT,)


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
    unreadable: dict[str, str]
    """Reason by key of each photo that could not be read and was left out, as `skip_unreadable` asked."""
    left_out: dict[str, str]
    """Reason by name of each file that the reader of the dataset passed over."""
    near_duplicates: int
    """Pairs of photos of different people that look the same (equal 64-bit difference hash). Only reported."""
    warning: str = ""
    """What is doubtful about the names of people."""

    def __str__(self) -> str:
        """One line for whoever had it prepared."""
        pairs = f"{self.near_duplicates:,} pair{'s' * (self.near_duplicates != 1)}"
        parts = [
            f"{self.folder}: {self.faces:,} faces of {self.people:,} people; {len(self.refused):,} photos refused "
            f"(listed in manifest.json), {self.several_faces:,} with several faces, {pairs} of near "
            "duplicates of different people",
            f"{len(self.unreadable):,} photos unreadable and left out ({some(self.unreadable)})"
            if self.unreadable
            else "",
            left_out_line(self.left_out),
            self.warning,
        ]
        return one_line("; ".join(part for part in parts if part))


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
    unreadable: bool = False
    """Whether the reason is that the photo cannot be used at all."""


def silent(chunks: Iterable[int], _total: int) -> Iterable[int]:
    """Progress that nobody watches."""
    return chunks


Side = Annotated[Count, Field(ge=8, le=LARGEST)]
"""Pixels of a packed face."""
Jitter = Annotated[Share, Field(lt=0.5)]
"""Of a crop's side."""


def prepare(
    photos: pd.DataFrame,
    folder: Path,
    *,
    card: Card,
    size: tuple[Side, Side] = (48, 48),
    colour: bool = False,
    crop: Crop = "whole",
    margin: Strength = 0.3,
    jitter: Jitter = 0.0,
    eyes: Eyes = "annotated",
    detector: Path | None = None,
    seed: Seed = 0,
    skip_unreadable: bool = False,
    renew: bool = False,
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
    points closest to `TEMPLATE`, scaled to the height of `size`. Where a crop leaves the photo, the photo's edge is
    repeated.

    eyes "annotated" must be given for every photo, inside it, and refer to the pixels as stored; "detected" come from
    the detector, after a photo's EXIF orientation is applied; "none" leaves them out.

    A photo without a detected face is refused and listed in the manifest. Unreadable photos and wrong annotations are
    an `InputError` that names all of them, because a data set that shrinks silently is a lie; what was prepared stays,
    and is used when they are replaced. skip_unreadable: leave them out instead, and list them.

    If the folder is whole and of the same photos, byte for byte, and settings, nothing is done; one of others, or that
    is not what was written, is an `InputError`. renew: it is made again instead. One preparation at a time works on a
    folder; another is refused.
    """
    weights = detector if eyes == "detected" or crop in ("box", "align") else None
    checksum = None if weights is None else weights_sum(weights)
    settings = Settings((int(size[0]), int(size[1])), colour, crop, margin, jitter, eyes, seed, checksum)
    check_settings(settings)
    check_photos(photos, annotated=eyes == "annotated")
    photos = photos.reset_index(drop=True)
    make_folder(folder.parent)
    with exclusive(
        folder.with_name(folder.name + ".lock"),
        f"another `efface prepare` is at work on {folder}: wait for it, or give another folder",
    ):
        work = Work(photos, digests(photos["path"].tolist()), settings, card)
        if not _finished(folder, work.signature, renew):
            _make(folder, work, weights, skip_unreadable, progress)
        done = summary(folder)
    if not skip_unreadable:
        refuse_unusable(done.unreadable, len(photos), WAY_OUT)
    left_out = photos.attrs.get("left_out", {})
    return replace(done, left_out=left_out, warning=spelling_warning(photos["person"].astype(str).unique()))


@dataclass(frozen=True)
class Work:
    """Photos to prepare, and all that decides what becomes of them."""

    photos: pd.DataFrame
    digests: list[str]
    """sha256 of the bytes of each, "" for one that cannot be opened."""
    settings: Settings
    card: Card

    @property
    def signature(self) -> str:
        """A checksum of all that decides the result: settings, labels, and the content of every file, wherever it
        lies."""
        labels = self.photos.drop(columns="path").assign(sha256=self.digests).to_csv(index=False)
        head = json.dumps([asdict(self.settings), self.card.name, *self.settings.version])
        return hashlib.sha256((head + labels).encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def marks(self) -> NDArray[np.float64] | None:
        """(n, 4) annotated `EYES`; None where they are not asked for."""
        return self.photos[EYES].to_numpy(dtype=float) if self.settings.eyes == "annotated" else None

    def chunks(self) -> dict[str, slice]:
        """Rows of the photos of each chunk by its name, which says what is in it.

        Where a chunk ends follows from the keys, so that a photo more or less changes its own chunk alone.
        """
        keys = self.photos["key"].astype(str).tolist()
        most = max(1, min(CHUNK, CHUNK_BYTES // math.prod(self.settings.shape)))
        starts = [0]
        for place, key in enumerate(keys):
            if place > starts[-1] and (zlib.crc32(key.encode()) % most == 0 or place - starts[-1] == 2 * most):
                starts.append(place)
        rows = [slice(start, end) for start, end in zip(starts, [*starts[1:], len(keys)], strict=True)]
        marks = np.zeros((len(keys), 0)) if self.marks is None else self.marks
        head = json.dumps([asdict(self.settings), *self.settings.version])
        of = [json.dumps([head, keys[some], self.digests[some], marks[some].tolist()]) for some in rows]
        return {hashlib.sha256(one.encode()).hexdigest()[:24]: some for one, some in zip(of, rows, strict=True)}

    def names(self) -> list[str]:
        """The path of each photo below the folder that all of them lie in."""
        paths = [os.path.abspath(path) for path in self.photos["path"]]
        root = os.path.commonpath([os.path.dirname(path) for path in paths])
        return [one_line(os.path.relpath(path, root)) for path in paths]


def summary(folder: Path) -> Prepared:
    """What the manifest of a prepared folder says."""
    manifest = read_manifest(folder)
    counts = {name: manifest[name] for name in ("people", "refused", "several_faces", "unreadable", "left_out")}
    return Prepared(folder, manifest["shape"][0], near_duplicates=manifest["near_duplicates"]["pairs"], **counts)


def _finished(folder: Path, signature: str, renew: bool) -> bool:
    """Whether the folder holds this very work, whole; InputError where it holds another or is damaged, unless that is
    to be made again."""
    if not (folder / MANIFEST).is_file():
        refuse_occupied(folder)
        return False
    try:
        if read_manifest(folder).get("signature") != signature:
            raise InputError(f"{folder} was prepared from other photos or settings: choose another folder or remove it")
        verify_packed(folder)
    except InputError:
        if not renew or {file.name for file in folder.iterdir()} - {IMAGES, LABELS, MANIFEST}:
            raise  # what else stands there is somebody's
        shutil.rmtree(folder)
        return False
    shutil.rmtree(_unfinished(folder), ignore_errors=True)
    return True


def _unfinished(folder: Path) -> Path:
    """Where the chunks of a preparation are kept until all are there."""
    return folder.with_name(folder.name + ".partial")


def _make(folder: Path, work: Work, weights: Path | None, skip_unreadable: bool, progress: Progress) -> None:
    """Prepare every chunk that is not there yet, and put all together."""
    looking: AbstractContextManager[Detector | None] = nullcontext() if weights is None else detecting(weights)
    with looking as network:
        unfinished = make_folder(_unfinished(folder))
        chunks = {unfinished / f"chunk-{name}.npz": rows for name, rows in work.chunks().items()}
        _refuse_without_room(unfinished, work)
        bad = _fill(chunks, work, network, progress)
    if bad and not skip_unreadable:
        listed = unfinished / "unreadable.txt"
        write_text(listed, "".join(f"{name}\t{reason}\n" for name, reason in bad.items()))
        refuse_unusable(bad, len(work.photos), WAY_OUT + (f"; all stand in {listed}" if len(bad) > MANY else ""))
    _assemble(list(chunks), folder, work)
    shutil.rmtree(unfinished)


def _refuse_without_room(unfinished: Path, work: Work) -> None:
    """Raise `InputError` where the disk has no room for all faces, in chunks and put together."""
    there = sum(file.stat().st_size for file in unfinished.iterdir())
    needed = 2 * len(work.photos) * math.prod(work.settings.shape) - there
    free = shutil.disk_usage(unfinished).free
    if needed > free:
        raise InputError(
            f"{unfinished.parent} has room for {free / 2**20:,.1f} MiB, and {len(work.photos):,} faces take "
            f"{needed / 2**20:,.1f} MiB while they are prepared: make room, or give another folder or a smaller size"
        )


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
    busy = f"another `efface prepare` is at work on {folder}: wait for it, or give another folder"
    make_folder(folder.parent)
    with exclusive(folder.with_name(folder.name + ".lock"), busy), new_folder(folder) as unfinished:
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
    if max(settings.size) > LARGEST:
        raise InputError(f"size {settings.size[0]}x{settings.size[1]} is too large: at most {LARGEST}x{LARGEST}")
    if not 0 <= settings.margin <= WIDEST:
        raise InputError(f"margin {settings.margin} must be from 0 to {WIDEST:g}")
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


def prepare_photo(path: str, key: str, marks: Floats | None, settings: Settings, detector: Detector | None) -> Result:
    """Decode, detect, crop and annotate one photo; `marks` are its annotated `EYES` (4,)."""
    photo = load(Path(path), upright=marks is None)
    eyes = None if marks is None else marks.reshape(2, 2) + 0.5
    if eyes is not None and ((eyes < 0) | (eyes > photo.size)).any():
        given = ", ".join(f"{value:g}" for value in eyes.ravel() - 0.5)
        raise Unusable(f"photo '{key}'", f"is {photo.width}x{photo.height} but has the eyes ({given}), outside of it")
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


def _fill(chunks: Mapping[Path, slice], work: Work, detector: Detector | None, progress: Progress) -> dict[str, str]:
    """Save the results of every chunk that is not there, whole and of readable photos; the reason by name of each photo
    that cannot be used."""
    names, listed = work.names(), list(chunks.items())
    paths, keys = (work.photos[name].astype(str).tolist() for name in ("path", "key"))
    bad: dict[str, str] = {}
    marks: Sequence[Any] = [None] * len(paths) if work.marks is None else work.marks  # type: ignore[assignment]

    def one(row: int) -> Result:
        try:
            return prepare_photo(paths[row], keys[row], marks[row], work.settings, detector)
        except Unusable as error:
            black, unknown = np.zeros(work.settings.shape, np.uint8), np.full(4, np.nan)
            return Result(error.reason, black, unknown, 0, 0, unreadable=True)

    with ThreadPoolExecutor(THREADS) as threads:
        for number in progress(range(len(chunks)), len(chunks)):
            file, rows = listed[number]
            if not _is_done(file):
                results = list(threads.map(one, range(len(paths))[rows]))
                _save(file, results)
                bad |= {
                    name: result.reason for name, result in zip(names[rows], results, strict=True) if result.unreadable
                }
    return bad


def _is_done(file: Path) -> bool:
    """Whether a chunk is there, undamaged, and of photos that all could be read: what was missing may be there now."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as chunk:
            columns = {name: chunk[name] for name in COLUMNS}
        return not columns["unreadable"].any()
    except Exception:  # not there, cut off or damaged
        return False


def _save(file: Path, results: list[Result]) -> None:
    """Write a chunk."""
    with replacing(file) as draft, draft.open("wb") as stream:
        np.savez(
            stream,
            images=np.stack([result.image for result in results])[[not result.reason for result in results]],
            reasons=np.array([result.reason for result in results]),
            eyes=np.array([result.eyes for result in results]),
            looks=np.array([result.look for result in results], dtype=np.uint64),
            faces=np.array([result.faces for result in results]),
            unreadable=np.array([result.unreadable for result in results]),
        )


COLUMNS = ("reasons", "eyes", "looks", "faces", "unreadable", "images")
"""Arrays of a chunk; images are those of the photos without a reason."""


def _assemble(chunks: list[Path], folder: Path, work: Work) -> None:
    """Make the packed folder of the saved chunks, one at a time."""
    photos, settings = work.photos, work.settings
    reasons, eyes, looks, faces, unreadable = (np.concatenate(list(_column(chunks, name))) for name in COLUMNS[:5])
    kept = reasons == ""
    table = photos[kept].drop(columns=["path", *EYES], errors="ignore")
    first = ["key", "person"]
    if settings.eyes != "none":
        table[EYES] = eyes[kept]
        first += EYES
    table = table[first + [column for column in table.columns if column not in first]]
    pairs, examples = near_duplicates(looks[~unreadable], photos[~unreadable])

    def listed(rows: NDArray[np.bool_]) -> dict[str, str]:
        return dict(zip(photos["key"][rows], reasons[rows].tolist(), strict=True))

    about = {
        **{name: getattr(work.card, name) for name in ("name", "title", "licence", "home")},
        "settings": asdict(settings),
        "signature": work.signature,
        "photos": len(photos),
        "refused": listed(~kept & ~unreadable),
        "unreadable": listed(unreadable),
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


def _generator(seed: int, key: str) -> np.random.Generator:
    """The randomness of one photo, whatever stands beside it."""
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")])
