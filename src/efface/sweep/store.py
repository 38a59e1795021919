"""What every kind of store can do, and the vectors that most of them hold."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, StringConstraints

from efface.data.vectors import units
from efface.erasure.embedding import Embedder
from efface.errors import InputError
from efface.sweep.raw import of_vector

Vectors = NDArray[np.float32]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
"""Of a table or column: nothing that SQL would read as more than a name."""
BLOCK = 4096
"""Vectors looked at at once."""


@dataclass(frozen=True)
class Wanted:
    """The person who is looked for."""

    vectors: Vectors
    """(m, d) embeddings of the examples, of length one."""
    looks: tuple[int, ...]
    """Difference hashes of the examples and of their mirror images."""
    embedder: Embedder
    """What made them."""
    threshold: float
    """The cosine to the nearest example from which on a vector or photo is reported."""


@dataclass(frozen=True)
class Copy:
    """One place where the person was found."""

    place: str
    """What the store itself calls it: a path, a row, an id."""
    kind: Literal["photo", "vector"]
    score: float
    """Cosine to the nearest example; NaN for a copy of a photo that shows no face to the model."""
    digest: str
    """SHA-256 of the photo's file or of the vector's bytes: what is deleted later must still be this."""


class Store(BaseModel, ABC):
    """One place where faces lie, as `[[store]]` describes it. A kind of store is a subclass in a file of its own."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    """What the record calls it; it names nobody."""
    kind: str
    backups_expire: date | None = None
    """The day on which the last backup of it is gone, if there are any."""

    @abstractmethod
    def check(self, folder: Path) -> None:
        """Make paths whole, which are relative to the folder of the stores file, and see that all is there."""

    @abstractmethod
    def search(self, wanted: Wanted) -> Iterator[Copy]:
        """Everything of the person."""

    @abstractmethod
    def everything(self) -> Iterator[Copy]:
        """All that it holds, whoever it is of; without scores."""

    @abstractmethod
    def needles(self, copies: Sequence[Copy]) -> dict[str, list[bytes]]:
        """By place what the raw bytes of a copy hold (`raw.py`); to be called before they are deleted."""

    @abstractmethod
    def delete(self, copies: Sequence[Copy]) -> None:
        """Delete through the store's own interface, and compact."""

    @abstractmethod
    def files(self) -> list[Path]:
        """Where the store keeps its bytes on this machine."""


class VectorStore(Store):
    """A store of vectors: it says how they are read, and how some are deleted."""

    @abstractmethod
    def blocks(self) -> Iterator[tuple[Sequence[str], NDArray[Any]]]:
        """Places (b,) and their vectors (b, d), block by block."""

    def search(self, wanted: Wanted) -> Iterator[Copy]:
        for places, vectors in self.blocks():
            yield from near(places, vectors, wanted)

    def everything(self) -> Iterator[Copy]:
        for places, vectors in self.blocks():
            for place, vector in zip(places, vectors, strict=True):
                yield Copy(place, "vector", float("nan"), digest_of(vector))

    def needles(self, copies: Sequence[Copy]) -> dict[str, list[bytes]]:
        wanted = {one.place for one in copies}
        return {
            place: of_vector(vector)
            for places, vectors in self.blocks()
            for place, vector in zip(places, vectors, strict=True)
            if place in wanted
        }


def existing(path: Path, folder: Path, store: str, *, is_folder: bool = False) -> Path:
    """A path of a stores file made whole; InputError where nothing, or a link, stands there."""
    whole = path if path.is_absolute() else folder / path
    if whole.is_symlink() or not (whole.is_dir() if is_folder else whole.is_file()):
        what = "folder" if is_folder else "file"
        raise InputError(f"store '{store}': {whole} is no {what}: give the path of one that is there, no link")
    return whole


def near(places: Sequence[str], vectors: NDArray[Any], wanted: Wanted) -> Iterator[Copy]:
    """Those of some vectors (n, d) that are near the person; none of another length."""
    if vectors.ndim != 2 or vectors.shape[1] != wanted.vectors.shape[1]:
        return
    scores = (units(vectors.astype(np.float32)) @ wanted.vectors.T).max(1)
    for row in np.flatnonzero(scores >= wanted.threshold).tolist():
        yield Copy(places[row], "vector", float(scores[row]), digest_of(vectors[row]))


def digest_of(vector: NDArray[Any]) -> str:
    """SHA-256 of a vector's bytes as float32."""
    return hashlib.sha256(np.ascontiguousarray(vector, np.float32).tobytes()).hexdigest()
