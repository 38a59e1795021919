"""What a network should answer to the photos of a request: eye centres, classes or attributes, from their manifests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from efface.data.faces import EYES, Array
from efface.errors import InputError
from efface.preparation.crop import Floats, into_picture
from efface.tasks import TASKS
from efface.tasks.attributes import yes_or_no

if TYPE_CHECKING:
    import pandas as pd

    from efface.erasure.request import ErasureRequest


def answers_of(request: ErasureRequest) -> tuple[int, ...] | None:
    """The shape of a network's answer to one image; None for an embedding, of any length."""
    if request.recognises:
        return None
    return (2, 2) if TASKS[request.task].outputs == "points" else (len(request.classes) or len(request.label),)


def targets_of(
    request: ErasureRequest, table: pd.DataFrame, places: Floats, shape: tuple[int, ...], path: Path
) -> Array:
    """(n, ...) what is right for each row of a side's table: eye centres (n, 2, 2) in pixels of the faces, the number
    of each row's class (n,), or attributes (n, a).

    places: maps (n, 2, 3) from positions in a face to positions in its photo; shape: of the faces (n, c, h, w). Raises
    InputError for a column that is missing, and a value that cannot be right.
    """
    task = TASKS[request.task]
    wanted = [*task.needs, *request.label]
    if missing := [name for name in wanted if name not in table]:
        raise InputError(f"{path} has no column '{missing[0]}': task '{request.task}' needs a manifest that says it")
    if task.outputs == "points":
        points = table[EYES].to_numpy(np.float64).reshape(-1, 2, 2)
        found: Array = np.array([into_picture(place, one) for place, one in zip(places, points, strict=True)])
        targets = found.astype(np.float32)
    elif task.labels == "one":
        targets = numbers_of(table, request, path)
    else:
        targets = yes_or_no(table, request.label)
    if wrong := task.complaint(targets, shape):
        raise InputError(f"{path}: photo '{table['key'].iloc[wrong[0]]}': {wrong[1]}")
    return targets


def numbers_of(table: pd.DataFrame, request: ErasureRequest, path: Path) -> Array:
    """(n,) the place of each row's class among the network's outputs."""
    number = {name: place for place, name in enumerate(request.classes)}
    words = table[request.label[0]].astype(str).str.strip().tolist()
    for key, word in zip(table["key"], words, strict=True):
        if word not in number:
            raise InputError(
                f"{path}: photo '{key}' has {request.label[0]} '{word}', which is none of classes: "
                f"{', '.join(request.classes)}"
            )
    return np.array([number[word] for word in words], np.int64)
