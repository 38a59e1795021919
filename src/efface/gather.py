"""From the sources a plan names to faces: read or rendered, prepared once, selected, and joined."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from efface.datasets import GENERATORS, READERS
from efface.errors import InputError, nearest
from efface.faces import Album, Array, Faces, Images
from efface.packed import open_packed, read_manifest
from efface.plan import Plan, Source
from efface.prepare import prepare
from efface.settings import bound
from efface.tasks import Task
from efface.watch import Watch

if TYPE_CHECKING:
    import pandas as pd

PASSED_BY_CODE = ("card", "progress")
"""Parameters of `prepare` that are no settings of a plan."""


@dataclass(frozen=True)
class Gathered:
    """The faces of a plan, the table they came from (same rows), and a hash that changes when either does."""

    faces: Faces
    table: pd.DataFrame
    signature: str


def gather(sources: Sequence[Source], task: Task, folder: Path, watch: Watch) -> Gathered:
    """Faces of all sources as the task wants them; photos are prepared once, into `folder`.

    With several sources each key is preceded by its source's place; a person of the same name in two sources
    is one person. Raises InputError for sources whose images differ in shape.
    """
    import pandas as pd

    parts, tables, signatures = [], [], []
    for number, source in enumerate(sources):
        album, signature = load(source, folder, watch)
        table = grouped(selected(album.table, source), source, album).assign(split_of_source=source.split)
        faces = as_faces(album, table, task, source.label, source.also_by, f"{number}:" if len(sources) > 1 else "")
        parts.append(faces)
        tables.append(table)
        signatures.append([signature, source.model_dump(mode="json", exclude={"path", "prepare"}),
                           source.group_file.read_text(encoding="utf-8") if source.group_file else ""])
    if len({source.also_by for source in sources}) > 1:
        raise InputError(f"sources differ in data.also_by: {[list(source.also_by) for source in sources]}; give all of "
                         "them the same")
    shapes = {faces.shape for faces in parts}
    if len(shapes) > 1:
        raise InputError(f"sources differ in image shape (channels, height, width): {sorted(shapes)}; "
                         "prepare them with the same size and colour")
    digest = hashlib.sha256(json.dumps(signatures, sort_keys=True).encode()).hexdigest()
    return Gathered(joined(parts), pd.concat(tables, ignore_index=True), digest)


def check_paths(plan: Plan) -> None:
    """Raise InputError for a file or folder that a plan names and that is not there."""
    named = [(f"data '{source.name}': {what}", path) for source in plan.data for what, path in
             (("path", source.path), ("group_file", source.group_file),
              ("prepare.detector", source.prepare.get("detector")))]
    named += [(f"verify '{one.name}': {what}", getattr(one, what)) for one in plan.verify
              for what in ("pairs", "bin", "quality")]
    named += [("forget.quality", plan.forget.quality), ("model.pretrained", plan.model.pretrained)]
    for what, path in named:
        if path is not None and not Path(path).exists():
            raise InputError(f"{what} {path} does not exist (paths are from where you stand)")


def load(source: Source, folder: Path, watch: Watch) -> tuple[Album, str]:
    """A source's album and a hash of its content."""
    where = f"data '{source.name}'"
    if source.name in GENERATORS:
        make = GENERATORS[source.name].make
        album = make(**bound(make, source.settings, where))
        return album, hashlib.sha256(np.ascontiguousarray(album.images).tobytes()).hexdigest()
    if source.path is None:
        raise InputError(f"{where} needs a path: the folder it lies in")
    if source.name == "packed":
        return open_packed(source.path), content_of(source.path)
    if source.name not in READERS:
        raise InputError(f"unknown dataset '{source.name}'{nearest(source.name, [*READERS, *GENERATORS, 'packed'])}")
    return prepared(source, folder, watch)


def prepared(source: Source, folder: Path, watch: Watch) -> tuple[Album, str]:
    """Photos of a dataset, packed below `folder` under a name that follows from all settings."""
    reader = READERS[source.name]
    assert source.path is not None
    photos = selected(reader.read(source.path, **bound(reader.read, source.settings, f"data '{source.name}'")), source)
    settings = bound(prepare, source.prepare, f"data '{source.name}'.prepare", PASSED_BY_CODE)
    asked = json.dumps([source.model_dump(mode="json"), sorted(photos["key"])], sort_keys=True, default=str)
    packed = folder / f"{source.name}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"
    prepare(photos, packed, card=reader.card, progress=watch.track, **settings)
    return open_packed(packed), content_of(packed)


