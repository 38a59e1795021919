"""What no head can hide: are people found again by their embeddings, from photos no model was trained on?

Three cohorts are enrolled and looked for in the same way: the forgotten, the retained, and strangers, whom no model
ever saw. After forgetting, the forgotten should be found as the retrained reference finds them (influence removed), or
not at all (unrecognisable).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.data.vectors import blocks, sums_by, sums_of_units, units
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Aim, Bootstrap, Measure, measure
from efface.measures.predictions import Predictions
from efface.measures.selection import order_statistics
from efface.measures.verification import FALSE_ACCEPTS, just_above, threshold_place

PROBES = 2
"""Photos of each stranger that are looked for; the others are enrolled."""


@dataclass(frozen=True)
class Cohort:
    """People who are looked for."""

    enrolled: NDArray[np.bool_]
    """(n,)"""
    probes: NDArray[np.bool_]
    """(n,)"""
    aim: Aim
    whose: str


def cohorts(predictions: Predictions) -> dict[str, Cohort]:
    """The cohorts that have both enrolled photos and probes."""
    late = last_of_each(predictions, predictions.rows("strangers"), PROBES)
    everyone = {
        "forget": Cohort(
            predictions.rows("forget"), predictions.rows("forget_unseen"), "as retrained", "the forgotten"
        ),
        "retain": Cohort(predictions.rows("retain"), predictions.rows("retain_unseen"), "high", "the retained"),
        "strangers": Cohort(predictions.rows("strangers") & ~late, late, "none", "strangers"),
    }
    return {name: cohort for name, cohort in everyone.items() if cohort.enrolled.any() and cohort.probes.any()}


def identification(predictions: Predictions, bootstrap: Bootstrap) -> dict[MeasureKey, Measure]:
    """`identification/...` and `relearn/...` of each cohort."""
    known = cohorts(predictions)
    found: dict[MeasureKey, Measure] = {}
    if "retain" not in known:
        return found
    retained = prototypes(predictions, known["retain"].enrolled)
    thresholds = thresholds_among(Probes.of(predictions, known["retain"].probes), retained)
    for name, cohort in known.items():
        own = retained if name == "retain" else prototypes(predictions, cohort.enrolled)
        probes = Probes.of(predictions, cohort.probes)
        right, genuine = looked_for(probes, own, None if name == "retain" else retained)
        values: dict[str, Array] = {"rank1": right}
        about = {
            "rank1": f"share of held-back photos of {cohort.whose} whose nearest prototype, among theirs and all "
            "retained people's, is their own"
        }
        for rate, threshold in thresholds.items():
            key = f"tar_at_{100 * rate:g}%_far"
            about[key] = (
                f"share of held-back photos of {cohort.whose} accepted as themselves where {100 * rate:g}% "
                "of wrong claims among the retained are"
            )
            if threshold is None:
                found[MeasureKey("identification", key, split=name)] = Measure(
                    None, None, None, cohort.aim, f"{about[key]} (too few wrong claims)"
                )
            else:
                values[key] = genuine >= threshold
        means = averaged(values, cohort.probes, predictions, bootstrap)
        found |= {
            MeasureKey("identification", key, split=name): measure(means[key], cohort.aim, about[key]) for key in values
        }
        if name != "retain":
            found |= relearning(predictions, cohort, name, bootstrap)
    return found


def relearning(predictions: Predictions, cohort: Cohort, name: str, bootstrap: Bootstrap) -> dict[MeasureKey, Measure]:
    """`relearn/...`: how well a cohort is told apart again from 1 or 5 photos of each person."""
    values: dict[str, Array] = {}
    probes = Probes.of(predictions, cohort.probes)
    for count in (1, 5):
        few = first_of_each(predictions, cohort.enrolled, count)
        values[f"prototype/k={count}"] = looked_for(probes, prototypes(predictions, few))[0]
        guessed = linear_guesses(units(predictions.outputs[few]), predictions.identity[few], probes)
        values[f"linear/k={count}"] = guessed == probes.who
    means = averaged(values, cohort.probes, predictions, bootstrap)
    return {
        MeasureKey("relearn", key, split=name): measure(
            means[key],
            cohort.aim,
            f"share of held-back photos of {cohort.whose} told apart by a "
            f"{key.split('/')[0]} classifier from {key[-1]} photo{'s' if key[-1] != '1' else ''} "
            "of each of them (or all there are)",
        )
        for key in values
    }


@dataclass(frozen=True)
class Probes:
    """Photos that are looked for; their directions are made a block at a time."""

    outputs: Array
    """(n, d) embeddings of all photos"""
    rows: NDArray[np.int64]
    """(m,) which of them are looked for"""
    who: Array
    """(m,) str: whom they show"""

    @classmethod
    def of(cls, predictions: Predictions, rows: NDArray[np.bool_]) -> Probes:
        """The marked photos."""
        return cls(predictions.outputs, np.flatnonzero(rows), predictions.identity[rows])

    def blocks(self, people: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """(which of them, their directions (b, d)), so many that comparing them with so many people stays small."""
        for some in blocks(len(self.rows), max(people, self.outputs.shape[1])):
            yield some, units(self.outputs[self.rows[some]])

    def columns(self, names: Array) -> NDArray[np.int64]:
        """(m,) where each one's person stands among sorted names; -1 for one who does not."""
        place = np.searchsorted(names, self.who).clip(max=len(names) - 1)
        return np.where(names[place] == self.who, place, -1)


