"""The weights stay: the gallery entries of the people who asked are deleted, and a block list keeps them from being
named.

A block list holds a template of each of them, made from the photos that are not held back. Whether it works is told by
the held-back photos, at the threshold in use; whom else it stops, by photos of everybody else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.data.vectors import units
from efface.erasure.deployed import Judged, as_strangers, mean_of, prototypes
from efface.erasure.measuring import paired
from efface.erasure.photos import RequestPhotos, Rows
from efface.erasure.record import Measurement

NAMED = "held-back photos taken for somebody else once their entries are deleted"
STRANGERS_NAMED = f"{NAMED}: strangers"
STOPPED = "held-back photos that a block list stops"
OTHERS_STOPPED = "photos of everybody else that it stops"


def blocking_of(embeddings: Array, photos: RequestPhotos, judged: Judged, threshold: float) -> list[Measurement]:
    """What the model in use does once entries are deleted and a block list is kept, from its embeddings (n, d)."""
    unit, who = units(embeddings), photos.faces.identities
    _, blocked = prototypes(unit, who, photos.forget)
    named = taken_for_others(unit, who, judged.forget, judged.gallery, threshold)
    normal = taken_for_others(unit, who, judged.strangers, judged.gallery, threshold)
    stopped, others = (reaching(unit, who, rows, blocked, threshold) for rows in (judged.forget, judged.others))
    about = "share of photos whose nearest entry, of a gallery of everybody else, reaches the threshold"
    people = len(photos.people(judged.forget))
    of_strangers = f"{about}, of strangers; interval: the mean of {people} of them in 95% of draws"
    reached = "that reach the threshold with an entry of the block list, one for each person who asked"
    return [
        paired(NAMED, mean_of(named, about), None),
        paired(STRANGERS_NAMED, as_strangers(normal, people, of_strangers), None),
        paired(STOPPED, mean_of(stopped, f"share of photos that were not used to make it and {reached}"), None),
        paired(OTHERS_STOPPED, mean_of(others, f"share of photos of everybody else {reached}"), None),
    ]


def taken_for_others(
    unit: NDArray[np.float32], who: Array, rows: Rows, gallery: Rows, threshold: float
) -> NDArray[np.float64]:
    """(p,) of each person of some rows the share of photos that reach the threshold with the entry of somebody else."""
    enrolled, entries = prototypes(unit, who, gallery)
    found = []
    for person in np.unique(who[rows]):
        others = entries[enrolled != person]
        mine = unit[rows[who[rows] == person]]
        found.append(float(((mine @ others.T) >= threshold).any(1).mean()) if len(others) else np.nan)
    return np.array(found)


def reaching(
    unit: NDArray[np.float32], who: Array, rows: Rows, entries: NDArray[np.float32], threshold: float
) -> NDArray[np.float64]:
    """(p,) of each person of some rows the share of photos that reach the threshold with any entry (e, d)."""
    if not len(rows):
        return np.zeros(0)
    names, of = np.unique(who[rows], return_inverse=True)
    stopped = ((unit[rows] @ entries.T) >= threshold).any(1).astype(np.float64)
    shares: NDArray[np.float64] = np.bincount(of, stopped, len(names)) / np.bincount(of, minlength=len(names))
    return shares
