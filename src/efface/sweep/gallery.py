"""A gallery as arrays: .npy with what lies beside it, or .npz; rows leave all arrays of as many rows together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import model_validator

from efface.data.faces import Array
from efface.errors import InputError, refusing
from efface.sweep.store import (
    BLOCK,
    Identifier,
    Place,
    Places,
    VectorStore,
    arrays_of,
    kept_rows,
    own_file,
    rewriting,
    row_names,
)


class Gallery(VectorStore):
    """`kind = "arrays"`: vectors as rows."""

    kind: Literal["arrays"]
    path: Place
    """A .npy or .npz."""
    array: Identifier = "vectors"
    """Of a .npz: which array holds the vectors."""
    beside: Places = ()
    """Of a .npy: further .npy files with a row for each vector, names say."""

    @model_validator(mode="after")
    def _known(self) -> Gallery:
        if any(one.suffix != ".npy" for one in self.beside) or self.path.suffix not in (".npy", ".npz"):
            raise ValueError("arrays lie in .npy or .npz files, and beside a .npy lie .npy files")
        return self

    def vectors(self) -> Iterator[tuple[list[str], Array]]:
        """Rows, counted from 0."""
        vectors = self._vectors()
        for start in range(0, len(vectors), BLOCK):
            block = np.array(vectors[start : start + BLOCK])
            yield row_names(start, len(block)), block

    def remove(self, locations: Sequence[str]) -> None:
        """Write the files again without these rows."""
        keep = kept_rows(len(self._vectors()), locations)
        if self.path.suffix == ".npz":
            rest = {name: _without(one, keep) for name, one in arrays_of(self.path)}
            with rewriting(self.path) as part, part.open("wb") as file:
                np.savez_compressed(file, **rest)  # type: ignore[arg-type]
            return
        rewritten = {path: np.array(_array(path)) for path in (*self.beside, self.path)}
        if wrong := [path for path, one in rewritten.items() if one.shape[:1] != keep.shape]:
            raise InputError(
                f"store '{self.name}': {wrong[0]} has not as many rows as {self.path}: nothing was deleted"
            )
        for path, array in rewritten.items():
            with rewriting(path) as part, part.open("wb") as file:
                np.save(file, array[keep], allow_pickle=False)

    def files(self) -> list[Path]:
        """The array files."""
        return [self.path, *self.beside]

    def _vectors(self) -> Array:
        own_file(self.path, f"store '{self.name}':")
        if self.path.suffix == ".npy":
            vectors = _array(self.path)
        else:
            arrays = dict(arrays_of(self.path))
            if self.array not in arrays:
                raise InputError(
                    f"store '{self.name}': {self.path} has no array '{self.array}'; it has {', '.join(sorted(arrays))}"
                )
            vectors = arrays[self.array]
        if vectors.ndim != 2 or vectors.dtype.kind != "f":
            raise InputError(
                f"store '{self.name}': {self.path} holds {vectors.dtype} of shape {vectors.shape}: expected (n, d) "
                "floats"
            )
        return vectors


def _array(path: Path) -> Array:
    with refusing(f"{own_file(path, 'gallery')} is no array that can be read"):
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _without(array: Array, keep: Array) -> Array:
    return array[keep] if array.shape[:1] == keep.shape else array
