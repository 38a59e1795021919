"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

Columns = TypeVar("Columns")


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
