"""Galleries as tables, CSV or Parquet: a row for each face, its vector in one column or in several."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from efface.errors import InputError, refusing
from efface.files import replacing
from efface.sweep.store import Copy, VectorStore, existing

if TYPE_CHECKING:
    import pandas as pd


class TableGallery(VectorStore):
    """`kind = "table"`: vector names the column of vectors (lists in Parquet, JSON lists in CSV), or a pattern such as
    `e*` of columns with a number each, in their order."""

    kind: Literal["table"]
    path: Path
    vector: str

    def check(self, folder: Path) -> None:
        self.path = existing(self.path, folder, self.name)
        if self.path.suffix not in (".csv", ".parquet"):
            raise InputError(f"store '{self.name}': {self.path} is neither .csv nor .parquet")
        self._vectors(self._table())

    def blocks(self) -> Iterator[tuple[Sequence[str], NDArray[Any]]]:
        vectors = self._vectors(self._table())
        yield [str(row) for row in range(len(vectors))], vectors

    def delete(self, copies: Sequence[Copy]) -> None:
        table = self._table()
        kept = table.drop(table.index[[int(one.place) for one in copies]])
        with replacing(self.path, private=True) as part:
            if self.path.suffix == ".csv":
                kept.to_csv(part, index=False, lineterminator="\n")
            else:
                kept.to_parquet(part, index=False)

    def files(self) -> list[Path]:
        return [self.path]

    def _table(self) -> pd.DataFrame:
        import pandas as pd

        with refusing(f"store '{self.name}': {self.path} cannot be read as a table"):
            if self.path.suffix == ".csv":  # as it stands: what stays is written back to the letter
                return pd.read_csv(self.path, dtype=str, keep_default_na=False)
            return pd.read_parquet(self.path)

    def _vectors(self, table: pd.DataFrame) -> NDArray[np.float64]:
        names = [name for name in table.columns if fnmatchcase(str(name), self.vector)]
        if not names:
            raise InputError(f"store '{self.name}': {self.path} has no column '{self.vector}'")
        with refusing(f"store '{self.name}': column '{self.vector}' of {self.path} holds no vectors"):
            if len(names) > 1:
                return table[names].to_numpy(np.float64)
            cells: list[Any] = table[names[0]].tolist()
            rows = [json.loads(one) if isinstance(one, str) else one for one in cells]
            return np.array(rows, np.float64).reshape(len(rows), -1)
