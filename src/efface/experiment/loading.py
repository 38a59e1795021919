"""From the sources a plan names to faces: read or rendered, prepared once, selected, and joined."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from efface.data.duplicates import aliases, pictures, renamed
from efface.data.faces import Faces, FaceTable, Images, joined
from efface.data.groups import column, grouped, having
from efface.data.names import spelling_warning
from efface.datasets import GENERATORS, READERS, read_photos
from efface.errors import InputError, nearest
from efface.files import read_text
from efface.plan.tables import Plan, Source
from efface.preparation.packed import open_packed, read_manifest
from efface.preparation.prepare import prepare
from efface.progress import Progress
from efface.settings import validated
from efface.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

PASSED_BY_CODE = ("card", "progress", "renew")
"""Parameters of `prepare` that are no settings of a plan."""


@dataclass(frozen=True)
class LoadedFaces:
    """The faces of a plan, the table they came from (same rows), and a hash that changes when either does."""

    faces: Faces
    table: pd.DataFrame
    signature: str
    aliases: dict[str, str]
    """The name that stands for a person, by each other name that shares an identical picture with it."""


def load_sources(
    sources: Sequence[Source], task: Task, folder: Path, progress: Progress, *, packed: bool = False
) -> LoadedFaces:
    """Faces of all sources as the task wants them; photos are prepared once, into `folder`. packed: another process
    did so, and has checked them.

    With several sources each key is preceded by its source's place; a person of the same name in two sources
    is one person, and so are people who share identical pixels, where a source says so. Raises InputError for sources
    whose images differ in shape.
    """
    import pandas as pd

    parts, tables, signatures = [], [], []
    for number, source in enumerate(sources):
        face_table, signature = load_source(source, folder, progress, packed=packed)
        table = grouped(selected(face_table.table, source), source, face_table).assign(split_of_source=source.split)
        faces = as_faces(
            face_table, table, task, source.label, source.also_by, f"{number}:" if len(sources) > 1 else ""
        )
        parts.append(faces)
        tables.append(table)
        signatures.append(
            [
                signature,
                source.model_dump(mode="json", exclude={"path", "prepare"}),
                read_text(source.group_file, "data.group_file") if source.group_file else "",
            ]
        )
    if len({source.also_by for source in sources}) > 1:
        raise InputError(
            f"sources differ in data.also_by: {[list(source.also_by) for source in sources]}; give all of them the same"
        )
    shapes = {faces.shape for faces in parts}
    if len(shapes) > 1:
        raise InputError(
            f"sources differ in image shape (channels, height, width): {sorted(shapes)}; "
            "prepare them with the same size and colour"
        )
    digest = hashlib.sha256(json.dumps(signatures, sort_keys=True).encode()).hexdigest()
    faces, others = without_duplicates(
        joined(parts, folder / f"joined-{digest[:12]}.npy"),
        [(duplicates_of(one), len(part)) for one, part in zip(sources, parts, strict=True)],
    )
    if said := spelling_warning(set(faces.identities.tolist())):
        progress.say(said)
    return LoadedFaces(faces, pd.concat(tables, ignore_index=True), digest, others)


def duplicates_of(source: Source) -> str:
    """What becomes of duplicates in a source: what it says, else what is usual for its dataset."""
    if source.duplicates is not None:
        return source.duplicates
    name = read_manifest(source.path).get("name") if source.name == "packed" and source.path else source.name
    return READERS[name].duplicates if name in READERS else "warn"


def without_duplicates(faces: Faces, ways: Sequence[tuple[str, int]]) -> tuple[Faces, dict[str, str]]:
    """The faces with the numbers of their pictures and one name per person, and the other names; ways: of each source
    what becomes of its duplicates, and how many faces it has."""
    way = np.repeat([one for one, _ in ways], [count for _, count in ways])
    if (way == "ignore").all():
        return faces, {}
    numbers = np.full(len(faces), -1, np.int64)
    looked = np.flatnonzero(way != "ignore")
    numbers[looked] = pictures(faces.images if len(looked) == len(faces) else faces[looked].images)
    others = aliases(faces.identities, np.where(way == "merge", numbers, -1)) if (way == "merge").any() else {}
    return replace(faces, identities=renamed(faces.identities, others), pictures=numbers), others


def check_paths(plan: Plan) -> None:
    """Raise InputError for a file or folder that a plan names and that is not there."""
    named = [
        (f"data '{source.name}': {what}", path)
        for source in plan.data
        for what, path in (
            ("path", source.path),
            ("group_file", source.group_file),
            ("prepare.detector", source.prepare.get("detector")),
        )
    ]
    named += [
        (f"verify '{one.name}': {what}", getattr(one, what))
        for one in plan.verify
        for what in ("pairs", "bin", "quality", "quality_of_trained")
    ]
    named += [
        ("forget.quality", plan.forget.quality),
        ("model.pretrained", plan.model.pretrained),
        ("model.weights", plan.model.weights),
    ]
    for what, path in named:
        if path is not None and not Path(path).exists():
            raise InputError(f"{what} {path} does not exist (paths are from where you stand)")


def load_source(source: Source, folder: Path, progress: Progress, *, packed: bool = False) -> tuple[FaceTable, str]:
    """A source's face table and a hash of its content; packed: as above."""
    where = f"data '{source.name}'"
    if source.name in GENERATORS:
        make = GENERATORS[source.name].make
        face_table = make(**validated(make, source.settings, where))
        return face_table, hashlib.sha256(np.ascontiguousarray(face_table.images).tobytes()).hexdigest()
    if source.path is None:
        raise InputError(f"{where} needs a path: the folder it lies in")
    if source.name == "packed":
        return open_packed(source.path), packed_digest(source.path)
    if source.name not in READERS:
        raise InputError(f"unknown dataset '{source.name}'{nearest(source.name, [*READERS, *GENERATORS, 'packed'])}")
    return prepared(source, folder, progress, packed=packed)


