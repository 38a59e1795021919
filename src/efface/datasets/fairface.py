"""FairFace: faces from Flickr, balanced by race, labelled with age, gender and race.

Karkkainen and Joo, FairFace, WACV 2021. Layout: `fairface_label_train.csv`, `fairface_label_val.csv` and the photos
`train/1.jpg`, `val/1.jpg` beside them. CC BY 4.0; offered at https://github.com/joojs/fairface.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from efface.datasets.card import Card
from efface.datasets.folder import key_below, read_table
from efface.errors import InputError
from efface.files import whole_number

if TYPE_CHECKING:
    import pandas as pd

CARD = Card(
    name="fairface",
    title="FairFace",
    licence="CC BY 4.0",
    home="https://github.com/joojs/fairface",
    layout="fairface_label_train.csv, fairface_label_val.csv, train/1.jpg, val/1.jpg in one folder",
    about="108,501 photos balanced over seven races, with age, gender and race; one photo per person",
)

AGES = ["0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70"]
_NUMBERS = {tuple(map(int, re.findall(r"\d+", age))): age for age in AGES}
_MONTHS = {"jan": 1, "feb": 2, "mar": 3, "sep": 9, "oct": 10}
"""What a spreadsheet makes of 3-9 is `03-Sep` or `09-Mar`, of 10-19 `Oct-19`."""


def read(path: Path) -> pd.DataFrame:
    """A row per photo of the label files that are there, `part` says of which. Nobody stands twice, so each photo is
    its own person.

    Columns: age (one of `AGES`), gender, race, service_test (bool: in the balanced subset), part (train or val).
    """
    import pandas as pd

    files = {part: path / f"fairface_label_{part}.csv" for part in ("train", "val")}
    parts = [_part(path, part, file) for part, file in files.items() if file.is_file()]
    if not parts:
        raise InputError(f"{path} holds no label file: expected {CARD.layout}")
    return pd.concat(parts, ignore_index=True)


def read_age(text: str) -> str:
    """The age band that was meant, of `AGES`, also where a spreadsheet took it for a date."""
    words = re.findall(r"[0-9]+|[a-z]+", text.lower())
    numbers = [_MONTHS.get(word[:3], whole_number(word)) for word in words]
    age = _NUMBERS.get(tuple(sorted(number for number in numbers if number is not None)))
    if age is None:
        raise InputError(f"age '{text}' is none of {', '.join(AGES)}")
    return age


def _part(path: Path, part: str, file: Path) -> pd.DataFrame:
    """The rows of one label file. Photos are named `train/1.jpg`, whatever folder the file writes before that."""
    import pandas as pd

    labels = read_table(file, ["file", "age", "gender", "race"])
    names = ["/".join(Path(name.replace("\\", "/")).parts[-2:]) for name in labels["file"]]
    keys = [key_below(name, file) for name in names]
    ages = {text: read_age(text) for text in labels["age"].unique()}
    table = pd.DataFrame(
        {
            "key": keys,
            "path": [str((path / name).absolute()) for name in names],
            "person": keys,
            "age": labels["age"].map(ages),
            "gender": labels["gender"],
            "race": labels["race"],
            "part": part,
        }
    )
    if "service_test" in labels:
        table["service_test"] = labels["service_test"].str.strip().str.lower() == "true"
    return table
