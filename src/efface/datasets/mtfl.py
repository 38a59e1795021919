"""MTFL: 12,995 photos with five points, gender, smile, glasses and pose.

Zhang et al., Facial Landmark Detection by Deep Multi-task Learning, ECCV 2014. Layout: `training.txt`, `testing.txt`
and the photo folders they name (`lfw_5590`, `net_7876`, `AFLW`). For research only; offered by the authors at
https://mmlab.ie.cuhk.edu.hk/projects/TCDCN.html.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from efface.data.faces import EYES
from efface.datasets.card import Card
from efface.datasets.folder import key_below
from efface.errors import InputError
from efface.files import read_lines

if TYPE_CHECKING:
    import pandas as pd

CARD = Card(
    name="mtfl",
    title="Multi-Task Facial Landmark (MTFL)",
    licence="research only",
    home="https://mmlab.ie.cuhk.edu.hk/projects/TCDCN.html",
    layout="training.txt, testing.txt and the photo folders they name",
    about="12,995 photos with eyes, nose and mouth corners, gender, smile, glasses and pose; no identities",
)

PARTS = {"train": "training.txt", "test": "testing.txt"}
GENDERS = {1: "male", 2: "female"}
ANSWERS = {1: "yes", 2: "no"}
POSES = {1: "left profile", 2: "left", 3: "frontal", 4: "right", 5: "right profile"}


def read(path: Path) -> pd.DataFrame:
    """A row per photo of the lists that are there, `part` says of which. No identities, so each photo is its own
    person.

    The lists give all x, then all y, the eye on the left of the image first; that is the subject's right.
    Columns: gender, smile and glasses (yes or no), pose (of `POSES`), part (train or test).
    """
    import pandas as pd

    table, numbers = read_lists(path, PARTS, 14, CARD)
    right_x, left_x, right_y, left_y = numbers[:, [0, 1, 5, 6]].T
    table[EYES] = np.stack([left_x, left_y, right_x, right_y], axis=1)
    names = {"gender": GENDERS, "smile": ANSWERS, "glasses": ANSWERS, "pose": POSES}
    for column, code in zip(names, range(10, 14), strict=True):
        words = pd.Series(numbers[:, code]).map(names[column])
        if words.isna().any():
            row = int(words.isna().to_numpy().argmax())
            raise InputError(
                f"{column} of '{table['key'].iloc[row]}' is {numbers[row, code]:g}: expected 1 to {len(names[column])}"
            )
        table[column] = words
    return table


def read_lists(path: Path, parts: dict[str, str], count: int, card: Card) -> tuple[pd.DataFrame, np.ndarray]:
    """The photos that text lists name (columns key, path, person, part) and the (n, count) numbers after each name.

    A list has a line per photo: its path (with backslashes, from Windows), then `count` numbers. Blank lines and
    lists that are not there are passed over; that nothing is left is an `InputError`.
    """
    import pandas as pd

    found = {part: path / name for part, name in parts.items() if (path / name).is_file()}
    if not found:
        raise InputError(f"{path} holds none of {', '.join(parts.values())}: expected {card.layout}")
    rows = [
        (part, *_row(line, count, file))
        for part, file in found.items()
        for line in read_lines(file, "list", otherwise="latin-1")
    ]
    if not rows:
        raise InputError(f"{' and '.join(map(str, found.values()))} name no photo: expected a line per photo")
    names = [name for _, name, _ in rows]
    keys = [key_below(name, path) for name in names]
    table = pd.DataFrame(
        {
            "key": keys,
            "path": [str((path / name).absolute()) for name in names],
            "person": keys,
            "part": [part for part, _, _ in rows],
        }
    )
    return table, np.array([numbers for _, _, numbers in rows])


def _row(line: str, count: int, file: Path) -> tuple[str, list[float]]:
    """(name with slashes, numbers) of one line; names may hold blanks, so numbers are counted from the end."""
    words = line.split()
    try:
        numbers = [float(word) for word in words[-count:]]
    except ValueError:
        numbers = []
    if len(words) <= count or not numbers or not np.isfinite(numbers).all():
        raise InputError(f"{file}: the line '{line.strip()[:60]}' is not a path and {count} numbers")
    return " ".join(words[:-count]).replace("\\", "/"), numbers
