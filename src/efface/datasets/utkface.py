"""UTKFace: faces from the web with age, gender and race in the file's name.

Zhang, Song and Qi, Age Progression/Regression by Conditional Adversarial Autoencoder, CVPR 2017. Layout:
`26_0_1_20170104.jpg.chip.jpg`: age, gender (0 male), race, date. A few names lack a part; those are left out and
counted.
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
    name="utkface",
    title="UTKFace",
    licence="non-commercial research",
    home="https://susanqq.github.io/UTKFace/",
    layout="26_0_1_20170104.jpg.chip.jpg: age_gender_race_date",
    about="Over 20,000 faces of 0 to 116 years with age, gender and race; one photo per person",
)

NAME = re.compile(r"(\d{1,3})_([01])_([0-4])_(\d+)\.jpg(\.chip)?(\.jpg)?", re.IGNORECASE)
GENDERS = ("male", "female")
RACES = ("White", "Black", "Asian", "Indian", "Others")


def read(path: Path) -> pd.DataFrame:
    """A row per photo: age (years), decade ("20-29"; from 80 on one), gender, race. No identities, so each photo is its
    own person. Names that do not say all of it stand in `attrs["left_out"]`."""
    import pandas as pd

    if not path.is_dir():
        raise InputError(f"{path} is not a folder: expected {CARD.layout}")
    files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".jpg" and not file.name.startswith("."))
    matches = [(file, NAME.fullmatch(file.name)) for file in files]
    rows = [
        (file.name.split(".")[0], str(file.absolute()), int(match[1]), GENDERS[int(match[2])], RACES[int(match[3])])
        for file, match in matches
        if match
    ]
    if not rows:
        raise InputError(f"{path} holds no photos of that kind: expected {CARD.layout}")
    table = pd.DataFrame(rows, columns=["key", "path", "age", "gender", "race"])
    table.insert(2, "person", table["key"])
    table.insert(
        4,
        "decade",
        [
            f"{age // 10}0-{age // 10}9" if 10 <= age < 80 else "0-9" if age < 10 else "80 and over"
            for age in table["age"]
        ],
    )
    table.attrs["left_out"] = {file.name: "no such name" for file, match in matches if match is None}
    return table
