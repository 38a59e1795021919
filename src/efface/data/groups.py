"""Who counts as which group: by a column, a predicate, somebody's predictions, or clusters of the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from efface.data.faces import Array, FaceTable
from efface.data.names import among, normal
from efface.errors import InputError, nearest
from efface.files import plain_cells, read_csv
from efface.plan.tables import Source

if TYPE_CHECKING:
    import pandas as pd


def grouped(table: pd.DataFrame, source: Source, face_table: FaceTable) -> pd.DataFrame:
    """The table with a column `group` of strings. Groups that nobody knows but a classifier or an algorithm are called
    so, wherever they are named."""
    if source.group is not None:
        return table.assign(group=normal(source.group))
    if source.group_file is not None:
        return table.assign(group="predicted " + predicted(source.group_file, table["key"]))
    if source.group_where is not None:
        mine = having(table, source.group_where, "data.group_where")
        name = ", ".join(normal(value) for values in source.group_where.values() for value in values)
        return table.assign(group=np.where(mine, name, "everyone else"))
    if source.group_clusters is not None:
        return table.assign(group=clustered(face_table.images, table, source.group_clusters))
    known = column(table, source.group_by, "data.group_by") if source.group_by else table.get("group")
    return table.assign(group="" if known is None else known.astype(str).where(known.notna(), ""))


def having(table: pd.DataFrame, wanted: Mapping[str, Sequence[str]], where: str) -> Array:
    """(n,) whether each row has one of the values in each of these columns; InputError for one that none of those has
    who meet the columns before."""
    rows = np.ones(len(table), bool)
    for name, given in wanted.items():
        values = [normal(value) for value in given]
        present = column(table, name, f"{where}.{name}").astype(str)
        for value in values:
            if not (present[rows] == value).any():
                raise InputError(f"{where}.{name}: no face has '{value}'{nearest(value, set(present[rows]))}")
        rows &= present.isin(values).to_numpy(bool)
    return rows


def predicted(path: Path, keys: pd.Series[Any]) -> pd.Series[Any]:
    """The group of each face by a CSV with columns `key` and `group`; InputError where it has none."""
    said = plain_cells(read_csv(path, "data.group_file"))
    for name in ("key", "group"):
        column(said, name, f"data.group_file {path}")
    of = said.drop_duplicates("key").set_index("key")["group"].map(normal)
    spelt = keys.map(among(of.index))
    for key in keys[spelt.isna()][:1]:
        raise InputError(f"data.group_file {path} has no row for face '{key}': predict the group of every face")
    return spelt.map(of)


def clustered(images: Array, table: pd.DataFrame, count: int) -> Array:
    """(n,) str: k-means clusters of people by the pictures themselves: the mean of each person's, at 8x8 pixels, by
    their sixteen principal components. They say who looks alike (light, contrast, pose), not who belongs to whom."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    small = np.stack([reduced(images[row]) for row in table.index])
    people, of = np.unique(table["person"].to_numpy(str), return_inverse=True)
    if len(people) < 10 * count:
        raise InputError(f"data.group_clusters = {count} of {len(people)} people: give at most {len(people) // 10}")
    mean = np.stack([np.bincount(of, column) for column in small.T], axis=1) / np.bincount(of)[:, None]
    components = PCA(min(16, *mean.shape), random_state=0).fit_transform(mean)
    found = KMeans(count, n_init=10, random_state=0).fit_predict(components)
    return np.array([f"cluster {number + 1}" for number in found[of]])


def reduced(image: Array) -> Array:
    """A picture (c, h, w) as the means of 8x8 patches, flat."""
    _, height, width = image.shape
    rows, columns = (np.linspace(0, size, min(8, size) + 1).astype(int)[:-1] for size in (height, width))
    sums = np.add.reduceat(np.add.reduceat(image.astype(np.float64), rows, 1), columns, 2)
    areas = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    flat: Array = (sums / areas).reshape(-1)
    return flat


def column(table: pd.DataFrame, name: str, where: str) -> pd.Series[Any]:
    """A column by name, or an InputError that names the nearest."""
    if name not in table:
        raise InputError(f"{where}: no column '{name}'{nearest(name, map(str, table.columns))}")
    return table[name]
