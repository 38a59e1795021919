"""MUFAC, the Machine Unlearning for Facial Age Classifier benchmark: Korean families, eight ages.

Choi and Na, arXiv:2311.02240; from AI Hub's Korean family photos. Layout: `custom_train_dataset.csv`,
`custom_val_dataset.csv`, `custom_test_dataset.csv` (family_id, person_id, age_class, image_path) beside
`train_images/`, `val_images/`, `test_images/`, 128x128. In the benchmark the val file is the test set and the test file
is "unseen".

The archive lists the same people again under neighbouring family numbers. Of its 13,068 rows 7,093 have an identical
copy elsewhere, and 3,949 are redundant; 675 of its 1,216 people (family and member) share a file with another of them,
and merged on shared files they are 841. Of the published request, the first 1,500 rows, 18 photos lie identical among
the retained; of a request by person 823 of 1,494 (754 to 906 over five divisions). Of 1,002 photos of strangers 260 are
identical to a public one and 27 to a trained one; 16 public ones stand in test. A memorising model that was retrained
without 1,494 photos by person answered .718 of the forgotten rightly that have a retained copy, .349 of the others. So
people who share a photo are one person here by default (`data.duplicates = "merge"`), and `person_by = "family"` takes
whole families, relatives and all, as what is forgotten together.

Ages differ too: 38% of the first 1,500 rows are in the four oldest classes, 17% of the strangers' photos.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from efface.datasets.card import Card
from efface.datasets.folder import read_table
from efface.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

CARD = Card(
    name="mufac",
    title="MUFAC",
    licence="research, under the terms of AI Hub's family photos",
    home="https://github.com/ndb796/MachineUnlearning",
    layout="custom_{train,val,test}_dataset.csv beside train_images/, val_images/, test_images/",
    about="13,068 photos (3,949 are copies) of Korean families in eight age classes; the identity-forgetting benchmark",
)

AGES = {"a": "0-6", "b": "7-12", "c": "13-19", "d": "20-30", "e": "31-45", "f": "46-55", "g": "56-66", "h": "67-80"}
PROTOCOL = {"train": "train", "val": "test", "test": "strangers"}


def read(path: Path) -> pd.DataFrame:
    """A row per photo, in the order of the files. A person is a family's member: `F0001_D`.

    Columns: age (a band), age_class (a to h), family, part (the file), protocol (the benchmark's split, under this
    package's names) and protocol_clean (every third family of the benchmark's unseen ones is public instead, so that a
    method that needs public faces does not train on those it is evaluated with).
    """
    import pandas as pd

    files = {part: path / f"custom_{part}_dataset.csv" for part in PROTOCOL}
    missing = [file.name for file in files.values() if not file.is_file()]
    if missing:
        raise InputError(f"{path} holds no {missing[0]}: expected {CARD.layout}")
    return pd.concat([read_part(path, part, file) for part, file in files.items()], ignore_index=True)


def read_part(path: Path, part: str, file: Path) -> pd.DataFrame:
    """The rows of one file."""
    import pandas as pd

    labels = read_table(file, ["family_id", "person_id", "age_class", "image_path"])
    classes = labels["age_class"].str.strip().str.lower()
    for place in classes[~classes.isin(list(AGES))].index:
        raise InputError(
            f"{file}: age_class of '{labels['image_path'][place]}' is '{labels['age_class'][place]}': "
            f"expected {', '.join(AGES)}"
        )
    names = labels["image_path"].str.strip()
    stems = names.map(lambda name: Path(name).stem)
    families = labels["family_id"].str.strip()
    number = {family: place for place, family in enumerate(sorted(families.unique()))}
    third = families.map(number) % 3 == 0
    return pd.DataFrame(
        {
            "key": f"{part}/" + stems.where(~stems.duplicated(keep=False), names),
            "path": [str((path / f"{part}_images" / Path(name).name).absolute()) for name in names],
            "person": families + "_" + labels["person_id"].str.strip(),
            "age": classes.map(AGES),
            "age_class": classes,
            "family": families,
            "part": part,
            "protocol": PROTOCOL[part],
            "protocol_clean": third.map({True: "public", False: "strangers"}) if part == "test" else PROTOCOL[part],
        }
    )
