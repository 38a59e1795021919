"""People who share identical pixels are one person, and photos of one side that have a copy on another are counted.

Identical is byte for byte, of the faces as they are prepared: a photo that was cropped, scaled or jittered otherwise is
another photo here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array, Images, Splits

BLOCK = 1024
"""Images in memory at a time."""


def pictures(images: Images) -> NDArray[np.int64]:
    """(n,) a number for each picture, the same for identical pixels."""
    digests = [
        hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        for start in range(0, len(images), BLOCK)
        for image in images[start : start + BLOCK]
    ]
    _, numbers = np.unique(np.array(digests, "S16") if digests else np.zeros(0, "S16"), return_inverse=True)
    return numbers.astype(np.int64)


def aliases(identities: Array, numbers: Array) -> dict[str, str]:
    """The name that stands for a person, by each other name of theirs: names that share a picture, or each share one
    with a third, are of one person, who has the first of them by the alphabet. numbers (n,): of the pictures; -1 joins
    nobody."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, who = np.unique(identities, return_inverse=True)
    joins = numbers >= 0
    shown, picture = np.unique(numbers[joins], return_inverse=True)
    size = len(names) + len(shown)
    edges = coo_array((np.ones(len(picture)), (who[joins], len(names) + picture)), (size, size))
    person = connected_components(edges, directed=False)[1][: len(names)]
    _, first, of = np.unique(person, return_index=True, return_inverse=True)
    stands = names[first][of]
    changed = stands != names
    return dict(zip(names[changed].tolist(), stands[changed].tolist(), strict=True))


def renamed(identities: Array, others: dict[str, str]) -> Array:
    """(n,) the identities, each by the name that stands for it."""
    names, who = np.unique(identities, return_inverse=True)
    return np.array([others.get(name, name) for name in names.tolist()])[who] if others else identities


ORDER = ("train", "", "strangers", "test", "val", "public")
"""Where a person stands of whom photos stand in several parts: who is trained on at all is no stranger."""


def in_one_part(parts: Array, identities: Array, people: Collection[str]) -> Array:
    """(n,) the part of each photo, each of these people whole in one: the first in `ORDER` of those they stand in."""
    named, part = np.unique(parts, return_inverse=True)
    rank = np.array([ORDER.index(name) if name in ORDER else len(ORDER) for name in named.tolist()])
    by_rank = np.argsort(rank, kind="stable")
    place = np.argsort(by_rank)[part]
    _, who = np.unique(identities, return_inverse=True)
    first = np.full(who.max() + 1, len(named))
    np.minimum.at(first, who, place)
    return np.where(np.isin(identities, list(people)), named[by_rank][first[who]], parts)


@dataclass(frozen=True)
class Copied:
    """How many photos of one side have an identical copy on another."""

    side: str
    other: str
    photos: int
    of: int
    """All photos of the side."""

    def __str__(self) -> str:
        return (
            f"{self.photos:,} of {self.of:,} photos of {NAMES[self.side]} have an identical copy among those of "
            f"{NAMES[self.other]}."
        )


NAMES = {
    "forget": "the forgotten",
    "retain": "the retained",
    "trained": "those trained on",
    "forget_unseen": "the forgotten that were held back",
    "retain_unseen": "the retained that were held back",
    "public": "public people",
    "val": "validation people",
    "strangers": "strangers",
    "test": "test people",
}
SIDES = (
    ("forget", "retain"),
    ("forget_unseen", "trained"),
    ("retain_unseen", "trained"),
    ("public", "trained"),
    ("val", "trained"),
    ("strangers", "trained"),
    ("test", "trained"),
    ("public", "val"),
    ("public", "strangers"),
    ("public", "test"),
)
"""Of which pairs of sides a copy matters: what was to be forgotten is trained on all the same, who stands for people
nobody saw was seen, or was handed to a method as free to use."""


def copies_between(splits: Splits) -> list[Copied]:
    """Each of `SIDES` with its count, none left out; nothing where nobody looked for copies."""
    if splits.forget.pictures is None:
        return []
    numbers = {name: faces.pictures for name, faces in splits.items() if faces.pictures is not None}
    numbers["trained"] = np.concatenate([numbers["forget"], numbers["retain"]])
    return [
        Copied(
            side, other, int((np.isin(numbers[side], numbers[other]) & (numbers[side] >= 0)).sum()), len(numbers[side])
        )
        for side, other in SIDES
    ]


def said(copies: Sequence[Copied], merged: int, people: int) -> list[str]:
    """What a reader must know of these; merged: names that were of somebody with another name, people: who is left."""
    joined = (
        [
            f"{people + merged:,} names are of {people:,} people: {merged:,} of them share identical photos with "
            "another name, and count as one person with it."
        ]
        if merged
        else []
    )
    return [*joined, *(str(one) for one in copies if one.photos)]
