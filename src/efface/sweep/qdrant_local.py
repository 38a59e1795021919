"""A collection of Qdrant in its local mode: a folder that its client opens without a server."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from efface.data.faces import Array
from efface.errors import InputError, refusing
from efface.sweep.raw import files_of
from efface.sweep.store import BLOCK, Identifier, Place, VectorStore, own_folder


class QdrantLocal(VectorStore):
    """`kind = "qdrant"`: points by their ids."""

    kind: Literal["qdrant"]
    path: Place
    """The folder."""
    collection: Identifier
    vector: Identifier | None = None
    """Which of a point's vectors, where they have names."""

    @property
    def compaction(self) -> str:
        """What `compact` does, in words."""
        return "VACUUM of its SQLite files, for which Qdrant has no command"

    def vectors(self) -> Iterator[tuple[list[str], Array]]:
        """Points, in the order in which the client gives them."""
        with self._opened() as client:
            place = None
            while True:
                points, place = client.scroll(
                    self.collection, limit=BLOCK, offset=place, with_payload=False, with_vectors=True
                )
                found = [(one.id, one.vector if self.vector is None else one.vector[self.vector]) for one in points]
                if found:
                    yield [f"point {key}" for key, _ in found], np.array([one for _, one in found], np.float32)
                if place is None:
                    return

    def remove(self, locations: Sequence[str]) -> None:
        """The client's `delete`."""
        keys = [one.removeprefix("point ") for one in locations]
        with self._opened() as client:
            client.delete(self.collection, points_selector=[int(one) if one.isdecimal() else one for one in keys])

    def compact(self) -> None:
        """Local mode keeps points in SQLite, where deleted ones stay until it is compacted."""
        for file in self.files():
            if file.suffix == ".sqlite":
                with closing(sqlite3.connect(file, isolation_level=None)) as base:
                    base.execute("VACUUM")

    def files(self) -> list[Path]:
        """All files of the folder."""
        return files_of(own_folder(self.path, f"store '{self.name}':"))

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            from qdrant_client import QdrantClient
        except ImportError:
            raise InputError(f"store '{self.name}': Qdrant needs its client: pip install 'efface[qdrant]'") from None
        own_folder(self.path, f"store '{self.name}':")
        with warnings.catch_warnings(), refusing(f"store '{self.name}': Qdrant refuses"):
            warnings.simplefilter("ignore")  # that local mode is slow with many points
            with closing(QdrantClient(path=str(self.path))) as client:
                if not client.collection_exists(self.collection):
                    raise InputError(f"store '{self.name}': {self.path} has no collection '{self.collection}'")
                yield client
