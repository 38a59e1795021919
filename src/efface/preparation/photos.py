"""A table of photos: checked before any is opened, and those found that look the same."""

from __future__ import annotations

from itertools import combinations, islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import EYES
from efface.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image


def check_photos(photos: pd.DataFrame, *, annotated: bool) -> None:
    """Raise `InputError` for a table that is no table of photos (`annotated`: with eyes), before any is opened."""
    needed = ["key", "path", "person", *(EYES if annotated else [])]
    missing = [column for column in needed if column not in photos]
    if missing and set(missing) <= set(EYES):
        raise InputError(f"the photos have no {', '.join(missing)}: annotate them, or choose eyes 'detected' or 'none'")
    if missing:
        raise InputError(f"the table of photos has no column {', '.join(missing)}: use a reader of efface.datasets")
    if photos.empty:
        raise InputError("there are no photos to prepare: the table has no rows")
    twice = photos["key"][photos["key"].duplicated()]
    if len(twice):
        count = int((photos["key"] == twice.iloc[0]).sum())
        raise InputError(f"key '{twice.iloc[0]}' stands {count} times: must be unique")
    nobody = photos["key"][photos["person"].isna() | (photos["person"] == "")]
    if len(nobody):
        raise InputError(f"photo '{nobody.iloc[0]}' has no person: give each unknown person a name of their own")
    if annotated:
        _check_eyes(photos)


def difference_hash(photo: Image.Image) -> int:
    """64 bits: whether each cell of an 8x8 raster over the photo is brighter than its right neighbour."""
    from PIL import Image

    cells = np.asarray(photo.convert("L").resize((9, 8), Image.Resampling.BOX)).astype(int)
    return int.from_bytes(np.packbits(cells[:, :-1] > cells[:, 1:]).tobytes(), "big")


def near_duplicates(looks: NDArray[np.uint64], photos: pd.DataFrame, shown: int = 20) -> tuple[int, list[list[str]]]:
    """How many pairs of photos of different people have one difference hash, and the keys of the first few.

    Equal, not merely close: of LFW's 11,585 aligned faces no two people's are equal, but five pairs of quite different
    photos are a single bit apart.
    """
    table = photos[["key", "person"]].assign(look=looks)
    same_look = table["look"].value_counts()
    same_person = table.value_counts(["look", "person"])
    count = int((same_look * (same_look - 1) // 2).sum() - (same_person * (same_person - 1) // 2).sum())
    alike = table[table["look"].isin(same_look.index[same_look > 1])]
    pairs = (
        [key, other]
        for _, group in alike.groupby("look", sort=False)
        for (key, person), (other, whose) in combinations(zip(group["key"], group["person"], strict=True), 2)
        if person != whose
    )
    return count, list(islice(pairs, shown))


def _check_eyes(photos: pd.DataFrame) -> None:
    """Raise `InputError` for eyes that are no two points."""
    marks = photos[EYES].to_numpy(dtype=float)
    wrong = np.flatnonzero(~np.isfinite(marks).all(axis=1) | (marks[:, :2] == marks[:, 2:]).all(axis=1))
    if len(wrong):
        given = ", ".join(f"{value:g}" for value in marks[wrong[0]])
        raise InputError(f"photo '{photos['key'].iloc[wrong[0]]}' has the eyes ({given}): expected two points apart")
