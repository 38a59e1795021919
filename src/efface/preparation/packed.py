"""Packed faces: a folder of decoded photos and their labels, opened without being read.

Layout: `images.npy` ((n, c, h, w) uint8), `labels.csv` (a row per image: key, person, eye centres in pixels of the
packed image, the dataset's own columns) and `manifest.json` (what it is, how it was made, checksums). A folder
appears under its name only when it is whole.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from efface import __version__
from efface.data.faces import FaceTable
from efface.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
IMAGES, LABELS, MANIFEST = "images.npy", "labels.csv", "manifest.json"


def write_packed(
    folder: Path,
    chunks: Iterable[NDArray[np.uint8]],
    table: pd.DataFrame,
    *,
    shape: tuple[int, int, int],
    about: Mapping[str, Any],
) -> None:
    """Write images of one `shape` (c, h, w), chunk by chunk, with a row of `table` for each.

    `about` goes into the manifest (name, licence, home, settings, ...). The folder must not exist yet, or be empty.
    """
    with new_folder(folder) as unfinished:
        _write_images(unfinished / IMAGES, chunks, (len(table), *shape))
        kinds = _write_labels(unfinished / LABELS, table)
        manifest = {
            "format": FORMAT,
            "efface": __version__,
            **about,
            "shape": [len(table), *shape],
            "people": int(table["person"].nunique()),
            "columns": kinds,
            "sha256": {name: _sha256(unfinished / name) for name in (IMAGES, LABELS)},
        }
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def open_packed(folder: Path) -> FaceTable:
    """The faces of a packed folder, memory-mapped. Checksums are left to `verify_packed`."""
    manifest = read_manifest(folder)
    try:
        images = np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{folder / IMAGES} cannot be opened ({_line(error)}): prepare the folder again") from None
    if images.dtype != np.uint8 or list(images.shape) != manifest["shape"]:
        raise InputError(
            f"{folder / IMAGES} holds {images.dtype} {images.shape} but the manifest says uint8 "
            f"{tuple(manifest['shape'])}: prepare the folder again"
        )
    table = _read_labels(folder / LABELS, manifest["columns"])
    if len(table) != len(images):
        raise InputError(f"{folder} has {len(images)} images but {len(table)} rows of labels: prepare it again")
    return FaceTable(images, table)


def verify_packed(folder: Path) -> None:
    """Raise `InputError` unless both files are byte for byte what was written."""
    for name, expected in read_manifest(folder)["sha256"].items():
        if not (folder / name).is_file():
            raise InputError(f"{folder / name} is missing: prepare the folder again")
        if _sha256(folder / name) != expected:
            raise InputError(f"{folder / name} is not what was written (its sha256 differs): prepare the folder again")


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a packed folder says of itself."""
    file = folder / MANIFEST
    if not file.is_file():
        what = "is not a packed folder (no manifest.json)" if folder.is_dir() else "does not exist"
        raise InputError(f"{folder} {what}: make one with `efface prepare`")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is not JSON ({_line(error)}): prepare the folder again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(f"{file} is not of format {FORMAT}, the only one known: prepare the folder again")
    return manifest


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes its name when the block ends well, and is gone when it does not."""
    refuse_occupied(folder)
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def refuse_occupied(folder: Path) -> None:
    """Raise `InputError` if something stands where a folder is to be made."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty: choose another folder or remove it first")


def _write_images(file: Path, chunks: Iterable[NDArray[np.uint8]], shape: tuple[int, int, int, int]) -> None:
    """Fill an array file without ever holding more than a chunk."""
    if shape[0] == 0:
        raise InputError("there is no face to pack: every photo was refused")
    store = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
    start = 0
    for chunk in chunks:
        store[start : start + len(chunk)] = chunk
        start += len(chunk)
    if start != shape[0]:
        raise InputError(f"{start} images but {shape[0]} rows of labels: they must be equal")
    store.flush()


def _write_labels(file: Path, table: pd.DataFrame) -> dict[str, str]:
    """Write a CSV whose numbers and words come back exactly, and tell the kind of each column."""
    kinds = {str(name): _kind(table[name]) for name in table.columns}
    plain = table.copy()
    for name, kind in kinds.items():
        plain[name] = plain[name].astype(object).where(plain[name].notna(), "")
        if kind != "text":
            plain[name] = plain[name].astype(str)
    plain.to_csv(file, index=False, lineterminator="\n", encoding="utf-8")
    return kinds


def _read_labels(file: Path, kinds: Mapping[str, str]) -> pd.DataFrame:
    """The labels as they were written: `NA` and `007` stay words, a missing word is "", a missing number NaN."""
    import pandas as pd

    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8", lineterminator="\n")
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({_line(error)}): prepare the folder again") from None
    if list(table.columns) != list(kinds):
        raise InputError(f"{file} has other columns than the manifest says: prepare the folder again")
    readers = {
        "float": lambda words: words.replace("", "nan").astype(float),
        "integer": lambda words: words.astype("int64"),
        "boolean": lambda words: words == "True",
        "text": lambda words: words,
    }
    return table.assign(**{name: readers[kind](table[name]) for name, kind in kinds.items()})


def _kind(column: pd.Series[Any]) -> str:
    """How a column is read back; whole numbers and truths with gaps become float and text."""
    from pandas.api import types

    if types.is_bool_dtype(column) and not column.isna().any():
        return "boolean"
    if types.is_integer_dtype(column) and not column.isna().any():
        return "integer"
    return "float" if types.is_numeric_dtype(column) and not types.is_bool_dtype(column) else "text"


def _sha256(file: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _line(error: Exception) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split())
