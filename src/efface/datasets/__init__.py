"""Every dataset in two explicit tables: photos that are read from disk, and faces that are generated.

A reader turns a folder into a table of photos, decoding nothing; `efface.preparation` makes packed faces of it.
A generator makes an `FaceTable` at once and needs no download.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from efface.data.faces import FaceTable
from efface.data.names import normalised
from efface.data.photos import files_below, is_hidden
from efface.datasets import (
    agedb,
    bioid,
    celeba,
    cuhk,
    fairface,
    folder,
    insightface,
    jaffe,
    lfw,
    mtfl,
    mufac,
    orl,
    synthetic,
    utkface,
)
from efface.datasets.card import Card
from efface.errors import InputError, nearest, one_line

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GENERATORS", "READERS", "Card", "Generator", "Reader", "read_photos", "reader"]


@dataclass(frozen=True)
class Reader:
    """A dataset on disk. `read(path)` gives a row per photo: `key` (unique), `path` (absolute), `person`, the eye
    centres (`efface.data.faces.EYES`, pixels of the photo, subject's left first) where annotated, and the dataset's own
    labels. Photos that the dataset names but a reader had to leave out stand in the table's `attrs["left_out"]`, with
    the reason by name."""

    card: Card
    read: Callable[..., pd.DataFrame]
    beside: tuple[str, ...] = ()
    """Patterns of what lies beside the photos by rights: lists, marks, protocols."""
    duplicates: Literal["merge", "warn"] = "warn"
    """What becomes of people who share identical pixels, where a plan does not say."""


@dataclass(frozen=True)
class Generator:
    """A dataset made on the spot."""

    card: Card
    make: Callable[..., FaceTable]


READERS = {
    "agedb": Reader(agedb.CARD, agedb.read),
    "bioid": Reader(bioid.CARD, bioid.read, ("*.eye",)),
    "celeba": Reader(celeba.CELEBA, celeba.read_celeba, ("*.txt",)),
    "celeba_hq": Reader(celeba.CELEBA_HQ, celeba.read_celeba_hq, ("*.txt",)),
    "cuhk": Reader(cuhk.CARD, cuhk.read, ("*.txt",)),
    "fairface": Reader(fairface.CARD, fairface.read, ("*.csv",)),
    "folder": Reader(folder.CARD, folder.read, tuple(folder.MANIFESTS)),
    "insightface": Reader(insightface.CARD, insightface.read, ("train.*", "property", "*.bin", "*.lst")),
    "jaffe": Reader(jaffe.CARD, jaffe.read),
    "lfw": Reader(lfw.CARD, lfw.read, ("*.csv", "*.txt")),
    "mtfl": Reader(mtfl.CARD, mtfl.read, ("*.txt",)),
    "mufac": Reader(mufac.CARD, mufac.read, ("*.csv",), duplicates="merge"),
    "orl": Reader(orl.CARD, orl.read),
    "utkface": Reader(utkface.CARD, utkface.read),
}

GENERATORS = {"synthetic": Generator(synthetic.CARD, synthetic.synthetic)}


def reader(name: str) -> Reader:
    """The dataset of that name, or an `InputError` that says which exist."""
    if name in GENERATORS:
        raise InputError(
            f"dataset '{name}' is generated, not read from disk: a plan uses it as it is, without preparing"
        )
    if name not in READERS:
        raise InputError(f"no dataset '{name}'{nearest(name, READERS)}")
    return READERS[name]


def read_photos(source: Reader, path: Path, **settings: Any) -> pd.DataFrame:
    """A reader's table, people and labels under one spelling each; every file below `path` that is neither in it nor
    beside the photos by rights stands in `attrs["left_out"]`, too, with the reason by name."""
    try:
        table = normalised(source.read(path, **settings))
    except UnicodeEncodeError as error:
        raise InputError(f"{path} holds a name that is not UTF-8, '{error.object}': rename it") from None
    table.attrs["left_out"] = unread(source, path, table) | table.attrs.get("left_out", {})
    return table


def unread(source: Reader, path: Path, table: pd.DataFrame) -> dict[str, str]:
    """Why each file below a folder is not in a reader's table, by its path in the folder."""
    if not path.is_dir():
        return {}
    files, closed = files_below(path)
    taken = {os.path.normpath(one) for one in table["path"]}
    known = {Path(name).name for name in table.attrs.get("left_out", {})}
    left_out = [
        file
        for file in files
        if os.path.normpath(file.absolute()) not in taken
        and file.name not in known
        and not any(file.match(pattern) for pattern in source.beside)
    ]
    return closed | {
        one_line(file.relative_to(path).as_posix()): "hidden" if is_hidden(file, path) else "not read by this reader"
        for file in left_out
    }
