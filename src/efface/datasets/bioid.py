"""BioID: 1,521 grey photos of 23 people at their desks, with the centres of both eyes marked by hand.

Layout: `BioID_0000.pgm` (384x286, P5) and `BioID_0000.eye` beside it; any other stem is read too. Free to use;
offered by BioID AG at https://www.bioid.com/face-database/ as two archives, photos and eye positions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from efface.data.faces import EYES
from efface.datasets.card import Card
from efface.errors import InputError
from efface.files import read_lines

if TYPE_CHECKING:
    import pandas as pd

CARD = Card(
    name="bioid",
    title="BioID Face Database",
    licence="free to use, credit to BioID AG",
    home="https://www.bioid.com/face-database/",
    layout="BioID_0000.pgm and BioID_0000.eye in one folder",
    about="1,521 grey photos of 23 people with hand-marked eye centres; who is on which photo is not published",
)

HEADER = ["#LX", "LY", "RX", "RY"]


def read(path: Path) -> pd.DataFrame:
    """A row per photo. Identities are not published, so each photo counts as its own person.

    Raises `InputError` when a photo has no `.eye` file, an `.eye` file no photo, or an `.eye` file is malformed.
    """
    import pandas as pd

    if not path.is_dir():
        raise InputError(f"{path} is not a folder: give the one that holds {CARD.layout}")
    photos = _by_stem(path, ".pgm")
    marks = _by_stem(path, ".eye")
    if not photos:
        found = f"{len(marks)} .eye files but no photos" if marks else "neither .pgm nor .eye files"
        raise InputError(f"{path} holds {found}: unpack {CARD.layout}, from {CARD.home}")
    for stem in sorted(photos.keys() - marks.keys()):
        raise InputError(f"{photos[stem]} has no {stem}.eye beside it: every photo needs its eye centres")
    for stem in sorted(marks.keys() - photos.keys()):
        raise InputError(f"{marks[stem]} has no {stem}.pgm beside it: add the photo or remove the .eye file")
    stems = sorted(photos)
    table = pd.DataFrame(
        {"key": stems, "path": [str(photos[stem].absolute()) for stem in stems], "person": stems},
    )
    table[EYES] = np.array([read_eyes(marks[stem]) for stem in stems])
    return table


def read_eyes(file: Path) -> tuple[float, float, float, float]:
    """The four coordinates of one `.eye` file, in the order of `EYES`, in pixels of the photo beside it."""
    lines = [line.split() for line in read_lines(file, ".eye file", otherwise="latin-1")]
    if not lines or lines[0] != HEADER:
        start = " ".join(lines[0])[:40] if lines else ""
        raise InputError(f"{file} starts with '{start}': an .eye file starts with the line '{' '.join(HEADER)}'")
    words = [word for line in lines[1:] for word in line]
    numbers = [_number(word) for word in words]
    if len(numbers) != 4 or not np.isfinite(numbers).all():
        given = " ".join(words)[:40]
        raise InputError(f"{file} gives '{given}': an .eye file gives four numbers, {' '.join(HEADER)[1:]}")
    left_x, left_y, right_x, right_y = numbers
    return left_x, left_y, right_x, right_y


def _by_stem(path: Path, suffix: str) -> dict[str, Path]:
    """Files of one kind (in either case of letters) by the name before the suffix."""
    return {file.stem: file for file in path.iterdir() if file.suffix.lower() == suffix}


def _number(word: str) -> float:
    """The number a word stands for, or NaN."""
    try:
        return float(word)
    except ValueError:
        return float("nan")