def prepared(source: Source, folder: Path, progress: Progress, *, packed: bool = False) -> tuple[FaceTable, str]:
    """Photos of a dataset, packed below `folder` under a name that follows from all settings; made again where what is
    there is damaged, or of photos that were replaced since, unless another process has looked (`packed`)."""
    reader = READERS[source.name]
    assert source.path is not None
    given = validated(reader.read, source.settings, f"data '{source.name}'")
    photos = selected(read_photos(reader, source.path, **given), source)
    settings = validated(prepare, source.prepare, f"data '{source.name}'.prepare", PASSED_BY_CODE)
    asked = json.dumps([source.model_dump(mode="json"), sorted(photos["key"])], sort_keys=True, default=str)
    place = folder / f"{source.name}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"
    if not packed:
        done = prepare(photos, place, card=reader.card, progress=progress.track, renew=True, **settings)
        progress.say(str(replace(done, warning="")))
    return open_packed(place, verify=False), packed_digest(place)


def packed_digest(folder: Path) -> str:
    """A hash that changes with the images or labels of a packed folder."""
    return json.dumps(read_manifest(folder)["sha256"], sort_keys=True)


def selected(table: pd.DataFrame, source: Source) -> pd.DataFrame:
    """The rows a source asks for, with its people; the index still tells the row in the face table.

    Raises InputError for a column or value that does not exist.
    """
    if source.person_by is not None:
        table = table.assign(person=column(table, source.person_by, "data.person_by").astype(str))
    table = table[having(table, source.only, "data.only")]
    if table.empty:
        raise InputError(f"dataset '{source.name}': no face is left after only = {dict(source.only)}")
    if source.per_person is not None:
        place = table.sort_values("key").groupby("person", sort=False).cumcount()
        table = table[place.reindex(table.index) < source.per_person]
    return table


def as_faces(
    face_table: FaceTable,
    table: pd.DataFrame,
    task: Task,
    labels: Sequence[str] = (),
    also_by: Sequence[str] = (),
    prefix: str = "",
) -> Faces:
    """The rows of `table` (its index tells the row in the face table) as the task's faces; labels: columns to answer;
    also_by: columns for intersections with the group."""
    for name in task.needs:
        column(table, name, f"task '{task.name}'")
    for name in labels:
        column(table, name, "data.label")
    targets = task.targets(table, labels)
    if bad := task.complaint(targets, face_table.images.shape):
        row, why = bad
        raise InputError(f"face '{table['key'].iloc[row]}': {why}")
    return Faces(
        images=Images(face_table.images, table.index.to_numpy(np.int64)),
        targets=targets,
        identities=table["person"].to_numpy(str),
        groups=table["group"].to_numpy(str),
        keys=np.array([prefix + key for key in table["key"]]),
        traits=np.stack(
            [f"{name} " + column(table, name, "data.also_by").astype(str).to_numpy(object) for name in also_by], axis=1
        ).astype(str)
        if also_by
        else None,
    )
