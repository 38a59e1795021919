"""A table in a file, CSV or Parquet, with a vector in each row: in one column, or a number in each of several."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import model_validator

from efface.data.faces import Array
from efface.errors import InputError, refusing
from efface.files import read_csv, read_text
from efface.sweep.person import Person
from efface.sweep.raw import text_forms
from efface.sweep.store import (
    Copy,
    Names,
    Place,
    Searched,
    VectorStore,
    kept_rows,
    own_file,
    rewriting,
    row_names,
)

if TYPE_CHECKING:
    import pandas as pd


class TableFile(VectorStore):
    """`kind = "table"`: rows are counted from 0, without the line of names."""

    kind: Literal["table"]
    path: Place
    """A .csv or .parquet."""
    columns: Names
    """One column with a list in each row (in CSV as JSON or with spaces between), or a column for each number."""

    @model_validator(mode="after")
    def _known(self) -> TableFile:
        if self.path.suffix not in (".csv", ".parquet") or not self.columns:
            raise ValueError("a table is a .csv or a .parquet, with one column of vectors or one for each number")
        return self

    def search(self, person: Person) -> Searched:
        """As every store of vectors; of a CSV the line's own text is what its bytes look like."""
        found = super().search(person)
        if self.path.suffix == ".parquet":
            return found
        lines = self._lines()
        copies = [
            Copy(one.store, one.location, one.score, one.suggested, _sha256(line), {**text_forms(line), **one.forms})
            for one in found.copies
            for line in [lines[1 + int(one.location.removeprefix("row "))]]
        ]
        return Searched(copies, found.entries)

    def vectors(self) -> Iterator[tuple[list[str], Array]]:
        """Rows, counted from 0."""
        own_file(self.path, f"store '{self.name}':")
        if self.path.suffix == ".csv":
            table = read_csv(self.path, "table")
        else:
            table = _parquet(self).read(columns=list(self._known_columns())).to_pandas()
        if missing := [name for name in self.columns if name not in table]:
            raise InputError(f"store '{self.name}': {self.path} has no column '{missing[0]}'")
        with refusing(f"store '{self.name}': {self.path} has a row whose vector cannot be read"):
            block = _numbers(table[list(self.columns)])
        if len(block):
            yield row_names(0, len(block)), block

    def delete(self, copies: Sequence[Copy]) -> None:
        """All of them or none; of a CSV the very lines."""
        if self.path.suffix == ".parquet":
            super().delete(copies)
            return
        now = {f"row {row}": _sha256(line) for row, line in enumerate(self._lines()[1:])}
        self.refuse_changed(copies, now)
        self.remove([one.location for one in copies])

    def remove(self, locations: Sequence[str]) -> None:
        """Write the file again without these rows; what stays of a CSV stays to the byte."""
        if self.path.suffix == ".csv":
            lines = self._lines()
            keep = kept_rows(len(lines) - 1, locations)
            text = "".join([lines[0], *(line for line, stays in zip(lines[1:], keep, strict=True) if stays)])
            with rewriting(self.path) as part:
                part.write_bytes(text.encode("utf-8"))
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = _parquet(self).read()
        keep = kept_rows(table.num_rows, locations)
        with rewriting(self.path) as part:
            pq.write_table(table.filter(pa.array(keep)), part)

    def files(self) -> list[Any]:
        """The file."""
        return [self.path]

    def _lines(self) -> list[str]:
        """The rows of a CSV as they stand. Raises InputError where a row is not a line."""
        text = read_text(self.path, "table", exact=True)
        lines = [line for line in io.StringIO(text, newline="") if line.strip()]
        if len(lines) != 1 + len(read_csv(self.path, "table")):
            raise InputError(f"store '{self.name}': {self.path} has rows of several lines, or empty ones")
        return lines

    def _known_columns(self) -> Sequence[str]:
        known = _parquet(self).schema_arrow.names
        if missing := [name for name in self.columns if name not in known]:
            raise InputError(f"store '{self.name}': {self.path} has no column '{missing[0]}'")
        return self.columns


def _sha256(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()


def _parquet(store: TableFile) -> Any:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(f"store '{store.name}': Parquet needs pyarrow: pip install 'efface[parquet]'") from None
    with refusing(f"store '{store.name}': {store.path} is no Parquet file that can be read"):
        return pq.ParquetFile(store.path)


def _numbers(table: pd.DataFrame) -> Array:
    """(n, d) of a column of lists or their text, or of columns of numbers."""
    if table.shape[1] > 1:
        return table.to_numpy(dtype=np.float64)
    return np.array([_vector(cell) for cell in table.iloc[:, 0]], np.float64)


def _vector(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    return json.loads(cell) if cell.lstrip().startswith("[") and "," in cell else cell.strip(" []").split()
