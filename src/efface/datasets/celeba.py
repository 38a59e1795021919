"""CelebA and CelebA-HQ: celebrities with identities and 40 attributes each. CelebA-HQ is what MUCAC is made of.

Liu et al., Deep Learning Face Attributes in the Wild, ICCV 2015; Karras et al., ICLR 2018; MUCAC: Choi and Na,
arXiv:2311.02240. Text files: identities, `000001.jpg 2880` a line, with or without a header; attributes, a count, the
40 names, then a line per photo of -1 and 1, with one blank or two between.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from efface.data.faces import EYES
from efface.datasets.card import Card
from efface.errors import InputError, refusing
from efface.files import read_lines, whole_number

if TYPE_CHECKING:
    import pandas as pd

CELEBA = Card(
    name="celeba",
    title="CelebA",
    licence="non-commercial research",
    home="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    layout="identity_CelebA.txt, list_attr_celeba.txt, img_align_celeba/000001.jpg; list_eval_partition.txt and "
    "list_landmarks_align_celeba.txt where they are",
    about="202,599 photos of 10,177 celebrities with 40 attributes",
)

CELEBA_HQ = Card(
    name="celeba_hq",
    title="CelebA-HQ (MUCAC)",
    licence="non-commercial research",
    home="https://github.com/ndb796/MachineUnlearning",
    layout="CelebA-HQ-identity.txt, CelebA-HQ-attribute.txt, CelebAMask-HQ/CelebA-HQ-img/0.jpg",
    about="30,000 photos of 6,217 celebrities with 40 attributes; MUCAC's split by identity",
)

PARTS = {"0": "train", "1": "val", "2": "test"}
FIRST_TRAINED, FIRST_RETAINED, FIRST_UNSEEN = 190, 1250, 4855
"""MUCAC's split by the number of the identity: test, then forget, then retain, then unseen."""


def read_celeba(path: Path) -> pd.DataFrame:
    """A row per photo: the 40 attributes (1 or 0), part (train, val or test) where the partition file is there, and eye
    centres where the aligned landmarks are. The landmarks call the eye on the left of the image left; it is the
    subject's right."""

    table = labelled(path, "identity_CelebA.txt", "list_attr_celeba.txt", [path / "img_align_celeba"], CELEBA)
    partition, landmarks = path / "list_eval_partition.txt", path / "list_landmarks_align_celeba.txt"
    if partition.is_file():
        part = {words[0]: words[1] for words in lines_of(partition) if len(words) == 2}
        table["part"] = [PARTS.get(part.get(f"{key}.jpg", ""), "") for key in table["key"]]
    if landmarks.is_file():
        points = {words[0]: words[1:5] for words in lines_of(landmarks) if len(words) == 11}
        nowhere = ["nan"] * 4
        with refusing(f"{landmarks} gives a point that is no number"):
            right_x, right_y, left_x, left_y = np.array(
                [points.get(f"{key}.jpg", nowhere) for key in table["key"]], np.float64
            ).T
        table = table.assign(**dict(zip(EYES, (left_x, left_y, right_x, right_y), strict=True)))
    return table


def read_celeba_hq(path: Path) -> pd.DataFrame:
    """A row per photo: the 40 attributes (1 or 0) and MUCAC's split by identity.

    Columns: protocol (MUCAC's split, under this package's names: its unseen people are the strangers), protocol_clean
    (every other of those is public instead), request (forget or retain, of who is trained on).
    """
    folders = [path / "CelebAMask-HQ" / "CelebA-HQ-img", path / "CelebA-HQ-img"]
    table = labelled(path, "CelebA-HQ-identity.txt", "CelebA-HQ-attribute.txt", folders, CELEBA_HQ)
    number = table["person"].astype(int)
    protocol = np.select([number < FIRST_TRAINED, number < FIRST_UNSEEN], ["test", "train"], "strangers")
    trained = protocol == "train"
    return table.assign(
        protocol=protocol,
        protocol_clean=np.where((protocol == "strangers") & (number % 2 == 0), "public", protocol),
        request=np.where(trained, np.where(number < FIRST_RETAINED, "forget", "retain"), ""),
    )


def labelled(path: Path, identities: str, attributes: str, folders: list[Path], card: Card) -> pd.DataFrame:
    """A row per photo that is there, with its person and attributes; photos named but absent stand in
    `attrs["left_out"]`."""
    import pandas as pd

    for name in (identities, attributes):
        if not (path / name).is_file():
            raise InputError(f"{path} holds no {name}: expected {card.layout}")
    folder = next((one for one in folders if one.is_dir()), None)
    if folder is None:
        raise InputError(f"{path} holds no folder {folders[0].relative_to(path)}: expected {card.layout}")
    person = {
        words[0]: words[1]
        for words in lines_of(path / identities)
        if len(words) == 2 and whole_number(words[1]) is not None
    }
    names, values = read_attributes(path / attributes)
    present = {file.name for file in folder.iterdir()}
    rows = [name for name in values if name in present and name in person]
    if not rows:
        raise InputError(
            f"{folder} holds none of the photos that {attributes} and {identities} name: expected {card.layout}"
        )
    table = pd.DataFrame(
        {
            "key": [Path(name).stem for name in rows],
            "path": [str((folder / name).absolute()) for name in rows],
            "person": [person[name] for name in rows],
        }
    ).join(pd.DataFrame(np.stack([values[name] for name in rows]), columns=names))
    table.attrs["left_out"] = {
        name: "no photo" if name not in present else "no identity"
        for name in values
        if name not in present or name not in person
    }
    return table


def read_attributes(file: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """The attributes' names, and 1 or 0 for each by the photo's name, in the file's order."""
    lines = list(lines_of(file))
    start = 1 if lines and len(lines[0]) == 1 else 0
    if len(lines) < start + 2:
        raise InputError(f"{file} holds no photo: expected a count, the attributes' names, then a line per photo")
    names, values = lines[start], {}
    if len({*names, "key", "path", "person"}) < len(names) + 3:
        raise InputError(f"{file} names an attribute twice, or calls one key, path or person")
    for words in lines[start + 1 :]:
        if len(words) != len(names) + 1 or not set(words[1:]) <= {"-1", "0", "1"}:
            raise InputError(
                f"{file}: the line of '{words[0]}' has {len(words) - 1} values: expected {len(names)}, each -1 or 1"
            )
        values[words[0]] = np.array([int(word == "1") for word in words[1:]])
    return names, values


def lines_of(file: Path) -> list[list[str]]:
    """The words of each line that has any."""
    return [line.split() for line in read_lines(file, "list")]
