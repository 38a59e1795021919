"""Faces in memory: a table of decoded photos, a task's columns of them, and how a request divides them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from efface.data.names import normalised
from efface.errors import InputError
from efface.files import replacing

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

Array = NDArray[Any]

BLOCK = 1024
"""Images that are copied at a time."""
EYES = ["left_x", "left_y", "right_x", "right_y"]
"""Columns of the eye centres, in pixels of the picture they stand beside. Left is the *subject's* left, so
`left_x > right_x` on an upright face seen from the front (BioID's order); most other sources order eyes by
image position and are swapped by their readers. The centre of the top-left pixel is (0, 0)."""


@dataclass(frozen=True)
class FaceTable:
    """Decoded photos and everything known of each: what a dataset hands over.

    images: (n, c, h, w) uint8, memory-mapped when they come from disk; c is 1 (grey) or 3 (RGB).
    table: n rows; always `key` (unique) and `person`; as known `EYES` and the dataset's own columns. People, groups and
    all other texts are under one spelling each (`efface.data.names`), however they are handed in.
    """

    images: Array
    table: pd.DataFrame

    def __post_init__(self) -> None:
        if len(self.images) != len(self.table):
            raise InputError(f"{len(self.images)} images but {len(self.table)} rows of labels: they must be equal")
        for column in ("key", "person"):
            if column not in self.table:
                raise InputError(f"a face table needs a column '{column}'; it has {', '.join(self.table.columns)}")
        twice = self.table["key"][self.table["key"].duplicated()]
        if len(twice):
            raise InputError(
                f"key '{twice.iloc[0]}' stands {int((self.table['key'] == twice.iloc[0]).sum())} times: "
                "keys must be unique"
            )
        object.__setattr__(self, "table", normalised(self.table))

    def __len__(self) -> int:
        return len(self.table)


@dataclass(frozen=True)
class Images:
    """Some rows of a larger array of images; nothing is read before it is asked for."""

    store: Array
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Array:
        picked: Array = np.asarray(self.store[self.rows[index]])
        return picked

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, c, h, w)."""
        _, channels, height, width = self.store.shape
        return len(self.rows), channels, height, width


@dataclass(frozen=True)
class Faces:
    """Columns of one length n; `faces[rows]` is Faces again."""

    images: Images
    targets: Array
    """What the task predicts: eyes (n, 2, 2) float32 pixels, subject's left eye first, x before y; recognition (n,)
    int64, the number of a trained person, -1 for everybody else."""
    identities: Array
    """(n,) str: whose face. Forgetting is about people, not files."""
    groups: Array
    """(n,) str: demographic group, "" where unknown."""
    keys: Array
    """(n,) str: stable, unique names."""
    traits: Array | None = None
    """(n, t) str: what else is known of each face, for intersections with the group; no method looks at it."""
    weights: Array | None = None
    """(n,) how often each face is drawn, relative to the others, in a pass over these faces; None: each once."""
    pictures: Array | None = None
    """(n,) int64: the same number for identical pixels, -1 where nobody looked; no method looks at it."""

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, rows: Any) -> Faces:
        rest = {name: column[rows] for name, column in self.columns().items()}
        return replace(self, images=Images(self.images.store, self.images.rows[rows]), **rest)

    def columns(self) -> dict[str, Array]:
        """Every column that there is, but for the images."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "images"}
        return {name: column for name, column in named.items() if column is not None}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return self.images.shape[1:]


def together(first: Faces, second: Faces) -> Faces:
    """Both parts of one gathering as Faces again, in the order they were gathered in."""
    if first.images.store is not second.images.store:
        raise ValueError("faces of two gatherings cannot be put together")
    others = second.columns()
    columns = {name: np.concatenate([column, others[name]]) for name, column in first.columns().items()}
    rows = np.concatenate([first.images.rows, second.images.rows])
    return Faces(images=Images(first.images.store, rows), **columns)[np.argsort(rows)]


def written_once(parts: Sequence[Faces], path: Path) -> Array:
    """(n, c, h, w) the images of all parts in one file, mapped."""
    shape = (sum(map(len, parts)), *parts[0].shape)
    if not _holds(path, shape):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, private=True) as part:
            store = np.lib.format.open_memmap(part, "w+", np.uint8, shape)
            start = 0
            for faces in parts:
                for first in range(0, len(faces), BLOCK):
                    some = faces.images[first : first + BLOCK]
                    store[start : start + len(some)] = some
                    start += len(some)
            store.flush()
    mapped: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def _holds(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether a file holds images of this shape."""
    if not path.exists():
        return False
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError):
        return False
    return bool(found.shape == shape and found.dtype == np.uint8)


def joined(parts: Sequence[Faces], path: Path | None = None) -> Faces:
    """All faces as one. Images of several sources of which one lies on disk are written to `path` (.npy), unless they
    stand there, and mapped from it, so that many processes share them; without a path they are read into memory."""
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {
        name: np.concatenate([faces.columns()[name] for faces in parts]) for name in parts[0].columns()
    }
    if path is None or not any(isinstance(faces.images.store, np.memmap) for faces in parts):
        store = np.concatenate([faces.images[:] for faces in parts])
    else:
        store = written_once(parts, path)
    return Faces(images=Images(store, np.arange(len(store))), **columns)


@dataclass(frozen=True)
class TeacherModel:
    """A network trained on a part of the people, or on others: what it says of those whom it never met is what a model
    says that was retrained without them."""

    people: frozenset[str]
    """Everybody that it was trained on."""
    load: Callable[[], nn.Module]
    """A copy of it, frozen and in evaluation mode; read when it is asked for."""

    def never_met(self, faces: Faces) -> NDArray[np.bool_]:
        """(n,) whether a face is of nobody that it was trained on."""
        return ~np.isin(faces.identities, list(self.people))


@dataclass(frozen=True)
class MethodData:
    """All that a method may see. Nothing an audit uses is in it."""

    forget: Faces
    retain: Faces
    public: Faces
    """People nobody trained on, free to use."""
    earlier: Faces | None = None
    """Of a request in rounds: who was asked to be forgotten before."""
    original: nn.Module | None = None
    """The model before any stage, to learn from: a copy, in evaluation mode. None: the model that is handed over."""
    checkpoints: Mapping[int, Mapping[str, Tensor]] = field(default_factory=dict)
    """The original's weights after these epochs of its own training; none where nobody kept any."""
    teachers: tuple[TeacherModel, ...] = ()
    """Models that never met some of these people, for a method that learns from such."""
    directions: Mapping[str, Array] = field(default_factory=dict)
    """What a head that goes with the model holds of forgotten people, by name: the direction (d,) that it expects of
    their embeddings."""

    @property
    def gone(self) -> Faces:
        """All that were asked to be forgotten so far."""
        return self.forget if self.earlier is None else together(self.earlier, self.forget)


@dataclass(frozen=True)
class Splits:
    """How a request divides the faces. Keys are disjoint, and no person stands in two of the untrained splits
    or in an untrained split and the training set."""

    forget: Faces
    forget_unseen: Faces
    """Photos of the same kind as `forget`, of people the original was trained on, that no model is trained on."""
    retain: Faces
    retain_unseen: Faces
    public: Faces
    val: Faces
    strangers: Faces
    test: Faces

    @property
    def data(self) -> MethodData:
        """What a method is handed."""
        return MethodData(self.forget, self.retain, self.public)

    def items(self) -> list[tuple[str, Faces]]:
        """(name, faces) of each split."""
        return [(f.name, getattr(self, f.name)) for f in fields(self)]
