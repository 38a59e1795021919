"""Packed faces: a folder of decoded photos and their labels, held against their checksums when it is opened.

Layout: `images.npy` ((n, c, h, w) uint8), `labels.csv` (a row per image: key, person, eye centres in pixels of the
packed image, the dataset's own columns) and `manifest.json` (what it is, how it was made, checksums, its own among
them). A folder appears under its name only when it is whole.
"""

from __future__ import annotations

import hashlib
import io
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
from efface.files import disk_errors, inert_cells, make_folder, plain_cells, read_json, read_text, sha256_of, sync

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
IMAGES, LABELS, MANIFEST = "images.npy", "labels.csv", "manifest.json"
KINDS = ("boolean", "float", "integer", "text")
"""Of columns: how their words are read back."""


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
            "sha256": {name: sha256_of(unfinished / name) for name in (IMAGES, LABELS)},
        }
        manifest["manifest_sha256"] = _own_sha256(manifest)
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def open_packed(folder: Path, *, verify: bool = True) -> FaceTable:
    """The faces of a packed folder, memory-mapped. verify: read every byte once, to hold it against its checksum."""
    if verify:
        verify_packed(folder)
    manifest = read_manifest(folder)
    try:
        images = np.lib.format.open_memmap(folder / IMAGES, mode="r")
    except Exception as error:  # numpy evaluates the header of the file: anything at all
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
    manifest = read_manifest(folder)
    for name in (IMAGES, LABELS):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name} is missing: prepare the folder again")
        if sha256_of(folder / name) != manifest["sha256"][name]:
            raise InputError(f"{folder / name} is not what was written (its sha256 differs): prepare the folder again")


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a packed folder says of itself."""
    file = folder / MANIFEST
    if not file.is_file():
        what = "is not a packed folder (no manifest.json)" if folder.is_dir() else "does not exist"
        raise InputError(f"{folder} {what}: make one with `efface prepare`")
    manifest = read_json(file, "manifest")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(f"{file} is not of format {FORMAT}, the only one known: prepare the folder again")
    if not _is_whole(manifest) or manifest.get("manifest_sha256", _own_sha256(manifest)) != _own_sha256(manifest):
        raise InputError(f"{file} is not what was written: prepare the folder again")
    return manifest


def _is_whole(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest says of what shape and kinds the faces are, and what their checksums."""
    shape, columns, sums = (manifest.get(name) for name in ("shape", "columns", "sha256"))
    return (
        isinstance(shape, list)
        and len(shape) == 4
        and all(isinstance(size, int) and size > 0 for size in shape)
        and isinstance(columns, dict)
        and all(kind in KINDS for kind in columns.values())
        and isinstance(sums, dict)
        and all(isinstance(sums.get(name), str) for name in (IMAGES, LABELS))
    )


def _own_sha256(manifest: Mapping[str, Any]) -> str:
    """Checksum of what a manifest says beside it."""
    rest = {name: value for name, value in manifest.items() if name != "manifest_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes its name when the block ends well, and is gone when it does not."""
    refuse_occupied(folder)
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    make_folder(unfinished)
    try:
        with disk_errors(folder, unfinished):
            yield unfinished
            for place in [*unfinished.rglob("*"), unfinished]:
                sync(place)
            if folder.exists():
                folder.rmdir()
            unfinished.rename(folder)
            sync(folder.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def refuse_occupied(folder: Path) -> None:
    """Raise `InputError` if something stands where a folder is to be made."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty: choose another folder or remove it first")


def _write_images(file: Path, chunks: Iterable[NDArray[np.uint8]], shape: tuple[int, int, int, int]) -> None:
    """Fill an array file without ever holding more than a chunk. Not through a memory map: a disk that is full could
    then answer only by ending the process."""
    if shape[0] == 0:
        raise InputError("there is no face to pack: every photo was refused")
    written = 0
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for chunk in chunks:
            if chunk.dtype != np.uint8 or chunk.shape[1:] != shape[1:]:
                raise ValueError(f"images are {chunk.dtype} {chunk.shape[1:]}: expected uint8 {shape[1:]}")
            stream.write(np.ascontiguousarray(chunk).data)
            written += len(chunk)
    if written != shape[0]:
        raise InputError(f"{written} images but {shape[0]} rows of labels: they must be equal")


def _write_labels(file: Path, table: pd.DataFrame) -> dict[str, str]:
    """Write a CSV whose numbers and words come back exactly, none as a formula, and tell the kind of each column."""
    kinds = {str(name): _kind(table[name]) for name in table.columns}
    plain = table.copy()
    for name, kind in kinds.items():
        plain[name] = plain[name].astype(object).where(plain[name].notna(), "")
        if kind != "text":
            plain[name] = plain[name].astype(str)
    inert_cells(plain).to_csv(file, index=False, lineterminator="\n", encoding="utf-8")
    return kinds


def _read_labels(file: Path, kinds: Mapping[str, str]) -> pd.DataFrame:
    """The labels as they were written: `NA` and `007` stay words, a missing word is "", a missing number NaN."""
    import pandas as pd

    readers = {
        "float": lambda words: words.replace("", "nan").astype(float),
        "integer": lambda words: words.astype("int64"),
        "boolean": lambda words: words == "True",
        "text": lambda words: words,
    }
    text = read_text(file, "labels", exact=True)
    if text.partition("\n")[0].endswith("\r"):
        text = text.replace("\r\n", "\n")
    try:
        words = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, lineterminator="\n")
        table = plain_cells(words)
        values = {name: readers[kind](table[name]) for name, kind in kinds.items() if name in table}
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"{file} cannot be read ({_line(error)}): prepare the folder again") from None
    if list(table.columns) != list(kinds):
        raise InputError(f"{file} has other columns than the manifest says: prepare the folder again")
    return table.assign(**values)


def _kind(column: pd.Series[Any]) -> str:
    """How a column is read back; whole numbers and truths with gaps become float and text."""
    from pandas.api import types

    if types.is_bool_dtype(column) and not column.isna().any():
        return "boolean"
    if types.is_integer_dtype(column) and not column.isna().any():
        return "integer"
    return "float" if types.is_numeric_dtype(column) and not types.is_bool_dtype(column) else "text"


def _line(error: Exception) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split())
