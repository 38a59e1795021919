"""Embeddings and other rows of numbers: made in one piece, gone through in blocks, and as directions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.files import disk_errors

IN_MEMORY = 2**28
"""Bytes of rows that are kept in memory rather than in a file."""
BLOCK = 2**22
"""Numbers of a matrix that are looked at together, where the whole of it would grow with the faces."""


class Rows:
    """At most n rows (n, ...) that come batch by batch; more, or any after `given` was asked, raise ValueError.

    Where all of them would take more than `IN_MEMORY` bytes, or `on_disk` says so, they are written to a file without a
    name, which goes with the last reference to them, and mapped: memory does not grow with their number. They are
    written before they are mapped: a disk that is full would answer a map only by ending the process.
    """

    def __init__(self, most: int, *, on_disk: bool = False) -> None:
        self.most = most
        self.count = 0
        self._on_disk = on_disk
        self._file: IO[bytes] | None = None

    def add(self, batch: Array) -> None:
        """Put the next rows behind the last ones."""
        if not self.count:
            self._shape, self._kind = batch.shape[1:], batch.dtype
            if self._on_disk or self.most * batch[:1].nbytes > IN_MEMORY:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115
            else:
                self._rows = np.empty((self.most, *self._shape), self._kind)
        end = self.count + len(batch)
        if end > self.most or batch.shape[1:] != self._shape:
            raise ValueError(f"rows {self.count} to {end} of {batch.shape[1:]}: expected {self.most} of {self._shape}")
        if self._file is None:
            self._rows[self.count : end] = batch
        else:
            with disk_errors(Path(tempfile.gettempdir())):
                self._file.write(np.ascontiguousarray(batch, self._kind).data)
        self.count = end

    @property
    def given(self) -> Array:
        """(m, ...) all rows so far; ValueError where there are none."""
        if not self.count:
            raise ValueError("no row was given")
        if self._file is not None:
            with disk_errors(Path(tempfile.gettempdir())):
                self._file.flush()
            self._rows = np.memmap(self._file, self._kind, "r+", shape=(self.count, *self._shape))
            self._closed()
        self.most = self.count
        return self._rows[: self.count]

    def _closed(self) -> None:
        """The file is no longer needed: what is mapped stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    __del__ = _closed


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of the rows of a matrix, each of at most `BLOCK` numbers, or of one row."""
    step = max(1, BLOCK // max(1, columns))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def units(vectors: Array) -> NDArray[np.float32]:
    """(n, d) of length one, however long they were; a vector of length zero stays."""
    if not len(vectors):
        return np.empty(vectors.shape, np.float32)
    found = Rows(len(vectors))
    for some in blocks(*vectors.shape):
        wide = np.asarray(vectors[some], np.float32)
        wide = wide / np.maximum(np.abs(wide).max(1, keepdims=True, initial=0), 1e-30)  # squares of long ones overflow
        found.add(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12))
    return found.given


def sums_of_units(vectors: Array, rows: NDArray[np.int64], of: Array, count: int) -> NDArray[np.float64]:
    """(count, d) sums of the directions of these rows of vectors (n, d), by the number `of` (m,) each row has."""
    sums = np.zeros((count, vectors.shape[1]))
    for some in blocks(len(rows), vectors.shape[1]):
        sums += sums_by(units(vectors[rows[some]]), of[some], count)
    return sums


def sums_by(values: Array, of: Array, count: int) -> NDArray[np.float64]:
    """(count, d) sums of the rows of values (k, d), by the number each row has."""
    return np.stack([np.bincount(of, column, count) for column in values.T], axis=1)
