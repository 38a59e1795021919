"""Embeddings and other rows of numbers: made in one piece, gone through in blocks, and as directions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array

BLOCK = 2**22
"""Numbers of a matrix that are looked at together, where the whole of it would grow with the faces."""


class Rows:
    """At most n rows (n, ...) that come batch by batch: memory for all of them is taken once, when the first batch
    shows their shape and type. More than n raise ValueError."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0

    def add(self, batch: Array) -> None:
        """Put the next rows behind the last ones."""
        if not self.count:
            self._rows = np.empty((self.most, *batch.shape[1:]), batch.dtype)
        self._rows[self.count : self.count + len(batch)] = batch
        self.count += len(batch)

    @property
    def given(self) -> Array:
        """(m, ...) all rows so far; ValueError where there are none."""
        if not self.count:
            raise ValueError("no row was given")
        return self._rows[: self.count]


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of the rows of a matrix, each of at most `BLOCK` numbers, or of one row."""
    step = max(1, BLOCK // max(1, columns))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def units(vectors: Array) -> NDArray[np.float32]:
    """(n, d) of length one, however long they were; a vector of length zero stays."""
    found = np.empty(vectors.shape, np.float32)
    for some in blocks(*vectors.shape):
        wide = np.asarray(vectors[some], np.float32)
        wide = wide / np.maximum(np.abs(wide).max(1, keepdims=True, initial=0), 1e-30)  # squares of long ones overflow
        found[some] = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    return found


def sums_of_units(vectors: Array, rows: NDArray[np.int64], of: Array, count: int) -> NDArray[np.float64]:
    """(count, d) sums of the directions of these rows of vectors (n, d), by the number `of` (m,) each row has."""
    sums = np.zeros((count, vectors.shape[1]))
    for some in blocks(len(rows), vectors.shape[1]):
        sums += sums_by(units(vectors[rows[some]]), of[some], count)
    return sums


def sums_by(values: Array, of: Array, count: int) -> NDArray[np.float64]:
    """(count, d) sums of the rows of values (k, d), by the number each row has."""
    return np.stack([np.bincount(of, column, count) for column in values.T], axis=1)
