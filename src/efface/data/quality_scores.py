"""Scores of photos in a CSV: what `efface quality` writes, and what a plan chooses photos by."""

from __future__ import annotations

from pathlib import Path

from efface.errors import InputError, nearest
from efface.files import plain_cells


def read_scores(path: Path, column: str) -> dict[str, float]:
    """Key to score; higher is better. Raises InputError for a column that is not there or holds no number."""
    import pandas as pd

    try:
        table = plain_cells(pd.read_csv(path, dtype={"key": str, "person": str}, keep_default_na=True))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a table of scores: {' '.join(str(error).split())}") from None
    for name in ("key", column):
        if name not in table:
            raise InputError(
                f"{path}: no column '{name}'{nearest(name, map(str, table.columns))}; expected what "
                "`efface quality` writes"
            )
    numbers = pd.to_numeric(table[column], errors="coerce")
    if numbers.isna().any():
        raise InputError(f"{path}: {column} of '{table['key'][numbers.isna()].iloc[0]}' is no number")
    return dict(zip(table["key"].astype(str), numbers.astype(float), strict=True))
