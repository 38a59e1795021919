"""Files that are read with one line for whatever is wrong with them, and that appear whole or not at all.

What appears is on the disk before it takes its name, and holds no formula that a spreadsheet would run.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from efface.errors import InputError, refusing

if TYPE_CHECKING:
    import pandas as pd

Columns = TypeVar("Columns")

LARGEST = 2**31
"""Bytes of a file that is read at once; the largest list or verification set met in practice has a tenth of it."""

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REFUSED_BY_DISK = NO_ROOM | {errno.EROFS, errno.EIO}
"""What a disk answers, whatever was written."""

FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""How a cell begins that a spreadsheet may run; apostrophes before it are counted, so that `plain_cells` can undo."""
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def read_bytes(path: Path, what: str, *, most: int = LARGEST) -> bytes:
    """The bytes of a regular file of `most` bytes at most; `what` it is opens the message of an InputError."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise InputError(f"{what} {path} is a {_kind_of(about.st_mode)}: expected a file")
        if about.st_size > most:
            raise InputError(f"{what} {path} has {about.st_size:,} bytes: expected at most {most:,}")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{what} {path} does not exist") from None
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read: {error.strerror}") from None
    except MemoryError:
        raise InputError(f"{what} {path} does not fit into memory") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{what} {path} cannot be read: {error}") from None  # a NUL in its name


def sha256_of(path: Path) -> str:
    """SHA-256 of a file of any size, in hexadecimal. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    if not rows:
        raise InputError(f"{what} {path} is empty: expected a line of names")
    names = [name.strip() for name in _without_empty_end(rows[0][1])]
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
def replacing(path: Path, *, private: bool = False) -> Iterator[Path]:
    """A path to write to beside `path`, which it takes the place of at the end; nothing is left after an error.

    private: readable by its owner only, from the first byte on. Raises InputError where the disk does not take it.
    """
    short = path.name if len(os.fsencode(path.name)) <= 250 else hashlib.sha256(os.fsencode(path.name)).hexdigest()
    part = path.with_name(short + ".part")
    try:
        with disk_errors(path, part):
            if private:
                part.unlink(missing_ok=True)
                part.touch(mode=0o600)
            yield part
            sync(part)
            os.replace(part, path)
            sync(path.parent)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def folder_for(out: Path) -> Iterator[None]:
    """A folder that is its owner's alone, made if need be; one that was made goes again where what was to be written
    into it was refused before anything was."""
    fresh = not out.exists()
    make_folder(out).chmod(0o700)
    try:
        yield
    except InputError:
        if fresh:
            with suppress(OSError):  # it is not empty: something was written, and a later run goes on from it
                out.rmdir()
        raise


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


def write_bytes(path: Path, content: bytes | memoryview, *, private: bool = False) -> Path:
    """Write a file; private: as `replacing` has it."""
    with replacing(path, private=private) as part:
        part.write_bytes(content)
    return path


def write_private(path: Path, content: bytes) -> Path:
    """Write a file that its owner alone can read."""
    with replacing(path) as part:
        part.unlink(missing_ok=True)
        _write_new(part, content)
    return path


def create_private(path: Path, content: bytes) -> None:
    """Make a file, such as a key, that its owner alone can read; one that is there already stays as it is."""
    make_folder(path.parent)
    with disk_errors(path), suppress(FileExistsError):
        _write_new(path, content)


def _write_new(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink()
            raise


def write_text(path: Path, text: str) -> Path:
    """Write a text file."""
    return write_bytes(path, text.encode("utf-8"))


def write_csv(path: Path, table: pd.DataFrame, *, private: bool = False) -> Path:
    """Write a table as CSV in which no cell is a formula; private: as `replacing` has it."""
    text = inert_cells(table).to_csv(index=False, lineterminator="\n")
    return write_bytes(path, text.encode("utf-8"), private=private)


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


def toml_of(tables: Mapping[str, Any]) -> str:
    """TOML of settings, tables and lists of tables; the text of JSON is TOML's for strings and numbers."""

    def value(one: Any) -> str:
        return (
            one.isoformat() if isinstance(one, date) else json.dumps(one, ensure_ascii=False).replace("\x7f", "\\u007f")
        )

    def lines(table: Mapping[str, Any]) -> list[str]:
        return [f"{json.dumps(name)} = {value(one)}" for name, one in table.items()]

    plain = {name: one for name, one in tables.items() if not isinstance(one, dict) and not is_tables(one)}
    text = lines(plain)
    for name, one in tables.items():
        if isinstance(one, dict):
            text += ["", f"[{json.dumps(name)}]", *lines(one)]
        elif is_tables(one):
            for part in one:
                text += ["", f"[[{json.dumps(name)}]]", *lines(part)]
    return "\n".join(text) + "\n"


def is_tables(one: Any) -> bool:
    """Whether a value is a list of tables."""
    return isinstance(one, list) and bool(one) and all(isinstance(part, dict) for part in one)


def save_columns(columns: Any, path: Path, *, private: bool = False) -> None:
    """Write a dataclass of arrays as .npz; the same arrays give the same bytes. private: as `replacing` has it."""
    make_folder(path.parent)
    with replacing(path, private=private) as part, part.open("wb") as file:
        np.savez_compressed(file, **{field.name: getattr(columns, field.name) for field in fields(columns)})


def load_columns_if_whole(kind: type[Columns], path: Path) -> Columns | None:
    """What `save_columns` wrote, or None where nothing is there, or not what was written (every part of an .npz has a
    checksum): it is to be made again."""
    try:
        return load_columns(kind, path)
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error):
        return None


def load_columns(kind: type[Columns], path: Path, renamed: Mapping[str, str] | None = None) -> Columns:
    """What `save_columns` wrote; renamed: columns of earlier versions, and what they are called now."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
        return kind(**{(renamed or {}).get(name, name): column for name, column in saved.items()})


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
