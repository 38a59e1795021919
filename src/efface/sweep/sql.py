"""Tables of SQLite and of Postgres with a vector in a column: bytes, a JSON list, an array, or pgvector's type."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from efface.errors import InputError, refusing
from efface.sweep.store import BLOCK, Copy, Identifier, VectorStore, existing


class SqlStore(VectorStore):
    """What both have in common: a table, the column of its key, and the column of vectors."""

    table: Identifier
    id: Identifier = "id"
    vector: Identifier = "embedding"
    dtype: Literal["float32", "float16", "float64"] = "float32"
    """Of vectors that are bytes."""

    def rows(self) -> Iterator[list[tuple[Any, Any]]]:
        """Blocks of (id, what the column of vectors holds)."""
        raise NotImplementedError

    def blocks(self) -> Iterator[tuple[Sequence[str], NDArray[Any]]]:
        for block in self.rows():
            held = [(str(key), vector) for key, cell in block if (vector := self._vector(cell)) is not None]
            for length in sorted({len(vector) for _, vector in held}):
                same = [(key, vector) for key, vector in held if len(vector) == length]
                yield [key for key, _ in same], np.stack([vector for _, vector in same])

    def _vector(self, held: Any) -> NDArray[np.float64] | None:
        """A vector as any of these columns gives it; None for an empty cell."""
        if held is None:
            return None
        with refusing(f"store '{self.name}': column {self.vector} holds what is no vector"):
            if isinstance(held, bytes | memoryview):
                return np.frombuffer(bytes(held), self.dtype).astype(np.float64)
            return np.asarray(json.loads(held) if isinstance(held, str) else held, np.float64)


class SqliteTable(SqlStore):
    """`kind = "sqlite"`: a table of an SQLite file."""

    kind: Literal["sqlite"]
    path: Path

    def check(self, folder: Path) -> None:
        self.path = existing(self.path, folder, self.name)
        next(self.rows(), None)

    def rows(self) -> Iterator[list[tuple[Any, Any]]]:
        with refusing(f"store '{self.name}': {self.path}"), closing(sqlite3.connect(self.path)) as connection:
            cursor = connection.execute(f'SELECT "{self.id}", "{self.vector}" FROM "{self.table}"')
            while block := cursor.fetchmany(BLOCK):
                yield block

    def delete(self, copies: Sequence[Copy]) -> None:
        places = {one.place for one in copies}
        keys = [(key,) for block in self.rows() for key, _ in block if str(key) in places]
        with (
            refusing(f"store '{self.name}': {self.path}"),
            closing(sqlite3.connect(self.path, isolation_level=None)) as connection,
        ):
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(f'DELETE FROM "{self.table}" WHERE "{self.id}" = ?', keys)
            connection.execute("COMMIT")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def files(self) -> list[Path]:
        beside = [self.path.with_name(self.path.name + end) for end in ("-wal", "-journal")]
        return [self.path, *(one for one in beside if one.exists())]


class PostgresTable(SqlStore):
    """`kind = "postgres"`: a table of a Postgres server; dsn_variable names the variable of the environment that holds
    how to reach it, password included."""

    kind: Literal["postgres"]
    dsn_variable: Identifier
    data: Path | None = None
    """The server's folder of data, where this machine can read it; else its bytes are not looked at."""

    def check(self, folder: Path) -> None:
        if self.data is not None:
            self.data = existing(self.data, folder, self.name, is_folder=True)
        if self.dsn_variable not in os.environ:
            raise InputError(f"store '{self.name}': the variable {self.dsn_variable} is not set")
        next(self.rows(), None)

    def rows(self) -> Iterator[list[tuple[Any, Any]]]:
        with self._connection() as connection, connection.cursor(name="efface_sweep") as cursor:
            cursor.execute(f'SELECT "{self.id}", "{self.vector}" FROM "{self.table}"')
            while block := cursor.fetchmany(BLOCK):
                yield block

    def delete(self, copies: Sequence[Copy]) -> None:
        with self._connection() as connection:
            places = [one.place for one in copies]
            connection.execute(f'DELETE FROM "{self.table}" WHERE "{self.id}"::text = ANY(%s)', (places,))
            connection.commit()
            connection.autocommit = True
            connection.execute(f'VACUUM FULL "{self.table}"')
            connection.execute("CHECKPOINT")

    def files(self) -> list[Path]:
        if self.data is None:
            return []
        with refusing(f"store '{self.name}': the files in {self.data} cannot be read"):
            return sorted(one for part in ("base", "pg_wal") for one in (self.data / part).rglob("*") if one.is_file())

    def _connection(self) -> Any:
        try:
            import psycopg
        except ImportError:
            raise InputError("Postgres needs one more package: pip install 'efface[stores]'") from None
        with refusing(f"store '{self.name}': Postgres cannot be reached by {self.dsn_variable}"):
            return psycopg.connect(os.environ[self.dsn_variable])
