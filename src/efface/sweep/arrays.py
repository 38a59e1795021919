"""Galleries of NumPy: an array of embeddings, with whatever stands row by row beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from efface.errors import InputError, refusing
from efface.files import read_lines, replacing
from efface.sweep.store import Copy, VectorStore, existing


class ArrayGallery(VectorStore):
    """`kind = "array"`: a `.npy` of embeddings (n, d), or a `.npz` with one such array and others of n rows.

    beside: files of n rows (`.npy`, or text with a line for each) that lose the same rows.
    """

    kind: Literal["array"]
    path: Path
    beside: tuple[Path, ...] = ()

    def check(self, folder: Path) -> None:
        self.path = existing(self.path, folder, self.name)
        self.beside = tuple(existing(one, folder, self.name) for one in self.beside)
        count = len(self._vectors())
        for one in self.beside:
            if (rows := len(self._rows(one))) != count:
                raise InputError(f"store '{self.name}': {one} has {rows:,} rows, and {self.path} {count:,}")

    def blocks(self) -> Iterator[tuple[Sequence[str], NDArray[Any]]]:
        vectors = self._vectors()
        yield [str(row) for row in range(len(vectors))], vectors

    def delete(self, copies: Sequence[Copy]) -> None:
        kept = np.ones(len(self._vectors()), bool)
        kept[[int(one.place) for one in copies]] = False
        held = self._arrays()
        for path in self.beside:
            rows = self._rows(path)
            with replacing(path, private=True) as part:
                if path.suffix == ".npy":
                    save(part, np.asarray(rows)[kept])
                else:
                    part.write_text("".join(f"{line}\n" for line, one in zip(rows, kept, strict=True) if one), "utf-8")
        cut = {name: one[kept] if one.ndim and len(one) == len(kept) else one for name, one in held.items()}
        with replacing(self.path, private=True) as part:
            if self.path.suffix == ".npz":
                with part.open("wb") as file:
                    np.savez(file, **cut)  # type: ignore[arg-type]
            else:
                save(part, cut[""])

    def files(self) -> list[Path]:
        return [self.path, *self.beside]

    def _arrays(self) -> dict[str, NDArray[Any]]:
        with refusing(f"store '{self.name}': {self.path} cannot be read as arrays"):
            found = np.load(self.path, allow_pickle=False)
            if isinstance(found, np.ndarray):
                return {"": found}
            with found:
                held = {name: found[name] for name in found.files}
            if strange := [name for name, one in held.items() if not isinstance(one, np.ndarray)]:
                raise InputError(f"store '{self.name}': {self.path} cannot be read as arrays ({strange[0]} is none)")
            return held

    def _vectors(self) -> NDArray[Any]:
        held = self._arrays()
        vectors = [one for one in held.values() if one.ndim == 2 and one.dtype.kind == "f"]
        if len(vectors) != 1:
            raise InputError(f"store '{self.name}': {self.path} holds {len(vectors)} arrays of vectors (n, d), not one")
        return vectors[0]

    def _rows(self, path: Path) -> Sequence[Any]:
        if path.suffix == ".npy":
            with refusing(f"store '{self.name}': {path} cannot be read as an array"):
                return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]
        return read_lines(path, f"rows of store '{self.name}'")


def save(path: Path, values: NDArray[Any]) -> None:
    """A `.npy` at this very path."""
    with path.open("wb") as file:
        np.save(file, values)
