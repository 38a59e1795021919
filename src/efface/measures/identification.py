"""What no head can hide: are people found again by their embeddings, from photos no model was trained on?

Three cohorts are enrolled and looked for in the same way: the forgotten, the retained, and strangers, whom no model
ever saw. After forgetting, the forgotten should be found as the retrained reference finds them (influence removed), or
not at all (unrecognisable).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.data.vectors import units
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Aim, Bootstrap, Measure, measure
from efface.measures.predictions import Predictions
from efface.measures.verification import FALSE_ACCEPTS, threshold_at

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
    unit, known = units(predictions.outputs), cohorts(predictions)
    found: dict[MeasureKey, Measure] = {}
    if "retain" not in known:
        return found
    retained = prototypes(unit, predictions.identity, known["retain"].enrolled)
    thresholds = {
        rate: threshold_at(impostors(unit, predictions.identity, known["retain"].probes, retained), rate)
        for rate in FALSE_ACCEPTS
    }
    for name, cohort in known.items():
        own = prototypes(unit, predictions.identity, cohort.enrolled)
        gallery = own if name == "retain" else own.beside(retained)
        alike = unit[cohort.probes] @ gallery.unit.T
        who = predictions.identity[cohort.probes]
        genuine = np.where(gallery.names[None, : len(own.names)] == who[:, None], alike[:, : len(own.names)], -2).max(1)
        values = {"rank1": gallery.names[alike.argmax(1)] == who}
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
            found |= relearning(unit, predictions, cohort, name, bootstrap)
    return found


def relearning(
    unit: NDArray[np.float32],
    predictions: Predictions,
    cohort: Cohort,
    name: str,
    bootstrap: Bootstrap,
) -> dict[MeasureKey, Measure]:
    """`relearn/...`: how well a cohort is told apart again from 1 or 5 photos of each person."""
    values: dict[str, Array] = {}
    for count in (1, 5):
        few = first_of_each(predictions, cohort.enrolled, count)
        people = prototypes(unit, predictions.identity, few)
        who = predictions.identity[cohort.probes]
        values[f"prototype/k={count}"] = people.names[(unit[cohort.probes] @ people.unit.T).argmax(1)] == who
        values[f"linear/k={count}"] = probe(unit[few], predictions.identity[few], unit[cohort.probes]) == who
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
class People:
    """A direction per person."""

    names: Array
    """(p,)"""
    unit: NDArray[np.float32]
    """(p, d)"""

    def beside(self, others: People) -> People:
        """These, then the others."""
        return People(np.concatenate([self.names, others.names]), np.concatenate([self.unit, others.unit]))


def prototypes(unit: NDArray[np.float32], identity: Array, rows: NDArray[np.bool_]) -> People:
    """The mean direction of each person of the marked rows."""
    names, of = np.unique(identity[rows], return_inverse=True)
    sums = np.zeros((len(names), unit.shape[1]))
    np.add.at(sums, of, unit[rows])
    return People(names, units(sums))


def impostors(unit: NDArray[np.float32], identity: Array, probes: NDArray[np.bool_], people: People) -> Array:
    """Cosines of probes to the prototypes of others, (how many,)."""
    alike = unit[probes] @ people.unit.T
    others: Array = alike[identity[probes][:, None] != people.names[None]]
    return others


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


def probe(unit: NDArray[np.float32], who: Array, probes: NDArray[np.float32]) -> Array:
    """What a linear classifier fitted on some embeddings guesses for others."""
    from sklearn.linear_model import RidgeClassifier

    if len(np.unique(who)) < 2:
        return np.full(len(probes), who[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an ill-conditioned system is solved all the same
        classifier: Any = RidgeClassifier(alpha=0.1).fit(unit.astype(np.float64), who)
    guesses: Array = classifier.predict(probes.astype(np.float64))
    return guesses


def averaged(
    values: dict[str, Array], rows: NDArray[np.bool_], predictions: Predictions, bootstrap: Bootstrap
) -> dict[str, Array]:
    """Mean of each column (marked rows,) over people: name to (draws + 1,)."""
    whole = np.full((len(predictions), len(values)), np.nan)
    whole[rows] = np.stack([np.asarray(column, np.float64) for column in values.values()], axis=1)
    return dict(zip(values, bootstrap.means(whole, rows).T, strict=True))
