"""A collection of Chroma in its local mode: a folder that its client opens without a server."""

from __future__ import annotations

import shutil
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import numpy as np

from efface.data.faces import Array
from efface.errors import InputError, refusing
from efface.sweep.raw import files_of
from efface.sweep.store import Identifier, Place, VectorStore, own_folder

BLOCK = 2000
"""Entries that are asked for at a time, fewer than SQLite binds."""
PARTS = ["embeddings", "metadatas", "documents", "uris"]


class ChromaLocal(VectorStore):
    """`kind = "chroma"`: entries by their ids. Its index only marks deleted vectors and keeps their numbers."""

    kind: Literal["chroma"]
    path: Place
    """The folder."""
    collection: Identifier
    rebuild: bool = False
    """Whether `compact` copies what stays into a new collection of the same name, and removes the old one with its
    index, which Chroma leaves in the folder: only then do deleted vectors go."""

    @property
    def compaction(self) -> str:
        """What `compact` does, in words."""
        return (
            "copied into a new collection, old index removed, VACUUM"
            if self.rebuild
            else "VACUUM, which leaves the index as it is"
        )

    def vectors(self) -> Iterator[tuple[list[str], Array]]:
        """Entries, as the client gives them."""
        with self._opened() as (_, collection):
            for found in _entries(collection, ["embeddings"]):
                yield [f"id {one}" for one in found["ids"]], np.asarray(found["embeddings"], np.float32)

    def remove(self, locations: Sequence[str]) -> None:
        """The collection's `delete`."""
        with self._opened() as (_, collection):
            keys = [one.removeprefix("id ") for one in locations]
            for start in range(0, len(keys), BLOCK):
                collection.delete(ids=keys[start : start + BLOCK])

    def compact(self) -> None:
        """Of deleted entries nothing is left in its SQLite file; in its index only where it is rebuilt."""
        if self.rebuild:
            with self._opened() as (client, old):
                new = client.create_collection(
                    f"{self.collection}-swept",
                    metadata=old.metadata,
                    configuration=old.configuration,
                    embedding_function=None,
                )
                for found in _entries(old, PARTS):
                    new.add(ids=found["ids"], **{name: found[name] for name in PARTS if _is_given(found[name])})
                if new.count() != old.count():
                    raise InputError(f"store '{self.name}': the new collection is not whole; the old one stays")
                client.delete_collection(self.collection)
                new.modify(name=self.collection)
        with closing(sqlite3.connect(self.path / "chroma.sqlite3", isolation_level=None)) as base:
            base.execute("VACUUM")
            base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            known = {key for (key,) in base.execute("SELECT id FROM segments")}
        for folder in self.path.iterdir() if self.rebuild else ():
            if _is_uuid(folder.name) and folder.name not in known and folder.is_dir() and not folder.is_symlink():
                shutil.rmtree(folder)

    def files(self) -> list[Path]:
        """All files of the folder."""
        return files_of(own_folder(self.path, f"store '{self.name}':"))

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        if not (own_folder(self.path, f"store '{self.name}':") / "chroma.sqlite3").is_file():
            raise InputError(f"store '{self.name}': {self.path} is no folder of Chroma")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import chromadb
        except ImportError:
            raise InputError(f"store '{self.name}': Chroma is missing: pip install 'efface[chroma]'") from None
        settings = chromadb.config.Settings(anonymized_telemetry=False)
        with warnings.catch_warnings(), refusing(f"store '{self.name}': Chroma refuses"):
            warnings.simplefilter("ignore")
            opened: Any = chromadb.PersistentClient(path=str(self.path), settings=settings)
            with closing(opened) as client:
                yield client, client.get_collection(self.collection, embedding_function=None)


def _entries(collection: Any, parts: Sequence[str]) -> Iterator[Any]:
    """What a collection holds, block by block."""
    for start in range(0, collection.count(), BLOCK):
        yield collection.get(include=list(parts), limit=BLOCK, offset=start)


def _is_uuid(name: str) -> bool:
    """Whether a folder is named as those of Chroma's indexes."""
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _is_given(part: Any) -> bool:
    return part is not None and not any(one is None for one in part)
