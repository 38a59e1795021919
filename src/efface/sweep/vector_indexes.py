"""Vector indexes: files of FAISS, and Qdrant and Chroma in their local modes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from efface.errors import InputError, refusing
from efface.files import replacing
from efface.sweep.store import BLOCK, Copy, Name, VectorStore, existing

EXTRA = "pip install 'efface[stores]'"


class FaissIndex(VectorStore):
    """`kind = "faiss"`: an index file whose vectors can be read back (flat, or with ids around a flat one).

    Without ids of its own an index counts rows: after a deletion the later ones move up, and what stands beside it must
    lose the same rows.
    """

    kind: Literal["faiss"]
    path: Path

    def check(self, folder: Path) -> None:
        self.path = existing(self.path, folder, self.name)
        next(self.blocks(), None)

    def delete(self, copies: Sequence[Copy]) -> None:
        faiss, index = self._opened()
        gone = np.array([int(one.place) for one in copies], np.int64)
        with refusing(f"store '{self.name}': an index of kind {type(index).__name__} deletes nothing: build it anew"):
            index.remove_ids(gone)
        with replacing(self.path, private=True) as part:
            faiss.write_index(index, str(part))

    def files(self) -> list[Path]:
        return [self.path]

    def blocks(self) -> Iterator[tuple[Sequence[str], NDArray[Any]]]:
        faiss, index = self._opened()
        inner = faiss.downcast_index(index.index) if hasattr(index, "id_map") else index
        keys = faiss.vector_to_array(index.id_map) if hasattr(index, "id_map") else np.arange(index.ntotal)
        for start in range(0, len(keys), BLOCK):
            count = min(BLOCK, len(keys) - start)
            kind = type(inner).__name__
            with refusing(f"store '{self.name}': vectors of an index of kind {kind} cannot be read back"):
                vectors = inner.reconstruct_n(start, count)
            yield [str(key) for key in keys[start : start + count].tolist()], vectors

    def _opened(self) -> tuple[Any, Any]:
        try:
            import faiss
        except ImportError:
            raise InputError("FAISS needs one more package: pip install 'efface[faiss]'") from None
        with refusing(f"store '{self.name}': {self.path} is no index of FAISS"):
            return faiss, faiss.read_index(str(self.path))


class QdrantCollection(VectorStore):
    """`kind = "qdrant"`: a collection of Qdrant's local mode, which keeps it in a folder."""

    kind: Literal["qdrant"]
    path: Path
    collection: Name

    def check(self, folder: Path) -> None:
        self.path = existing(self.path, folder, self.name, is_folder=True)
        next(self.blocks(), None)

    def delete(self, copies: Sequence[Copy]) -> None:
        keys = [int(one.place) if one.place.isdigit() else one.place for one in copies]
        client = self._client()
        try:
            client.delete(self.collection, points_selector=keys, wait=True)
        finally:
            client.close()

    def files(self) -> list[Path]:
        return sorted(one for one in self.path.rglob("*") if one.is_file() and not one.is_symlink())

    def blocks(self) -> Iterator[tuple[Sequence[str], NDArray[Any]]]:
        client = self._client()
        try:
            after: Any = None
            while True:
                with refusing(f"store '{self.name}': collection {self.collection} cannot be read"):
                    points, after = client.scroll(
                        self.collection, limit=BLOCK, offset=after, with_vectors=True, with_payload=False
                    )
                known = [one for one in points if isinstance(one.vector, list)]
                if known:
                    yield [str(one.id) for one in known], np.array([one.vector for one in known], np.float32)
                if after is None:
                    return
        finally:
            client.close()

    def _client(self) -> Any:
        try:
            from qdrant_client import QdrantClient
        except ImportError:
            raise InputError(f"Qdrant needs one more package: {EXTRA}") from None
        with refusing(f"store '{self.name}': {self.path} cannot be opened by Qdrant"):
            return QdrantClient(path=str(self.path))


class ChromaCollection(VectorStore):
    """`kind = "chroma"`: a collection of Chroma's local mode, which keeps it in a folder."""

    kind: Literal["chroma"]
    path: Path
    collection: Name

    def check(self, folder: Path) -> None:
        self.path = existing(self.path, folder, self.name, is_folder=True)
        next(self.blocks(), None)

    def delete(self, copies: Sequence[Copy]) -> None:
        self._collection().delete(ids=[one.place for one in copies])

    def files(self) -> list[Path]:
        return sorted(one for one in self.path.rglob("*") if one.is_file() and not one.is_symlink())

    def blocks(self) -> Iterator[tuple[Sequence[str], NDArray[Any]]]:
        collection, start = self._collection(), 0
        while True:
            with refusing(f"store '{self.name}': collection {self.collection} cannot be read"):
                page = collection.get(limit=BLOCK, offset=start, include=["embeddings"])
            if not page["ids"]:
                return
            yield list(page["ids"]), np.asarray(page["embeddings"], np.float32)
            start += len(page["ids"])

    def _collection(self) -> Any:
        try:
            import chromadb
            from chromadb.config import Settings
        except ImportError:
            raise InputError(f"Chroma needs one more package: {EXTRA}") from None
        with refusing(f"store '{self.name}': {self.path} has no collection {self.collection} of Chroma"):
            settings = Settings(anonymized_telemetry=False)
            return chromadb.PersistentClient(str(self.path), settings).get_collection(self.collection)
