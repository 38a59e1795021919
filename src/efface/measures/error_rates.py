"""False matches and false non-matches group by group, at one threshold for all of them (as ISO/IEC 19795-10 asks).

A recogniser is used with one threshold. A group whose strangers look alike to it is let in wrongly more often there, a
group whose own photos it finds unlike is turned away; an average over groups shows neither.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efface.data.vectors import units
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Bootstrap, Measure, Vector, measure
from efface.measures.fairness import max_over_geomean
from efface.measures.predictions import Predictions
from efface.measures.utility import groups_of
from efface.measures.verification import threshold_at

RATE = 0.01
"""Share of wrong pairs of validation people, each pair within a group, that the threshold lets through."""
MOST = 2000
"""Photos of a group that are compared with each other."""
REPLICATES = 400


def error_rates(predictions: Predictions, bootstrap: Bootstrap) -> dict[MeasureKey, Measure]:
    """`fmr/group` and `fnmr/group` among test people, whom no model was trained on, and the widest ratio between
    groups. The threshold is each model's own, from validation people; intervals resample people, both of a pair."""
    groups = groups_of(predictions) or [""]
    wrong = [of for group in groups for of in within(predictions, "val", group)[1:]]
    threshold = threshold_at(np.concatenate(wrong), RATE) if wrong else None
    about = f"where one threshold lets through {RATE:.0%} of wrong pairs of validation people within a group"
    if threshold is None:
        return {
            MeasureKey("fmr", group="all"): Measure(
                None, None, None, "low", f"{about} (too few such pairs to place it)"
            )
        }
    found: dict[MeasureKey, Measure] = {}
    rates: dict[str, list[Vector]] = {"fmr": [], "fnmr": []}
    for group in groups:
        who = f" of group {group}" if group else ""
        false_match, false_non_match = rates_of(predictions, group, threshold, bootstrap)
        for name, vector, what in (
            ("fmr", false_match, "pairs of two people{} taken for one"),
            ("fnmr", false_non_match, "pairs of photos of one person{} taken for two"),
        ):
            if vector is None:
                continue
            rates[name].append(vector)
            found[MeasureKey(name, group=group or "all")] = measure(
                vector, "low", f"share of {what.format(who)} among test people, {about}"
            )
    for name, vectors in rates.items():
        if len(vectors) > 1:
            found[MeasureKey("fairness", f"{name}/max over geomean")] = max_over_geomean(
                np.stack(vectors), f"{name} of the worst group over the geometric mean of all groups' (1: all alike)"
            )
    return found


def photos_of(predictions: Predictions, split: str, group: str) -> NDArray[np.int64]:
    """Rows of a split's photos of a group, or some of them at random."""
    rows = np.flatnonzero(predictions.rows(split, group))
    return np.sort(np.random.default_rng(0).permutation(rows)[:MOST])


def within(predictions: Predictions, split: str, group: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines of all pairs of one person's photos, and of two people's, within a split and group."""
    rows = photos_of(predictions, split, group)
    first, second = np.triu_indices(len(rows), 1)
    unit = units(predictions.outputs[rows])
    alike = (unit @ unit.T)[first, second]
    same = predictions.identity[rows][first] == predictions.identity[rows][second]
    return alike[same], alike[~same]


def rates_of(
    predictions: Predictions,
    group: str,
    threshold: float,
    bootstrap: Bootstrap,
) -> tuple[Vector | None, Vector | None]:
    """(r,) false match and false non-match rate of a group; None where there is no such pair."""
    rows = photos_of(predictions, "test", group)
    if not len(rows):
        return None, None
    unit = units(predictions.outputs[rows])
    people, first, of = np.unique(predictions.identity[rows], return_index=True, return_inverse=True)
    member = np.eye(len(people))[of]
    above = (unit @ unit.T >= threshold).astype(np.float64)
    np.fill_diagonal(above, 1)
    matched = member.T @ above @ member
    counts = member.sum(0)
    pairs = np.outer(counts, counts)
    weights = bootstrap.weights(bootstrap.cluster[rows[first]], slice(REPLICATES + 1))
    own, of_own = np.diag(matched) - counts, np.diag(pairs) - counts
    np.fill_diagonal(matched, 0)
    np.fill_diagonal(pairs, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        false_match = ((weights @ matched) * weights).sum(1) / ((weights @ pairs) * weights).sum(1)
        false_non_match = 1 - (weights @ own) / (weights @ of_own)
    return (false_match if pairs.any() else None), (false_non_match if of_own.any() else None)
