"""JAFFE: ten Japanese women posing seven expressions.

Lyons, Kamachi and Gyoba, The Japanese Female Facial Expression dataset, 1998. Layout: `KA.AN1.39.tiff`, person,
expression and its number, number of the photo; 256x256, grey (23 are stored with a palette).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from efface.datasets.card import Card
from efface.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

CARD = Card(
    name="jaffe",
    title="JAFFE",
    licence="non-commercial research, on request",
    home="https://zenodo.org/records/3451524",
    layout="KA.AN1.39.tiff: person.expression and its number.number",
    about="213 photos of ten women posing seven expressions",
)

NAME = re.compile(r"([A-Z]{2})\.(AN|DI|FE|HA|NE|SA|SU)(\d)\.(\d+)\.tiff?", re.IGNORECASE)
EXPRESSIONS = {
    "AN": "angry",
    "DI": "disgusted",
    "FE": "afraid",
    "HA": "happy",
    "NE": "neutral",
    "SA": "sad",
    "SU": "surprised",
}


def read(path: Path) -> pd.DataFrame:
    """A row per photo, with `expression` (of `EXPRESSIONS`). Other files, such as the set's README, are passed over."""
    import pandas as pd

    if not path.is_dir():
        raise InputError(f"{path} is not a folder: expected {CARD.layout}")
    photos = sorted(
        file for file in path.iterdir() if file.suffix.lower() in (".tif", ".tiff") and not file.name.startswith(".")
    )
    matches = [(file, NAME.fullmatch(file.name)) for file in photos]
    strange = [file.name for file, match in matches if match is None]
    if strange or not photos:
        raise InputError(f"{path} holds {f'the file {strange[0]}' if strange else 'no photos'}: expected {CARD.layout}")
    rows = [
        (file.stem, str(file.absolute()), match[1].upper(), EXPRESSIONS[match[2].upper()])
        for file, match in matches
        if match
    ]
    return pd.DataFrame(rows, columns=["key", "path", "person", "expression"])
