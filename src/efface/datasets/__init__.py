"""Every dataset in two explicit tables: photos that are read from disk, and faces that are generated.

A reader turns a folder into a table of photos, decoding nothing; `efface.preparation` makes packed faces of it.
A generator makes an `FaceTable` at once and needs no download.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from efface.data.faces import FaceTable
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
from efface.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GENERATORS", "READERS", "Card", "Generator", "Reader", "reader"]


@dataclass(frozen=True)
class Reader:
    """A dataset on disk. `read(path)` gives a row per photo: `key` (unique), `path` (absolute), `person`, the eye
    centres (`efface.data.faces.EYES`, pixels of the photo, subject's left first) where annotated, and the dataset's own
    labels. Photos that the dataset names but a reader had to leave out stand in the table's `attrs["left_out"]`, with
    the reason by name."""

    card: Card
    read: Callable[[Path], pd.DataFrame]
    duplicates: Literal["merge", "warn"] = "warn"
    """What becomes of people who share identical pixels, where a plan does not say."""


@dataclass(frozen=True)
class Generator:
    """A dataset made on the spot."""

    card: Card
    make: Callable[..., FaceTable]


READERS = {
    "agedb": Reader(agedb.CARD, agedb.read),
    "bioid": Reader(bioid.CARD, bioid.read),
    "celeba": Reader(celeba.CELEBA, celeba.read_celeba),
    "celeba_hq": Reader(celeba.CELEBA_HQ, celeba.read_celeba_hq),
    "cuhk": Reader(cuhk.CARD, cuhk.read),
    "fairface": Reader(fairface.CARD, fairface.read),
    "folder": Reader(folder.CARD, folder.read),
    "insightface": Reader(insightface.CARD, insightface.read),
    "jaffe": Reader(jaffe.CARD, jaffe.read),
    "lfw": Reader(lfw.CARD, lfw.read),
    "mtfl": Reader(mtfl.CARD, mtfl.read),
    "mufac": Reader(mufac.CARD, mufac.read, duplicates="merge"),
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
