"""AgeDB: press photos of public figures through their lives, with the age on each.

Moschoglou et al., AgeDB: the first manually collected, in-the-wild age database, CVPRW 2017. Layout:
`0_MariaCallas_35_f.jpg`, number, name, age, gender. For research, on request. Its verification set AgeDB-30 is mostly
met as `agedb_30.bin`.
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
    name="agedb",
    title="AgeDB",
    licence="non-commercial research, on request",
    home="https://ibug.doc.ic.ac.uk/resources/agedb/",
    layout="0_MariaCallas_35_f.jpg: number_name_age_gender",
    about="Public figures through their lives, with the age on each photo",
)

NAME = re.compile(r"(\d+)_(.+)_(\d+)_([mf])\.jpg", re.IGNORECASE)


def read(path: Path) -> pd.DataFrame:
    """A row per photo, with `age` (years) and `gender` (m, f)."""
    import pandas as pd

    if not path.is_dir():
        raise InputError(f"{path} is not a folder: expected {CARD.layout}")
    files = sorted(file for file in path.glob("*.[jJ][pP][gG]") if not file.name.startswith("."))
    matches = [(file, NAME.fullmatch(file.name)) for file in files]
    strange = [file.name for file, match in matches if match is None]
    if strange or not files:
        raise InputError(f"{path} holds {f'the file {strange[0]}' if strange else 'no photos'}: expected {CARD.layout}")
    rows = [
        (file.stem, str(file.absolute()), match[2], int(match[3]), match[4].lower()) for file, match in matches if match
    ]
    return pd.DataFrame(rows, columns=["key", "path", "person", "age", "gender"])