def content_of(packed: Path) -> str:
    """A hash that changes with the images or labels of a packed folder."""
    return json.dumps(read_manifest(packed)["sha256"], sort_keys=True)


def selected(table: pd.DataFrame, source: Source) -> pd.DataFrame:
    """The rows a source asks for; the index still tells the row in the album.

    Raises InputError for a column or value that does not exist.
    """
    table = table[having(table, source.only, "data.only")]
    if table.empty:
        raise InputError(f"dataset '{source.name}': no face is left after only = {dict(source.only)}")
    if source.per_person is not None:
        place = table.sort_values("key").groupby("person", sort=False).cumcount()
        table = table[place.reindex(table.index) < source.per_person]
    return table


def grouped(table: pd.DataFrame, source: Source, album: Album) -> pd.DataFrame:
    """The table with a column `group` of strings. Groups that nobody knows but a classifier or an algorithm are called
    so, wherever they are named."""
    if source.group is not None:
        return table.assign(group=source.group)
    if source.group_file is not None:
        return table.assign(group="predicted " + predicted(source.group_file, table["key"]))
    if source.group_where is not None:
        mine = having(table, source.group_where, "data.group_where")
        name = ", ".join(value for values in source.group_where.values() for value in values)
        return table.assign(group=np.where(mine, name, "everyone else"))
    if source.group_clusters is not None:
        return table.assign(group=clustered(album.images, table, source.group_clusters))
    known = column(table, source.group_by, "data.group_by") if source.group_by else table.get("group")
    return table.assign(group="" if known is None else known.astype(str).where(known.notna(), ""))


def having(table: pd.DataFrame, wanted: Mapping[str, Sequence[str]], where: str) -> Array:
    """(n,) whether each row has one of the values in each of these columns; InputError for one that none of those has
    who meet the columns before."""
    rows = np.ones(len(table), bool)
    for name, values in wanted.items():
        present = column(table, name, f"{where}.{name}").astype(str)
        for value in values:
            if not (present[rows] == value).any():
                raise InputError(f"{where}.{name}: no face has '{value}'{nearest(value, set(present[rows]))}")
        rows &= present.isin(values).to_numpy(bool)
    return rows


def predicted(path: Path, keys: pd.Series[Any]) -> pd.Series[Any]:
    """The group of each face by a CSV with columns `key` and `group`; InputError where it has none."""
    import pandas as pd

    try:
        said = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"data.group_file {path} cannot be read: {error}") from None
    for name in ("key", "group"):
        column(said, name, f"data.group_file {path}")
    of = said.drop_duplicates("key").set_index("key")["group"]
    for key in keys[~keys.isin(of.index)][:1]:
        raise InputError(f"data.group_file {path} has no row for face '{key}': predict the group of every face")
    return keys.map(of)


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


def as_faces(
    album: Album, table: pd.DataFrame, task: Task, labels: Sequence[str] = (), also_by: Sequence[str] = (),
    prefix: str = "",
) -> Faces:
    """The rows of `table` (its index tells the row in the album) as the task's faces; labels: columns to answer;
    also_by: columns for intersections with the group."""
    for name in task.needs:
        column(table, name, f"task '{task.name}'")
    for name in labels:
        column(table, name, "data.label")
    targets = task.targets(table, labels)
    if bad := task.complaint(targets, album.images.shape):
        row, why = bad
        raise InputError(f"face '{table['key'].iloc[row]}': {why}")
    return Faces(
        images=Images(album.images, table.index.to_numpy(np.int64)),
        targets=targets,
        identities=table["person"].to_numpy(str),
        groups=table["group"].to_numpy(str),
        keys=np.array([prefix + key for key in table["key"]]),
        traits=np.stack([f"{name} " + column(table, name, "data.also_by").astype(str).to_numpy(object)
                         for name in also_by], axis=1).astype(str) if also_by else None,
    )


def joined(parts: Sequence[Faces]) -> Faces:
    """All faces as one; images of several sources are read into memory."""
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {name: np.concatenate([faces.columns()[name] for faces in parts])
                               for name in parts[0].columns()}
    store = np.concatenate([faces.images[:] for faces in parts])
    return Faces(images=Images(store, np.arange(len(store))), **columns)
