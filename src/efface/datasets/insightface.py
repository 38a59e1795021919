"""CASIA-WebFace, MS1M and others as insightface hands them out: `train.rec`, `train.idx` and `property` in a folder.

Guo et al., MS-Celeb-1M, ECCV 2016; Yi et al., Learning Face Representation from Scratch, arXiv:1411.7923. Faces are
aligned to 112x112; a person is a number. Nothing is decoded here and no picture held: a photo's path is the record
file with the byte its record begins at, `train.rec@12345`, which `efface prepare` reads one at a time. As a tree of
folders (`0000045/001.jpg`) the same sets are read by `folder`.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from efface.data.recordio import first_labels, read_record
from efface.datasets.card import Card
from efface.errors import InputError, refusing
from efface.files import read_text, whole_number

if TYPE_CHECKING:
    import pandas as pd

CARD = Card(
    name="insightface",
    title="A face set in insightface's record format (CASIA-WebFace, MS1M, ...)",
    licence="as of the set inside: CASIA-WebFace and MS1M for non-commercial research only",
    home="https://github.com/deepinsight/insightface/tree/master/recognition/_datasets_",
    layout="train.rec, train.idx, property",
    about="Hundreds of thousands of aligned faces in one file",
)


def read(path: Path) -> pd.DataFrame:
    """A row per photo; the key is its number in the set, the person the number of its label."""
    import pandas as pd

    for name in ("train.rec", "train.idx", "property"):
        if not (path / name).is_file():
            raise InputError(f"{path / name} is missing: expected a folder with {CARD.layout}")
    record = path / "train.rec"
    announced = people_announced(path / "property")
    keys, offsets = read_index(path / "train.idx", record.stat().st_size)
    images = pictures(record, keys, offsets)
    labels = first_labels(record, offsets[images])
    if not (len(labels) and ((labels >= 0) & (labels < 2**31) & (labels == np.floor(labels))).all()):
        raise InputError(f"{record} has labels that are no numbers of people: expected whole numbers from 0 on")
    if len(np.unique(labels)) > announced:
        raise InputError(
            f"{record} has {len(np.unique(labels))} people but {path / 'property'} announces {announced}: "
            "the files belong to different sets"
        )
    return pd.DataFrame(
        {
            "key": np.char.zfill(keys[images].astype(str), 7),
            "path": [f"{record.absolute()}@{offset}" for offset in offsets[images].tolist()],
            "person": np.char.zfill(labels.astype(np.int64).astype(str), 6),
        }
    )


def people_announced(file: Path) -> int:
    """The number of people in `property`, a line like `10572,112,112`."""
    words = read_text(file, "property").strip().strip(",").split(",")
    numbers = [number for word in words if (number := whole_number(word.strip()))]
    if len(words) != 3 or len(numbers) != 3:
        raise InputError(f"{file} is not a line like '10572,112,112': people, height, width, each above 0")
    return numbers[0]


def read_index(file: Path, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keys and offsets of an `.idx`, sorted by key; `size` is that of the record file in bytes."""
    import pandas as pd

    text = read_text(file, "index")
    if not text.strip():
        raise InputError(f"{file} is empty: expected a line 'key<tab>offset' per record")
    with refusing(f"{file} is cut off or no index: expected a line 'key<tab>offset' per record"):
        table = pd.read_csv(io.StringIO(text), sep="\t", header=None, dtype=np.int64)
        keys, offsets = table.set_axis(["key", "offset"], axis=1).sort_values("key").to_numpy().T
    if len(np.unique(keys)) < len(keys):
        raise InputError(f"{file} names a record twice: it is damaged, fetch it again")
    if offsets.min() < 0 or offsets.max() >= size:
        raise InputError(
            f"{file} points to byte {offsets.max()} of a record file of {size}: one of the two is cut "
            "off, or they belong to different sets"
        )
    return keys, offsets


def pictures(record: Path, keys: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n,) which records are pictures: those between record 0 and the descriptions of people, or all."""
    if keys[0] != 0:
        return np.ones(len(keys), bool)
    start = read_record(record, int(offsets[0]))
    if start.payload:
        return np.ones(len(keys), bool)
    first_person = start.labels[0]
    named = (keys > 0) & (keys < first_person)
    if named.sum() != first_person - 1:
        raise InputError(
            f"the index of {record} has {int(named.sum())} photos but record 0 announces "
            f"{first_person - 1:g}: the .idx is cut off, fetch it again"
        )
    return named
