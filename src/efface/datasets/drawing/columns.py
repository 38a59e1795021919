"""Tables of equal columns: one row a photo or person when dealt, one plane a photo when drawn."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from efface.data.faces import Array


@dataclass(frozen=True)
class Columns:
    """Columns of one length, one value a row."""

    def rows(self, rows: slice | Array) -> Self:
        """The same columns at `rows`."""
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))

    def per_face(self) -> Self:
        """The same columns as float32 values per face, (n, 1, 1, 1), or colours, (n, c, 1, 1)."""
        columns = (np.asarray(getattr(self, f.name), np.float32) for f in fields(self))
        return type(self)(*(column.reshape(len(column), -1, 1, 1) for column in columns))
