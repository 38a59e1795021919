"""A table of Postgres with a vector in each row: a column of pgvector's, or an array."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np

from efface.data.faces import Array
from efface.errors import InputError
from efface.sweep.raw import files_of
from efface.sweep.store import BLOCK, Copy, Identifier, Places, VectorStore, digest_of


class PostgresTable(VectorStore):
    """`kind = "postgres"`: rows leave in one transaction, locked while they are compared."""

    kind: Literal["postgres"]
    url: Identifier
    """As `postgresql://user@host/database`, without a password."""
    password_env: Identifier | None = None
    """The environment variable that holds the password."""
    table: Identifier
    """With its schema, where it is not on the search path: `schema.table`."""
    key: Identifier
    """The column by which a row is known."""
    column: Identifier
    """Of the vectors: `vector`, `halfvec` or an array of numbers."""
    server_files: Places = ()
    """Folders of the server's data, where they can be read here; else no raw bytes are read."""

    @property
    def compaction(self) -> str:
        """What `compact` does, in words."""
        return "VACUUM FULL of table and statistics, CHECKPOINT"

    def vectors(self) -> Iterator[tuple[list[str], Array]]:
        """Rows by their key."""
        with self._opened() as base:
            yield from self._blocks(base)

    def delete(self, copies: Sequence[Copy]) -> None:
        """All of them or none."""
        from psycopg import sql

        keys = [one.location.removeprefix(f"{self.key} ") for one in copies]
        with self._opened() as base, base.transaction():
            key = sql.Identifier(self.key)
            now = {
                place: digest_of(row)
                for places, block in self._blocks(base, keys)
                for place, row in zip(places, block, strict=True)
            }
            self.refuse_changed(copies, now)
            base.execute(sql.SQL("DELETE FROM {} WHERE {}::text = ANY(%s)").format(self._table(), key), (keys,))

    def remove(self, locations: Sequence[str]) -> None:
        """Never by itself: `delete` checks and removes in one transaction."""
        raise NotImplementedError

    def compact(self) -> None:
        """Write table, indexes and what ANALYZE keeps of them again, and have the server write everything down."""
        import psycopg
        from psycopg import sql

        with self._opened() as base:
            base.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(self._table()))
            base.execute("VACUUM FULL pg_catalog.pg_statistic")  # samples of vectors stood there; a warning if not ours
            with suppress(psycopg.errors.InsufficientPrivilege):  # the server does so by itself, later
                base.execute("CHECKPOINT")

    def files(self) -> list[Path]:
        """All files of the server that can be read here."""
        return files_of(*self.server_files)

    def roots(self) -> list[Path]:
        """The server's folders."""
        return list(self.server_files)

    def _table(self) -> Any:
        from psycopg import sql

        return sql.Identifier(*self.table.split("."))

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            import psycopg
        except ImportError:
            raise InputError(f"store '{self.name}': Postgres needs psycopg: pip install 'efface[postgres]'") from None
        secret = {}
        if self.password_env is not None:
            if self.password_env not in os.environ:
                raise InputError(f"store '{self.name}': the environment variable {self.password_env} is not set")
            secret = {"password": os.environ[self.password_env]}
        try:
            with psycopg.connect(self.url, autocommit=True, connect_timeout=10, **secret) as base:  # type: ignore[arg-type]
                yield base
        except psycopg.Error as error:
            raise InputError(f"store '{self.name}': Postgres answers: {' '.join(str(error).split())[:300]}") from None

    def _blocks(self, base: Any, keys: Sequence[str] | None = None) -> Iterator[tuple[list[str], Array]]:
        """All rows, or those of some keys, locked."""
        from psycopg import sql

        named = {"key": sql.Identifier(self.key), "column": sql.Identifier(self.column), "table": self._table()}
        which = "AND {key}::text = ANY(%s) FOR UPDATE" if keys is not None else ""
        text = "SELECT {key}::text, {column}::text FROM {table} WHERE {column} IS NOT NULL " + which
        with base.transaction(), base.cursor(name="efface_sweep") as rows:
            rows.itersize = BLOCK
            rows.execute(sql.SQL(text).format(**named), None if keys is None else (list(keys),))
            while many := rows.fetchmany(BLOCK):
                block = [json.loads(cell.replace("{", "[").replace("}", "]")) for _, cell in many]
                if len({len(one) for one in block}) > 1:
                    raise InputError(f"store '{self.name}': vectors of several lengths in column '{self.column}'")
                yield [f"{self.key} {key}" for key, _ in many], np.array(block, np.float32)
