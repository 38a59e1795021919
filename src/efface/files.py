"""Files that appear whole or not at all, are on the disk before they take their name, and hold no formulas."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from efface.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Columns = TypeVar("Columns")

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REFUSED_BY_DISK = NO_ROOM | {errno.EROFS, errno.EIO}
"""What a disk answers, whatever was written."""

FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""How a cell begins that a spreadsheet may run; apostrophes before it are counted, so that `plain_cells` can undo."""
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to beside `path`, which it takes the place of at the end; nothing is left after an error.

    Raises InputError where the disk does not take it.
    """
    part = path.with_name(path.name + ".part")
    try:
        with disk_errors(path, part):
            yield part
            sync(part)
            os.replace(part, path)
            sync(path.parent)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def disk_errors(*paths: Path) -> Iterator[None]:
    """While files are written: what the disk answers, and what is wrong with these paths, as an InputError of one
    line about the first of them."""
    try:
        yield
    except Exception as error:
        number = _error_number(error)
        named = isinstance(error, OSError) and error.filename is not None and Path(error.filename) in paths
        if number is None or not (named or number in REFUSED_BY_DISK):
            raise
        raise InputError(f"{paths[0]} cannot be written: {disk_complaint(number)}") from None


def disk_complaint(number: int) -> str:
    """What the disk answered, and what to do."""
    return os.strerror(number) + ("; make room, or give another folder" if number in NO_ROOM else "")


def make_folder(folder: Path) -> Path:
    """The folder, made if need be with those above it; InputError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "a file stands there" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
        raise InputError(f"{folder} cannot be used as a folder: {reason}") from None
    return folder


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(lock: Path, complaint: str) -> Iterator[None]:
    """A lock that is held by one process alone and goes with it, however it ends; InputError(complaint) for another."""
    from filelock import FileLock, Timeout

    held = FileLock(lock, timeout=0)
    try:
        held.acquire()
    except Timeout:
        raise InputError(complaint) from None
    except OSError as error:
        raise InputError(f"{lock.parent} cannot be written to: {error.strerror}") from None
    try:
        yield
    finally:
        with suppress(OSError):  # not every system lets an open file be removed
            lock.unlink(missing_ok=True)
        held.release()


def write_bytes(path: Path, content: bytes | memoryview) -> Path:
    """Write a file."""
    with replacing(path) as part:
        part.write_bytes(content)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a text file."""
    return write_bytes(path, text.encode("utf-8"))


def write_csv(path: Path, table: pd.DataFrame) -> Path:
    """Write a table as CSV in which no cell is a formula."""
    return write_text(path, inert_cells(table).to_csv(index=False, lineterminator="\n"))


def inert_cells(table: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before each text that a spreadsheet would run (`=`, `+`, `-`, `@`, a tab or a line
    break first), in the names of columns too; numbers stay, also where they are text."""

    def inert(cell: Any) -> Any:
        runs = isinstance(cell, str) and FORMULA.match(cell) and not NUMBER.fullmatch(cell)
        return "'" + cell if runs else cell

    return _mapped(table, inert)


def plain_cells(table: pd.DataFrame) -> pd.DataFrame:
    """The table that `inert_cells` was given."""

    def plain(cell: Any) -> Any:
        return cell[1:] if isinstance(cell, str) and cell.startswith("'") and FORMULA.match(cell) else cell

    return _mapped(table, plain)


def _mapped(table: pd.DataFrame, change: Any) -> pd.DataFrame:
    """The table with each text, and each column's name, changed."""
    texts = [name for name in table.columns if table[name].dtype.kind not in "biufcmM"]
    changed = {name: table[name].astype(object).map(change) for name in texts}
    return table.assign(**changed).rename(columns=change)


def save_columns(columns: Any, path: Path) -> None:
    """Write a dataclass of arrays as .npz; the same arrays give the same bytes."""
    make_folder(path.parent)
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **{field.name: getattr(columns, field.name) for field in fields(columns)})


def load_columns(kind: type[Columns], path: Path) -> Columns:
    """What `save_columns` wrote."""
    with np.load(path, allow_pickle=False) as saved:
        return kind(**saved)


def _error_number(error: BaseException | None) -> int | None:
    """The system's number of what went wrong, here or in what this error came of; libraries written in Rust put it at
    the end of their message."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if said := re.search(r"\(os error (\d+)\)", str(error)):
            return int(said[1])
        error = error.__context__
    return None
