"""CUHK facial points: 13,466 photos with a face box and five points.

Sun, Wang and Tang, Deep Convolutional Network Cascade for Facial Point Detection, CVPR 2013. Layout:
`trainImageList.txt`, `testImageList.txt` and the photo folders they name (`lfw_5590`, `net_7876`). For research only;
offered by the authors at https://mmlab.ie.cuhk.edu.hk/archive/CNN_FacePoint.htm.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from efface.data.faces import EYES
from efface.datasets.card import Card
from efface.datasets.mtfl import read_lists

if TYPE_CHECKING:
    import pandas as pd

CARD = Card(
    name="cuhk",
    title="CUHK facial point detection",
    licence="research only",
    home="https://mmlab.ie.cuhk.edu.hk/archive/CNN_FacePoint.htm",
    layout="trainImageList.txt, testImageList.txt and the photo folders they name",
    about="13,466 photos with a face box, eyes, nose and mouth corners; no identities",
)

PARTS = {"train": "trainImageList.txt", "test": "testImageList.txt"}
BOX = ["box_left", "box_right", "box_top", "box_bottom"]


def read(path: Path) -> pd.DataFrame:
    """A row per photo of the lists that are there, `part` says of which. No identities, so each photo is its own
    person.

    The lists give x1 y1 x2 y2 ..., the eye on the left of the image first; that is the subject's right.
    Columns: `BOX` (pixels), part (train or test).
    """
    table, numbers = read_lists(path, PARTS, 14, CARD)
    table[EYES] = numbers[:, [6, 7, 4, 5]]
    table[BOX] = numbers[:, :4]
    return table
