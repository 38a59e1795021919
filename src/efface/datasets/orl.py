"""ORL, the AT&T database of faces: 40 people in a laboratory, ten photos of each.

Samaria and Harter, Parameterisation of a stochastic model for human face identification, 1994. Layout: `s1/1.pgm`,
92x112, grey. Credit to AT&T Laboratories Cambridge.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from efface.datasets.card import Card
from efface.datasets.folder import read_people
from efface.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

CARD = Card(
    name="orl",
    title="The ORL (AT&T) Database of Faces",
    licence="free with credit to AT&T Laboratories Cambridge",
    home="https://cam-orl.co.uk/facedatabase.html",
    layout="s1/1.pgm, s1/2.pgm, ... s40/10.pgm",
    about="40 people in a laboratory, ten photos of each",
)


def read(path: Path) -> pd.DataFrame:
    """A row per photo; a person is a folder s1, s2, ..."""
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: expected {CARD.layout}")
    table = read_people(path)
    strange = table["person"][~table["person"].str.fullmatch(r"s\d+")]
    if len(strange):
        raise InputError(f"{path} holds the folder '{strange.iloc[0]}': expected {CARD.layout}")
    return table
