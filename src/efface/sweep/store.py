"""What a store is to a sweep: it is searched, copies are deleted from it, it is compacted, and its files are read."""

from __future__ import annotations

import hashlib
import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from efface.data.faces import Array
from efface.erasure.record import Store as Holding
from efface.erasure.record import Text
from efface.errors import InputError, refusing
from efface.files import LARGEST, replacing
from efface.sweep.person import Person, suggested
from efface.sweep.raw import Forms, vector_forms

BLOCK = 8192
"""Vectors in memory at a time."""
Place = Annotated[Path, Field(strict=False)]
"""A file or folder; in stores.toml from where that lies."""
Identifier = Annotated[str, Field(min_length=1, max_length=200)]
"""The name of a table, a column or a collection."""
Numbers = Literal["float16", "float32", "float64"]


@dataclass(frozen=True)
class Copy:
    """One thing in a store that may be of the person."""

    store: str
    location: str
    """Where in the store: a row, a key, a file below its folder."""
    score: float
    suggested: str
    digest: str
    """SHA-256 of what stands there: it is deleted only as long as it is the same."""
    forms: Forms = field(repr=False)
    """What its bytes look like."""


@dataclass(frozen=True)
class Searched:
    """What a search found, best first."""

    copies: list[Copy]
    entries: int
    """Looked through."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """Why something could not be looked at, by its place."""


class Store(BaseModel, ABC):
    """A place where data of people lie, as stores.toml has it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())

    name: Text
    """As the record calls it; never the name of a person."""
    holds: Holding = "gallery"
    """What lies there, in the words of the record."""
    backups_expire: date | None = None
    """When the last backup of it that holds the person is gone."""

    @property
    def compaction(self) -> str:
        """What deleting and `compact` do to the files, in words."""
        return "written again"

    @abstractmethod
    def search(self, person: Person) -> Searched:
        """What may be of the person."""

    @abstractmethod
    def delete(self, copies: Sequence[Copy]) -> None:
        """Delete copies through the store's own interface. Raises InputError, before anything is deleted, where one is
        not what was found."""

    def compact(self) -> None:
        """Have the store give up the room of what was deleted."""

    @abstractmethod
    def files(self) -> list[Path]:
        """The files in which it keeps what it holds."""

    def roots(self) -> list[Path]:
        """Files or folders that are its own."""
        return [place for name, place in self if name == "path" and isinstance(place, Path)]

    def refuse_changed(self, copies: Sequence[Copy], now: Mapping[str, str]) -> None:
        """Raise InputError unless each copy still is what was found; now: digests by location."""
        for one in copies:
            if now.get(one.location) != one.digest:
                raise InputError(
                    f"store '{self.name}': {one.location} is not what was found there: nothing was deleted from it; "
                    "sweep again without --apply"
                )


class VectorStore(Store):
    """A store of vectors, each under a location of its own."""

    @abstractmethod
    def vectors(self) -> Iterator[tuple[list[str], Array]]:
        """Locations and vectors (b, d), block by block."""

    def search(self, person: Person) -> Searched:
        """Vectors that score as the person's may."""
        scores = [person.scores(block, self.name) for _, block in self.vectors()]
        every = np.concatenate(scores) if scores else np.zeros(0)
        limits = person.limits(every)
        copies = []
        for (places, block), of_block in zip(self.vectors(), scores, strict=False):
            for row in np.flatnonzero(of_block >= min(limits.no, 0.999)).tolist():
                score = float(of_block[row])
                word = suggested(score, limits)
                copies.append(
                    Copy(self.name, places[row], score, word, digest_of(block[row]), vector_forms(block[row]))
                )
        return Searched(sorted(copies, key=lambda one: -one.score), len(every))

    def delete(self, copies: Sequence[Copy]) -> None:
        """All of them or none."""
        wanted = {one.location for one in copies}
        now = {
            place: digest_of(row)
            for places, block in self.vectors()
            for place, row in zip(places, block, strict=True)
            if place in wanted
        }
        self.refuse_changed(copies, now)
        self.remove([one.location for one in copies])

    @abstractmethod
    def remove(self, locations: Sequence[str]) -> None:
        """Remove what stands at these locations."""


def digest_of(vector: Array) -> str:
    """SHA-256 of a vector's numbers as they are stored."""
    return hashlib.sha256(np.ascontiguousarray(vector).tobytes()).hexdigest()


def own_file(path: Path, what: str) -> Path:
    """The path, where a file stands there itself. Raises InputError for a link and for what is no file."""
    if path.is_symlink():
        raise InputError(f"{what} {path} is a link: name the file itself")
    if not path.is_file():
        raise InputError(f"{what} {path} {'is no file' if path.exists() else 'does not exist'}")
    return path


def own_folder(path: Path, what: str) -> Path:
    """The path, where a folder stands there itself. Raises InputError for a link and for what is no folder."""
    if path.is_symlink():
        raise InputError(f"{what} {path} is a link: name the folder itself")
    if not path.is_dir():
        raise InputError(f"{what} {path} {'is no folder' if path.exists() else 'does not exist'}")
    return path


@contextmanager
def rewriting(path: Path) -> Iterator[Path]:
    """A path to write to that takes the place of a file at the end, with its permissions and its owner."""
    about = path.stat()
    with replacing(path, private=True) as part:
        yield part
        with suppress(PermissionError, AttributeError):  # only root gives files away, and not on every system
            os.chown(part, about.st_uid, about.st_gid)
        part.chmod(about.st_mode & 0o7777)


def kept_rows(count: int, locations: Sequence[str]) -> Array:
    """(count,) bool: which rows stay where those called "row 7" go."""
    keep = np.ones(count, bool)
    keep[[int(one.removeprefix("row ")) for one in locations]] = False
    return keep


def row_names(start: int, count: int) -> list[str]:
    """Locations of rows, counted from 0."""
    return [f"row {number}" for number in range(start, start + count)]


def arrays_of(path: Path) -> Iterator[tuple[str, Array]]:
    """The arrays of a .npz, one after the other. Raises InputError for one that cannot be read or unpacks to more than
    `LARGEST` bytes."""
    with refusing(f"{path} is no .npz that can be read"):
        with zipfile.ZipFile(path) as parts:
            if (size := sum(part.file_size for part in parts.infolist())) > LARGEST:
                raise InputError(f"{path} unpacks to {size:,} bytes: expected at most {LARGEST:,}")
        with np.load(path, allow_pickle=False) as saved:
            for name in saved.files:
                yield name, saved[name]


def listed(given: object) -> object:
    """A list as the tuple that a frozen store keeps."""
    return tuple(given) if isinstance(given, list) else given


Places = Annotated[tuple[Place, ...], BeforeValidator(listed)]
Names = Annotated[tuple[Identifier, ...], BeforeValidator(listed)]
