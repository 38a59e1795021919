"""A table of an SQLite file with a vector in each row, as bytes or as JSON."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from efface.data.faces import Array
from efface.errors import InputError
from efface.sweep.store import BLOCK, Copy, Identifier, Numbers, Place, VectorStore, digest_of, own_file


class SqliteTable(VectorStore):
    """`kind = "sqlite"`: rows leave in one transaction."""

    kind: Literal["sqlite"]
    path: Place
    """The database file."""
    table: Identifier
    column: Identifier
    """Of the vectors."""
    numbers: Numbers = "float32"
    """What the bytes of a vector are; JSON is read as JSON."""

    @property
    def compaction(self) -> str:
        """What `compact` does, in words."""
        return "VACUUM and the write-ahead log emptied"

    def vectors(self) -> Iterator[tuple[list[str], Array]]:
        """Rows by their rowid."""
        with self._opened(change=False) as base:
            yield from self._blocks(base)

    def delete(self, copies: Sequence[Copy]) -> None:
        """All of them or none."""
        with self._opened() as base:
            base.execute("BEGIN IMMEDIATE")
            wanted = {one.location for one in copies}
            now = {
                place: digest_of(row)
                for places, block in self._blocks(base)
                for place, row in zip(places, block, strict=True)
                if place in wanted
            }
            self.refuse_changed(copies, now)
            keys = [(int(one.location.removeprefix("rowid ")),) for one in copies]
            base.executemany(f"DELETE FROM {quoted(self.table)} WHERE rowid = ?", keys)
            base.execute("COMMIT")

    def remove(self, locations: Sequence[str]) -> None:
        """Never by itself: `delete` checks and removes in one transaction."""
        raise NotImplementedError

    def compact(self) -> None:
        """VACUUM; of a write-ahead log nothing is left."""
        with self._opened() as base:
            base.execute("VACUUM")
            base.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def files(self) -> list[Path]:
        """The database, its write-ahead log and its journal."""
        return [self.path, *(self.path.with_name(self.path.name + end) for end in ("-wal", "-shm", "-journal"))]

    @contextmanager
    def _opened(self, *, change: bool = True) -> Iterator[sqlite3.Connection]:
        file = own_file(self.path, f"store '{self.name}':").absolute().as_uri()
        try:
            with closing(
                sqlite3.connect(f"{file}?mode={'rw' if change else 'ro'}", uri=True, isolation_level=None, timeout=10)
            ) as base:
                yield base
        except sqlite3.Error as error:
            raise InputError(f"store '{self.name}': {self.path} answers: {error}") from None

    def _blocks(self, base: sqlite3.Connection) -> Iterator[tuple[list[str], Array]]:
        known = [row[0] for row in base.execute("SELECT name FROM pragma_table_info(?)", (self.table,))]
        if self.column not in known:
            raise InputError(
                f"store '{self.name}': {self.path} has no column '{self.column}' in a table '{self.table}'"
            )
        column, table = quoted(self.column), quoted(self.table)
        rows = base.execute(f"SELECT rowid, {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY rowid")
        while many := rows.fetchmany(BLOCK):
            block = [self._vector(cell) for _, cell in many]
            if len({len(one) for one in block}) > 1:
                raise InputError(f"store '{self.name}': vectors of several lengths in column '{self.column}'")
            yield [f"rowid {key}" for key, _ in many], np.array(block)

    def _vector(self, cell: Any) -> Array:
        try:
            if isinstance(cell, bytes):
                return np.frombuffer(cell, np.dtype(self.numbers).newbyteorder("<"))
            return np.array(json.loads(cell), np.float64)
        except (ValueError, TypeError):
            raise InputError(
                f"store '{self.name}': column '{self.column}' holds what is neither {self.numbers} nor JSON"
            ) from None


def quoted(name: str) -> str:
    """A name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'
