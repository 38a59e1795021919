"""An index file of faiss whose vectors can be read back and removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from efface.data.faces import Array
from efface.errors import InputError, refusing
from efface.sweep.store import BLOCK, Place, VectorStore, own_file, rewriting


class FaissIndex(VectorStore):
    """`kind = "faiss"`: ids are the index's own, or places where it has none."""

    kind: Literal["faiss"]
    path: Place
    """What `faiss.write_index` wrote."""

    @property
    def compaction(self) -> str:
        """What `compact` does, in words."""
        return "written again by faiss"

    def vectors(self) -> Iterator[tuple[list[str], Array]]:
        """Vectors by id, as the index gives them back (of a quantised one not as they were handed in)."""
        index = self._read()
        inner = self._inner(index)
        ids, places = self._ids(index, inner)
        with refusing(f"store '{self.name}': this kind of index does not give its vectors back"):
            for start in range(0, len(ids), BLOCK):
                block = np.array([inner.reconstruct(one) for one in places[start : start + BLOCK]])
                yield [f"id {one}" for one in ids[start : start + BLOCK]], block

    def remove(self, locations: Sequence[str]) -> None:
        """`remove_ids`, and write the index again."""
        faiss, index = self._faiss(), self._read()
        ids = np.array([int(one.removeprefix("id ")) for one in locations], np.int64)
        with refusing(f"store '{self.name}': this kind of index cannot remove anything: build it anew without them"):
            removed = index.remove_ids(ids)
        if removed != len(ids):
            raise InputError(f"store '{self.name}': {removed} instead of {len(ids)} removed: nothing was written")
        with rewriting(self.path) as part:
            faiss.write_index(index, str(part))

    def files(self) -> list[Path]:
        """The index file."""
        return [self.path]

    def _read(self) -> Any:
        faiss = self._faiss()
        own_file(self.path, f"store '{self.name}':")
        with refusing(f"store '{self.name}': {self.path} is no index that faiss reads"):
            return faiss.read_index(str(self.path))

    def _ids(self, index: Any, inner: Any) -> tuple[list[int], list[int]]:
        """Ids, and by what the index within gives back the vector of each."""
        faiss = self._faiss()
        if isinstance(inner, faiss.IndexIVF):
            inner.set_direct_map_type(faiss.DirectMap.Hashtable)
            lists, sizes = inner.invlists, map(inner.invlists.list_size, range(inner.nlist))
            of_lists = [faiss.rev_swig_ptr(lists.get_ids(one), size) for one, size in enumerate(sizes) if size]
            places = np.concatenate(of_lists).tolist() if of_lists else []
        else:
            places = list(range(inner.ntotal))
        ids = places
        if inner is not index:
            named = faiss.vector_to_array(index.id_map)
            ids = [int(named[one]) for one in places]
        if len(set(ids)) != len(ids):
            raise InputError(f"store '{self.name}': an id stands twice in {self.path}: what it names is not clear")
        return ids, places

    def _inner(self, index: Any) -> Any:
        """The index by places that lies in one by ids."""
        faiss = self._faiss()
        return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap | faiss.IndexIDMap2) else index

    def _faiss(self) -> Any:
        try:
            import faiss
        except ImportError:
            raise InputError(f"store '{self.name}': faiss is missing: pip install 'efface[faiss]'") from None
        return faiss
