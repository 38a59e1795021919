"""Scores of photos in a CSV: what `efface quality` writes, and what a plan chooses photos by."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from efface.errors import InputError, nearest
from efface.files import plain_cells, read_csv


def read_scores(path: Path, column: str) -> dict[str, float]:
    """Key to score; higher is better. Raises InputError for a column that is not there or holds no number."""
    import pandas as pd

    table = plain_cells(read_csv(path, "table of scores"))
    for name in ("key", column):
        if name not in table:
            raise InputError(
                f"{path}: no column '{name}'{nearest(name, map(str, table.columns))}; expected what "
                "`efface quality` writes"
            )
    numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(float)
    if not np.isfinite(numbers).all():
        raise InputError(f"{path}: {column} of '{table['key'][~np.isfinite(numbers)].iloc[0]}' is no number")
    return dict(zip(table["key"], numbers.tolist(), strict=True))