@dataclass(frozen=True)
class People:
    """A direction per person."""

    names: Array
    """(p,) sorted"""
    unit: NDArray[np.float32]
    """(p, d)"""


def prototypes(predictions: Predictions, rows: NDArray[np.bool_]) -> People:
    """The mean direction of each person of the marked rows."""
    names, of = np.unique(predictions.identity[rows], return_inverse=True)
    return People(names, units(sums_of_units(predictions.outputs, np.flatnonzero(rows), of, len(names))))


def looked_for(
    probes: Probes, own: People, others: People | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """(m,) whether the nearest prototype, among these people's and the others', is the probe's own, and (m,) its cosine
    to the own one; -2 for a probe of nobody who is enrolled."""
    sides = [own] if others is None else [own, others]
    names, unit = np.concatenate([side.names for side in sides]), np.concatenate([side.unit for side in sides])
    column, nearest = probes.columns(own.names), np.empty(len(probes.rows), np.int64)
    genuine = np.full(len(probes.rows), -2, np.float32)
    for some, looked in probes.blocks(len(names)):
        alike = looked @ unit.T
        nearest[some] = alike.argmax(1)
        mine = alike[np.arange(len(looked)), column[some]]
        genuine[some] = np.where(column[some] < 0, genuine[some], mine)
    return names[nearest] == probes.who, genuine


def thresholds_among(probes: Probes, people: People) -> dict[float, float | None]:
    """By rate of false accepts, the lowest threshold that lets through at most that share of wrong claims: of each
    probe to be any of the other people. None where they are too few to say."""
    column = probes.columns(people.names)
    claims = len(probes.rows) * len(people.names) - int((column >= 0).sum())
    places = {rate: place for rate in FALSE_ACCEPTS if (place := threshold_place(claims, rate)) is not None}

    def passed() -> Iterator[tuple[NDArray[np.float32], int]]:
        """Cosines of all probes to all people, and those to their own, which are taken out."""
        for some, looked in probes.blocks(len(people.names)):
            alike = looked @ people.unit.T
            known = np.flatnonzero(column[some] >= 0)
            yield alike, 1
            yield alike[known, column[some][known]], -1

    highest = dict(zip(places, order_statistics(passed, list(places.values())), strict=True)) if places else {}
    return {rate: just_above(highest[rate]) if rate in highest else None for rate in FALSE_ACCEPTS}


def first_of_each(predictions: Predictions, rows: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """(n,) the first photos, by key, of each person of the marked rows."""
    early: NDArray[np.bool_] = _place(predictions, rows) < count
    return early


def last_of_each(predictions: Predictions, rows: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """(n,) the last photos, by key, of each person of the marked rows who has more."""
    place = _place(predictions, rows)
    _, of, counts = np.unique(predictions.identity[rows], return_inverse=True, return_counts=True)
    late = np.zeros(len(predictions), bool)
    late[rows] = (place[rows] >= counts[of] - count) & (counts[of] > count)
    return late


def _place(predictions: Predictions, rows: NDArray[np.bool_]) -> Array:
    """(n,) place of each marked photo among its person's, by key; infinity for the others."""
    marked = np.flatnonzero(rows)
    order = marked[np.lexsort((predictions.key[marked], predictions.identity[marked]))]
    _, first, counts = np.unique(predictions.identity[order], return_index=True, return_counts=True)
    place = np.full(len(predictions), np.inf)
    place[order] = np.arange(len(order)) - np.repeat(first, counts)
    return place


def linear_guesses(unit: NDArray[np.float32], who: Array, probes: Probes, penalty: float = 0.1) -> Array:
    """(m,) what a linear classifier fitted on some embeddings (k, d) guesses for others: ridge regression on one
    indicator a person (scikit-learn's `RidgeClassifier`), solved from sums, so that no (k, people) matrix is made."""
    names, of = np.unique(who, return_inverse=True)
    if len(names) < 2:
        return np.full(len(probes.rows), who[0])
    mean = unit.mean(0, dtype=np.float64)
    gram, sums = penalty * np.eye(len(mean)), np.zeros((len(names), len(mean)))
    for some in blocks(*unit.shape):
        centred = unit[some] - mean
        gram += centred.T @ centred
        sums += sums_by(centred, of[some], len(names))
    weights = np.linalg.solve(gram, sums.T)
    nearest = np.empty(len(probes.rows), np.int64)
    for some, looked in probes.blocks(len(names)):
        nearest[some] = ((looked - mean) @ weights + np.bincount(of) / len(of)).argmax(1)
    return np.asarray(names[nearest])


def averaged(
    values: dict[str, Array], rows: NDArray[np.bool_], predictions: Predictions, bootstrap: Bootstrap
) -> dict[str, Array]:
    """Mean of each column (marked rows,) over people: name to (draws + 1,)."""
    whole = np.full((len(predictions), len(values)), np.nan)
    whole[rows] = np.stack([np.asarray(column, np.float64) for column in values.values()], axis=1)
    return dict(zip(values, bootstrap.means(whole, rows).T, strict=True))
