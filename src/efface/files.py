"""Files that are read with one line for whatever is wrong with them, and that appear whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from efface.errors import InputError, refusing

if TYPE_CHECKING:
    import pandas as pd

Columns = TypeVar("Columns")

LARGEST = 2**31
"""Bytes of a file that is read at once; the largest list or verification set met in practice has a tenth of it."""


def read_bytes(path: Path, what: str) -> bytes:
    """The bytes of a regular file; `what` it is opens the message of an InputError."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise InputError(f"{what} {path} is a {_kind_of(about.st_mode)}: expected a file")
        if about.st_size > LARGEST:
            raise InputError(f"{what} {path} has {about.st_size:,} bytes: expected at most {LARGEST:,}")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{what} {path} does not exist") from None
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read: {error.strerror}") from None
    except (ValueError, MemoryError) as error:  # a NUL in the name, or less memory than the file is long
        if isinstance(error, InputError):
            raise
        raise InputError(f"{what} {path} cannot be read: {error or 'it does not fit into memory'}") from None


def read_text(path: Path, what: str, *, otherwise: str | None = None, exact: bool = False) -> str:
    """The text of a file without its byte order mark, every line ended by a line feed (`exact`: as it stands).

    It is UTF-8, or UTF-16 where its mark says so; `otherwise`: the encoding of files of this kind that are neither.
    """
    data = read_bytes(path, what)
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if otherwise is None:
            raise InputError(f"{what} {path} is not a text file in UTF-8 ({error.reason}): save it as UTF-8") from None
        text = data.decode(otherwise)
    if "\0" in text:
        raise InputError(f"{what} {path} is not a text file: it holds a NUL character")
    return text if exact else text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path, what: str, *, otherwise: str | None = None) -> list[str]:
    """The lines of a text file that say something."""
    return [line for line in read_text(path, what, otherwise=otherwise).split("\n") if line.strip()]


def read_json(path: Path, what: str) -> Any:
    """What a JSON file says."""
    return parsed_json(read_text(path, what), f"{what} {path}")


def parsed_json(text: str, where: str) -> Any:
    """What a JSON text says; `where` it stands opens the message of an InputError."""
    with refusing(f"{where} is not JSON"):
        return json.loads(text)


def read_csv(path: Path, what: str) -> pd.DataFrame:
    """A CSV with a line of names, every column as text and nothing read as missing.

    Blank lines, rows of empty cells, columns without a name and commas at the end of a row are passed over. Raises
    InputError for a name that stands twice and a row with more or fewer cells than there are names.
    """
    import pandas as pd

    reader = csv.reader(io.StringIO(read_text(path, what), newline=""), skipinitialspace=True)
    with refusing(f"{what} {path} is no CSV"):
        rows = [(reader.line_num, row) for row in reader if any(row)]
    names = [name.strip() for name in _without_empty_end(rows[0][1])] if rows else []
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise InputError(f"{what} {path} has the column '{twice[0]}' twice: which is meant?")
    cells = []
    for line, row in rows[1:]:
        full = row if len(row) == len(names) else [*_without_empty_end(row, len(names))]
        if len(full) != len(names):
            raise InputError(
                f"{what} {path} line {line} has {len(full)} cells: expected {len(names)}, one for each name in the "
                "first line"
            )
        cells.append(full)
    columns = {name: [row[place] for row in cells] for place, name in enumerate(names) if name}
    return pd.DataFrame(columns, dtype=str)


def whole_number(word: str) -> int | None:
    """The number that the digits 0 to 9 make, below 10**18; None for any other word."""
    return int(word) if word.isascii() and word.isdigit() and len(word) <= 18 else None


def _without_empty_end(row: list[str], least: int = 0) -> list[str]:
    """A row without the empty cells at its end, but for the first `least` cells."""
    length = len(row)
    while length > least and not row[length - 1].strip():
        length -= 1
    return row[:length]


def _kind_of(mode: int) -> str:
    """What stands where a file was expected."""
    return "folder" if stat.S_ISDIR(mode) else "pipe" if stat.S_ISFIFO(mode) else "device or socket"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to beside `path`, which it takes the place of at the end; nothing is left after an error."""
    part = path.with_name(path.name + ".part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text file."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def save_columns(columns: Any, path: Path) -> None:
    """Write a dataclass of arrays as .npz; the same arrays give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **{field.name: getattr(columns, field.name) for field in fields(columns)})


def load_columns(kind: type[Columns], path: Path) -> Columns:
    """What `save_columns` wrote."""
    with np.load(path, allow_pickle=False) as saved:
        return kind(**saved)
