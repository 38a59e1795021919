"""Your own photos: a folder with a manifest, or simply one folder per person.

Layout: `manifest.csv` or `labels.csv` (or `.parquet`) with the columns `path` (relative to the manifest), `person`
and whatever else is known: `group`, `label`, the eye centres `left_x, left_y, right_x, right_y`. Or no manifest and
`person/photo.jpg`. Licence and owner are yours.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from efface.data.faces import EYES
from efface.data.photos import SUFFIXES, files_below, is_hidden, left_out_line
from efface.datasets.card import Card
from efface.errors import InputError, refusing
from efface.files import read_bytes, read_csv

if TYPE_CHECKING:
    import pandas as pd

CARD = Card(
    name="folder",
    title="Your own photos",
    licence="yours",
    home="your disk",
    layout="manifest.csv (or labels.csv, or .parquet) with columns path and person; or person/photo.jpg",
    about="Bring your own: any folder of photos, with or without a manifest",
)

MANIFESTS = ["manifest.csv", "labels.csv", "manifest.parquet", "labels.parquet"]


def read(path: Path) -> pd.DataFrame:
    """A row per photo; `path` is the folder or the manifest itself."""
    if path.is_file():
        return read_manifest(path)
    if not path.is_dir():
        raise InputError(f"{path} does not exist: give a folder with {CARD.layout}")
    for name in MANIFESTS:
        if (path / name).is_file():
            return read_manifest(path / name)
    return read_people(path)


def read_manifest(file: Path) -> pd.DataFrame:
    """The rows of a manifest; words stay words (`007`, `NA`), eye centres become numbers, other columns are kept."""
    table = read_table(file, ["path", "person"])
    paths = table["path"].astype(str).str.replace("\\", "/", regex=False)
    keys = table["key"] if "key" in table else keys_of(paths)
    table = table.assign(
        key=keys.astype(str),
        path=[str((file.parent / name).absolute()) for name in paths],
        person=_people(table["person"]),
    )
    for column in EYES:
        if column in table:
            table[column] = _numbers(table, column, file)
    first = ["key", "path", "person"]
    return table[first + [column for column in table.columns if column not in first]]


def read_people(path: Path) -> pd.DataFrame:
    """The photos of a tree `person/photo.jpg`, in order of their names; hidden files are left out."""
    import pandas as pd

    below, _ = files_below(path)
    files = [
        file
        for file in below
        if file.suffix.lower() in SUFFIXES and len(file.relative_to(path).parts) == 2 and not is_hidden(file, path)
    ]
    if not files:
        found = left_out_line({file.relative_to(path).as_posix(): "" for file in below})
        raise InputError(f"{path} holds no photos: expected {CARD.layout}{'; ' + found if found else ''}")
    names = pd.Series([file.relative_to(path).as_posix() for file in files])
    return pd.DataFrame(
        {
            "key": keys_of(names),
            "path": [str(file.absolute()) for file in files],
            "person": [file.parent.name for file in files],
        }
    )


def keys_of(names: pd.Series[str]) -> pd.Series[str]:
    """A key for each photo's path: without its suffix, or with it where two would be called the same."""
    stems = names.map(lambda name: key_below(name, None))
    return stems.where(~(stems.duplicated(keep=False) | stems.isin(names)), names)


def key_below(name: str, where: Path | None) -> str:
    """A photo's path without its ending. Raises InputError for what names no file and, where a path was listed by a
    dataset's own file (`where`), for one that leads out of the dataset."""
    path = Path(name)
    if not path.name or (where is not None and (path.is_absolute() or ".." in path.parts)):
        raise InputError(f"{where or 'the table'} names the photo '{name}': expected a path in the dataset's folder")
    return path.with_suffix("").as_posix()


def read_table(file: Path, needed: list[str]) -> pd.DataFrame:
    """A CSV (every column as text, nothing read as missing) or Parquet file that has at least the `needed` columns."""
    table = read_parquet(file) if file.suffix.lower() == ".parquet" else read_csv(file, "table")
    missing = [column for column in needed if column not in table]
    if missing:
        raise InputError(
            f"{file} has the columns {', '.join(map(str, table.columns))}: it needs {', '.join(missing)} too"
        )
    if table.empty:
        raise InputError(f"{file} has no rows: expected a row per photo")
    return table


def read_parquet(file: Path) -> pd.DataFrame:
    """A Parquet file."""
    import pandas as pd

    data = read_bytes(file, "table")
    with refusing(f"{file} cannot be read as a table"):
        try:
            table = pd.read_parquet(io.BytesIO(data))
        except ImportError:
            raise InputError(f"{file} needs pyarrow to be read: pip install 'efface[parquet]'") from None
        table = table.reset_index(drop=table.index.name is None).rename(columns=str)
        for name, column in table.astype(object).items():  # what is no text is found out when it is taken as such
            if any(isinstance(cell, (bytes, list, tuple, dict, np.ndarray)) for cell in column):
                raise InputError(f"{file}: the column '{name}' holds more than words and numbers")
        return table


def _people(column: pd.Series[Any]) -> pd.Series[str]:
    """Names, "" where nothing stands; numbers of people that a file keeps as fractions (because one is missing) are
    whole."""
    if column.dtype.kind == "f" and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    return column.astype(str).where(column.notna(), "")


def _numbers(table: pd.DataFrame, column: str, file: Path) -> pd.Series[float]:
    """One column as numbers, NaN where nothing stands."""
    import pandas as pd

    numbers = pd.to_numeric(table[column], errors="coerce").astype(float)
    wrong = table[numbers.isna() & table[column].notna() & (table[column] != "")]
    if len(wrong):
        raise InputError(f"{file}: {column} of '{wrong['path'].iloc[0]}' is '{wrong[column].iloc[0]}', not a number")
    return numbers
