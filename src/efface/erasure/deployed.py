"""What changes for whoever uses a recogniser, from the embeddings of the model before and after: no head, no reference.

The people who asked are measured as a gallery would meet them: enrolled again by photos that no method was handed, and
looked for by others. What is normal is told by strangers, of whom the model never saw anything, in groups of as many
people. Everybody else is measured at one fixed threshold, the one in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.data.vectors import units
from efface.erasure.photos import RequestPhotos
from efface.errors import InputError
from efface.measures.bootstrap import Measure, measure
from efface.measures.verification import threshold_at

DRAWS = 2000
RATES = (0.001, 0.01)
"""False match rates at which a threshold is placed where none is in use: the first that so few pairs can carry."""
FEW = 4
"""Photos of everybody that candidates are chosen by."""
FEWEST_OF_GROUP = 5
"""People of a group that rates are given of."""


@dataclass(frozen=True)
class Judged:
    """Photos by which a model is judged: of the final verdict, or of the choice between candidates."""

    forget: NDArray[np.int64]
    """Held back."""
    forget_all: NDArray[np.int64]
    strangers: NDArray[np.int64]
    others: NDArray[np.int64]
    """Of people who stay, no method handed: rates at the threshold."""
    gallery: NDArray[np.int64]
    """Of whom the gallery is made that the forgotten are looked for in."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """All of them, each once."""
        return np.unique(np.concatenate([self.forget_all, self.strangers, self.others, self.gallery]))


def judged_by(photos: RequestPhotos, *, choosing: bool) -> Judged:
    """The photos of the verdict or, where candidates are chosen, those that the verdict does not use; the forgotten's
    own are too few to be divided."""
    faces = photos.faces
    strangers = photos.calibration if choosing else photos.strangers
    stay = photos.people(photos.retain_held)
    half = stay[::2] if choosing else stay[1::2]
    held = photos.retain_held[np.isin(faces.identities[photos.retain_held], half)]
    gallery = np.concatenate([photos.retain, photos.teaching, strangers])
    if choosing:  # many times over: some photos of everybody are enough
        who = faces.identities
        strangers, gallery = (first_of_each(who, rows, FEW) for rows in (strangers, gallery))
    everything = np.sort(np.concatenate([photos.forget, photos.forget_held]))
    return Judged(photos.forget_held, everything, strangers, np.concatenate([held, strangers]), gallery)


@dataclass(frozen=True)
class Cohort:
    """What is measured of some people, a number for each person; NaN where it cannot be said."""

    people: Array
    compactness: NDArray[np.float64]
    """Mean cosine between two photos of the person, all of them."""
    rank1: NDArray[np.float64]
    """Share of photos that are nearest to the person, enrolled by the other photos of the kind, in a gallery of
    everybody else."""
    accepted: NDArray[np.float64]
    """Share of pairs of such photos that reach the threshold."""


@dataclass(frozen=True)
class Rates:
    """False matches and false non-matches at the fixed threshold, with replicates (draws + 1,) over people."""

    false_match: NDArray[np.float64]
    false_non_match: NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """What one model is measured at."""

    forgotten: Cohort
    strangers: Cohort
    rates: Rates
    groups: dict[str, Rates]


def read_model(embeddings: Array, photos: RequestPhotos, judged: Judged, threshold: float) -> Reading:
    """Measure a model by its embeddings (n, d) of all photos."""
    unit, faces = units(embeddings), photos.faces
    size = enrolled_of(faces.identities, judged.forget)
    forgotten = cohort(unit, faces.identities, judged.forget, judged.forget_all, judged.gallery, threshold)
    some = first_of_each(faces.identities, judged.strangers, size)
    strangers = cohort(unit, faces.identities, some, judged.strangers, judged.gallery, threshold)
    groups = {
        str(name): rates(unit, unit, faces.identities, rows, threshold)
        for name in np.unique(faces.groups[judged.others])
        if name
        for rows in [judged.others[faces.groups[judged.others] == name]]
        if len(np.unique(faces.identities[rows])) >= FEWEST_OF_GROUP
    }
    return Reading(forgotten, strangers, rates(unit, unit, faces.identities, judged.others, threshold), groups)


def enrolled_of(who: Array, rows: NDArray[np.int64]) -> int:
    """The middle number of held-back photos of a person: strangers are enrolled and looked for by as many."""
    _, counts = np.unique(who[rows], return_counts=True)
    return max(2, int(np.median(counts)))


def first_of_each(who: Array, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` of each person's rows."""
    kept = [rows[who[rows] == person][:count] for person in np.unique(who[rows])]
    return np.concatenate(kept) if kept else rows


