"""Photos of a request: read as the model's contract wants them, and dealt out to methods and to what judges them.

No photo is on both sides. Of the forgotten a part of each person's photos is held back from every method; of those who
stay too; and of the public people some teach, some calibrate, and some, the strangers, no method ever meets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from efface.data.batches import derive
from efface.data.faces import Array, Faces, Images
from efface.datasets import READERS, read_photos
from efface.erasure.contract import InputContract, decoded_and_placed
from efface.erasure.find import TABLE, read_accepted
from efface.erasure.labels import targets_of
from efface.erasure.request import ErasureRequest
from efface.errors import InputError
from efface.measures.predictions import Predictions

if TYPE_CHECKING:
    import pandas as pd

Rows = NDArray[np.int64]
ONE = "the person"
"""How the person is called whose photos a table of `efface find` lists."""
FEWEST_PUBLIC = 18
"""Public people with two photos or more: six strangers, and twelve who teach and calibrate."""
MOST = 20_000
"""Photos of one side that are used; of more so many, by whole people."""
SHARE = {"forget": 3, "retain": 3}
"""One photo of so many of each person is held back."""


@dataclass(frozen=True)
class RequestPhotos:
    """All photos, and which of them are for what."""

    faces: Faces
    """Targets number the people or, where the model answers no embeddings, are what it should answer."""
    forget: Rows
    """Rows handed to methods ..."""
    forget_held: Rows
    """... and held back from them."""
    retain: Rows
    retain_held: Rows
    teaching: Rows
    """Public people that a second recogniser is trained on, and who are held to what the model answered."""
    calibration: Rows
    """Public people that no network is trained on, whom strangers are by while candidates are chosen."""
    strangers: Rows
    """Public people that nothing but the verdict sees."""
    notes: tuple[str, ...]
    """What was left out, in sentences."""

    def people(self, rows: Rows) -> Array:
        """Names of the people of some rows."""
        names: Array = np.unique(self.faces.identities[rows])
        return names


def read_request_photos(request: ErasureRequest, contract: InputContract) -> RequestPhotos:
    """Read, check and deal out the photos of a request.

    Raises InputError for a person on two sides, people with too few photos, and photos that cannot be used.
    """
    sides = {"forget": request.forget, "retain": request.retain, "public": request.public}
    parts, notes = {}, []
    for side, path in sides.items():
        if path is not None:
            parts[side], said = read_side(side, path, contract, request)
            notes += said
    refuse_shared_people(parts)
    parts, said = without_copies(parts)
    notes += said
    faces = joined_sides(parts, by_person=request.recognises)
    side_of = np.repeat(list(parts), [len(one) for one in parts.values()])
    rows = {side: np.flatnonzero(side_of == side) for side in sides}
    held = {side: held_back(faces, rows[side], part, request.seed) for side, part in SHARE.items()}
    if not len(held["forget"]):
        raise InputError(
            f"{request.forget} has one photo of each person: two are needed, one to learn from and one to judge by"
        )
    teaching, calibration, strangers = deal_public(faces, rows["public"], request)
    return RequestPhotos(
        faces,
        forget=np.setdiff1d(rows["forget"], held["forget"]),
        forget_held=held["forget"],
        retain=np.setdiff1d(rows["retain"], held["retain"]),
        retain_held=held["retain"],
        teaching=teaching,
        calibration=calibration,
        strangers=strangers,
        notes=(*notes, *lone(faces, rows["forget"])),
    )


def read_side(side: str, path: Path, contract: InputContract, request: ErasureRequest) -> tuple[Faces, list[str]]:
    """The faces of one side, and what was left out."""
    table, notes = table_of(path), []
    if not table["person"].all():
        raise InputError(f"{path} has a photo without a person: name everybody in the column person")
    some = sampled(table, request.seed)
    if len(some) < len(table):
        notes.append(f"{side}: of {len(table):,} photos {len(some):,} were used, all photos of some of the people")
    paths, people, groups, keys = (some[name].astype(str).tolist() for name in ("path", "person", "group", "key"))
    images, kept, places = decoded_and_placed(paths, keys, contract, request.detector, request.skip_unreadable)
    if len(kept) < len(paths):
        notes.append(f"{side}: {len(paths) - len(kept):,} of {len(paths):,} photos could not be used")
    names, of = np.unique(np.array(people)[kept], return_inverse=True)
    keys_kept = np.array([f"{side}/{keys[row]}" for row in kept])
    rows = np.arange(len(images))
    targets = of.astype(np.int64)
    if not request.recognises:
        targets = targets_of(request, some.iloc[kept], places, images.shape, path)
    return Faces(Images(images, rows), targets, names[of], np.array(groups)[kept], keys_kept), notes


def table_of(path: Path) -> pd.DataFrame:
    """A row per photo, with path, person, group and key: of a folder, a manifest, or what was accepted of `find`."""
    import pandas as pd

    if path.name != TABLE:
        table = read_photos(READERS["folder"], path)
        return table if "group" in table else table.assign(group="")
    accepted = [str(one) for one in read_accepted(path)]
    keys = [f"{path.name}:{place + 1}" for place in range(len(accepted))]
    return pd.DataFrame({"path": accepted, "person": ONE, "group": "", "key": keys})


def sampled(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The rows of as many people, at random, as have `MOST` photos."""
    if len(table) <= MOST:
        return table
    rng = np.random.default_rng(derive(seed, "sample"))
    counts = table["person"].value_counts(sort=False)
    order = rng.permutation(len(counts))
    kept = counts.index[order][np.cumsum(counts.to_numpy()[order]) <= MOST]
    return table[table["person"].isin(kept)]