def cohort(
    unit: NDArray[np.float32],
    who: Array,
    looked_for: NDArray[np.int64],
    everything: NDArray[np.int64],
    gallery: NDArray[np.int64],
    threshold: float,
) -> Cohort:
    """Measure some people.

    looked_for: photos each of which is looked for where the person is enrolled by their others; somebody with one such
    photo is enrolled by their remaining ones. gallery: photos of everybody that they can be taken for.
    """
    names = np.unique(who[everything])
    enrolled, direction = prototypes(unit, who, gallery)
    found = []
    for person in names:
        mine, probes = everything[who[everything] == person], looked_for[who[looked_for] == person]
        rest = probes if len(probes) > 1 else np.setdiff1d(mine, probes)
        if not len(probes) or not len(rest):
            found.append((pairwise(unit[mine]), np.nan, np.nan))
            continue
        total = unit[rest].sum(0, dtype=np.float64)
        own = units(total[None] - unit[probes] if len(probes) > 1 else total[None])
        alike = np.einsum("pd,pd->p", unit[probes], np.broadcast_to(own, unit[probes].shape))
        others = direction[enrolled != person]
        nearest = (unit[probes] @ others.T).max(1) if len(others) else np.full(len(probes), -2.0)
        pairs = unit[probes] @ unit[rest].T
        counted = ~np.eye(len(probes), dtype=bool) if len(probes) > 1 else np.ones(pairs.shape, bool)
        found.append(
            (pairwise(unit[mine]), float((alike > nearest).mean()), float((pairs[counted] >= threshold).mean()))
        )
    columns = np.array(found, np.float64).reshape(-1, 3).T
    return Cohort(names, *columns)


def pairwise(unit: NDArray[np.float32]) -> float:
    """Mean cosine of two of these directions; NaN for one alone."""
    count = len(unit)
    if count < 2:
        return float("nan")
    total = unit.sum(0, dtype=np.float64)
    return float((total @ total - np.square(unit, dtype=np.float64).sum()) / (count * (count - 1)))


def prototypes(unit: NDArray[np.float32], who: Array, rows: NDArray[np.int64]) -> tuple[Array, NDArray[np.float32]]:
    """Names (p,) and mean directions (p, d) of the people of some rows."""
    names, of = np.unique(who[rows], return_inverse=True)
    sums = np.zeros((len(names), unit.shape[1]))
    np.add.at(sums, of, unit[rows])
    return names, units(sums)


def rates(
    enrolled: NDArray[np.float32], probes: NDArray[np.float32], who: Array, rows: NDArray[np.int64], threshold: float
) -> Rates:
    """Rates of errors over all pairs of these photos, of which one is enrolled and the other looked for; resampled by
    people, both of a pair."""
    names, of = np.unique(who[rows], return_inverse=True)
    member = np.eye(len(names), dtype=np.float32)[of]
    above, counts = np.zeros((len(names), len(names))), member.sum(0, dtype=np.float64)
    itself = np.zeros(len(names))
    for start in range(0, len(rows), 1024):
        some = slice(start, start + 1024)
        alike = enrolled[rows[some]] @ probes[rows].T >= threshold
        above += member[some].T @ (alike.astype(np.float32) @ member)
        own = np.arange(start, min(start + 1024, len(rows)))
        np.add.at(itself, of[own], alike[own - start, own])
    pairs = np.outer(counts, counts)
    matched, possible = np.diag(above) - itself, np.diag(pairs) - counts
    np.fill_diagonal(above, 0)
    np.fill_diagonal(pairs, 0)
    weights = people_draws(len(names))
    with np.errstate(divide="ignore", invalid="ignore"):
        false_match = ((weights @ above) * weights).sum(1) / ((weights @ pairs) * weights).sum(1)
        false_non_match = 1 - (weights @ matched) / (weights @ possible)
    return Rates(false_match, false_non_match)


def people_draws(count: int) -> NDArray[np.float64]:
    """(draws + 1, count) how often each person is drawn, one fewer than there are (as `Bootstrap`); the first row is
    the sample itself."""
    drawn = max(1, count - 1)
    again = np.random.default_rng(0).multinomial(drawn, np.full(count, 1 / count), DRAWS) * (count / drawn)
    return np.vstack([np.ones(count), again])


def mean_of(values: NDArray[np.float64], about: str) -> Measure:
    """The mean over people with its interval; without one for fewer than three."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Measure(None, None, None, "none", f"{about} (nobody has enough photos)")
    if len(known) < 3:
        return Measure(float(known.mean()), None, None, "none", about, len(known))
    weights = people_draws(len(known))
    return measure(weights @ known / weights.sum(1), "none", about)


def as_strangers(values: NDArray[np.float64], people: int, about: str) -> Measure:
    """The mean over strangers, with the interval in which the mean of `people` of them lies in 95% of draws."""
    known = values[np.isfinite(values)]
    if len(known) < 3:
        return Measure(None, None, None, "none", f"{about} (too few strangers)")
    drawn = np.random.default_rng(0).integers(0, len(known), (DRAWS, people))
    return measure(np.concatenate([[known.mean()], known[drawn].mean(1)]), "none", about)


def rate_of(vector: NDArray[np.float64], about: str) -> Measure:
    """A rate with its interval."""
    return measure(vector, "low", about)


def placed_threshold(embeddings: Array, photos: RequestPhotos) -> tuple[float, float]:
    """A threshold for a model of which none in use is known, by people who stay, and the false match rate it has.

    Raises InputError where they are too few.
    """
    rows = np.concatenate([photos.retain_held, photos.calibration, photos.strangers])
    unit, who = units(embeddings[rows]), photos.faces.identities[rows]
    first, second = np.triu_indices(len(rows), 1)
    wrong = (unit @ unit.T)[first, second][who[first] != who[second]]
    for rate in RATES:
        if (threshold := threshold_at(wrong, rate)) is not None:
            return threshold, rate
    raise InputError(
        f"{len(wrong):,} pairs of two people are too few to place a threshold: give the one in use with --threshold"
    )


def drift(before: Array, after: Array, who: Array, rows: NDArray[np.int64]) -> Measure:
    """Mean cosine of a photo's embeddings before and after, people counting alike."""
    alike = np.einsum("nd,nd->n", units(before[rows]), units(after[rows])).astype(np.float64)
    names, of = np.unique(who[rows], return_inverse=True)
    mine = np.bincount(of, alike, len(names)) / np.bincount(of, minlength=len(names))
    return mean_of(mine, "mean cosine of the embeddings of one photo before and after")


def old_entries(
    before: Array, after: Array, who: Array, judged: Judged, threshold: float
) -> tuple[NDArray[np.float64], Rates]:
    """Photos by the model after against entries that the model before made: of each forgotten person the share of
    held-back photos that reach the threshold with their own entries, and the rates among those who stay."""
    old, new = units(before), units(after)
    shares = []
    for person in np.unique(who[judged.forget]):
        probes = judged.forget[who[judged.forget] == person]
        entries = np.setdiff1d(judged.forget_all[who[judged.forget_all] == person], probes)
        shares.append(float((new[probes] @ old[entries].T >= threshold).mean()) if len(entries) else np.nan)
    return np.array(shares), rates(old, new, who, judged.others, threshold)


def rows_by_name(names: Sequence[str], wanted: Array) -> NDArray[np.bool_]:
    """(n,) whether each name is among those wanted."""
    return np.isin(np.asarray(names), wanted)