def refuse_shared_people(parts: Mapping[str, Faces]) -> None:
    """Raise InputError for somebody who stands on two sides."""
    sides = list(parts)
    for place, first in enumerate(sides):
        for second in sides[place + 1 :]:
            both = np.intersect1d(parts[first].identities, parts[second].identities)
            if len(both):
                raise InputError(
                    f"{len(both)} {'person stands' if len(both) == 1 else 'people stand'} in {first} and in {second}, "
                    f"'{both[0]}' for one: everybody must be on "
                    "one side"
                )


def without_copies(parts: Mapping[str, Faces]) -> tuple[dict[str, Faces], list[str]]:
    """The sides without the photos that an earlier side has pixel by pixel, and how many these were."""
    seen: set[bytes] = set()
    left, notes = {}, []
    for side, faces in parts.items():
        digests = [hashlib.sha256(np.ascontiguousarray(faces.images[row]).data).digest() for row in range(len(faces))]
        rows = np.array([row for row, one in enumerate(digests) if one not in seen], np.int64)
        seen |= set(digests)
        if not len(rows):
            raise InputError(f"every photo of {side} is one of another side: give other photos")
        if len(rows) < len(faces):
            notes.append(f"{side}: {len(faces) - len(rows):,} photos are copies of photos of another side: left out")
        left[side] = faces[rows]
    return left, notes


def joined_sides(parts: Mapping[str, Faces], *, by_person: bool = True) -> Faces:
    """All sides as one; by_person: targets number the people of all of them."""
    sides = list(parts.values())
    store = sides[0].images.store if len(sides) == 1 else np.concatenate([one.images[:] for one in sides])
    columns = {name: np.concatenate([getattr(one, name) for one in sides]) for name in ("identities", "groups", "keys")}
    _, numbers = np.unique(columns["identities"], return_inverse=True)
    targets = numbers.astype(np.int64) if by_person else np.concatenate([one.targets for one in sides])
    return Faces(Images(store, np.arange(len(store))), targets, **columns)


def held_back(faces: Faces, rows: Rows, part: int, seed: int) -> Rows:
    """Of each person's photos one of `part`, but two of three or more so that one can be enrolled and the other looked
    for, and one of two."""
    rng = np.random.default_rng(derive(seed, "held back"))
    found = [np.zeros(0, np.int64)]
    for person in np.unique(faces.identities[rows]):
        mine = rng.permutation(rows[faces.identities[rows] == person])
        found.append(mine[: min(max(len(mine) // part, 2), len(mine) - 1)])
    return np.sort(np.concatenate(found))


def deal_public(faces: Faces, rows: Rows, request: ErasureRequest) -> tuple[Rows, Rows, Rows]:
    """Rows of the teaching, of the calibration and of the strangers, a third of the people each; whoever has one photo
    teaches."""
    names, counts = np.unique(faces.identities[rows], return_counts=True)
    several = np.random.default_rng(derive(request.seed, "public")).permutation(names[counts > 1])
    if len(several) < FEWEST_PUBLIC:
        raise InputError(
            f"{request.public} has {len(several)} people with two photos or more: at least {FEWEST_PUBLIC} are needed "
            "that the model was not trained on, to tell what it answers to strangers"
        )
    third = len(several) // 3
    teaching = np.concatenate([several[2 * third :], names[counts == 1]])
    parts = (teaching, several[third : 2 * third], several[:third])
    taught, calibrated, strange = (rows[np.isin(faces.identities[rows], part)] for part in parts)
    return taught, calibrated, strange


def lone(faces: Faces, rows: Rows) -> list[str]:
    """A sentence about people with one photo, who cannot be judged."""
    _, counts = np.unique(faces.identities[rows], return_counts=True)
    ones = int((counts == 1).sum())
    return [f"forget: {ones} of {len(counts)} people have one photo and are not measured"] if ones else []


def numbered(faces: Faces) -> Faces:
    """The same faces with their people numbered from 0, as targets."""
    _, numbers = np.unique(faces.identities, return_inverse=True)
    return replace(faces, targets=numbers.astype(np.int64))


def predictions_of(photos: RequestPhotos, answers: Array, rows: Rows) -> Predictions:
    """Answers (n, ...) to some rows, beside what is right."""
    faces = photos.faces[rows]
    return Predictions(
        split=np.full(len(rows), "retain"),
        key=faces.keys,
        identity=faces.identities,
        group=faces.groups,
        outputs=answers[rows],
        targets=faces.targets,
    )
