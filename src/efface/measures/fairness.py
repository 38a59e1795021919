"""Who pays: the change of error group by group, against the original and against the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.measure_key import ALL, MeasureKey
from efface.measures.bootstrap import (
    Aim,
    Bootstrap,
    Measure,
    Vector,
    largest,
    measure,
    simultaneous_intervals,
    widest_gap,
)
from efface.measures.distances import by_class
from efface.measures.predictions import Predictions
from efface.measures.utility import groups_of


def main_group(groups: Array) -> str:
    """The group most of these faces are of."""
    names, counts = np.unique(groups, return_counts=True)
    return str(names[counts.argmax()])


def harmed_group(predictions: Predictions) -> str:
    """The group most of the forgotten are of."""
    return main_group(predictions.group[predictions.rows("forget")])


def means_on_test(
    predictions: Predictions, score: Array, bootstrap: Bootstrap, harmed: str | None = None
) -> dict[str, Vector]:
    """Mean test score of each group, of all, and of everyone outside the harmed group (under "others"; default: the
    group most of the forgotten are of)."""
    harmed = harmed_group(predictions) if harmed is None else harmed
    groups = {group: predictions.rows("test", group) for group in groups_of(predictions)}
    rows = {ALL: predictions.rows("test"), **groups, "others": predictions.rows("test") & (predictions.group != harmed)}
    return {name: bootstrap.means(score, mask) for name, mask in rows.items() if mask.any()}


def increase(
    now: Mapping[str, Vector], base: Mapping[str, Vector], score: str, against: str
) -> dict[MeasureKey, Measure]:
    """`increase/score/against base/group`: by how many percent the error of each group grew, the intervals of all
    groups holding together, and of all faces."""

    def named(groups: Sequence[str]) -> dict[MeasureKey, Vector]:
        return {keys[group]: 100 * (now[group] / base[group] - 1) for group in groups}

    groups = [group for group in now if group not in (ALL, "others")]
    keys = {group: MeasureKey("increase", score, against=against, group=group) for group in (ALL, *groups)}
    abouts = {
        keys[group]: f"change of {score} against the {against} on test faces"
        f"{'' if group == ALL else f' of group {group}'}, in %"
        for group in (ALL, *groups)
    }
    return simultaneous_intervals(named([ALL]), "low", abouts) | simultaneous_intervals(named(groups), "low", abouts)


def disparity(
    now: Mapping[str, Vector],
    base: Mapping[str, Vector],
    harmed: str,
    score: str,
    against: str,
) -> dict[MeasureKey, Measure]:
    """`disparity.../score/against`: the harmed group's increase beside everyone else's.

    The ratio is the eye study's (81.6 / 42.8 = 1.907). It means little where the others' increase may be zero,
    and is undefined there; the difference in points always stands beside it.
    """
    if harmed not in now or "others" not in now:
        return {}
    mine, theirs = (100 * (now[who] / base[who] - 1) for who in (harmed, "others"))
    points = measure(
        mine - theirs,
        "low",
        f"increase of {score} of group {harmed} minus everyone else's, against the "
        f"{against}, in percentage points (0: all pay alike)",
    )
    grew = (theirs > 0).all()
    ratio = measure(
        np.where(grew, mine / np.where(theirs == 0, np.nan, theirs), np.nan),
        "low",
        f"increase of {score} of group {harmed} over everyone else's, against the {against} (1: all alike)",
    )
    return {
        MeasureKey("disparity_points", score, against=against): points,
        MeasureKey("disparity_ratio", score, against=against): ratio,
    }


def harm(
    now: Mapping[str, Vector],
    original: Mapping[str, Vector],
    reference: Mapping[str, Vector],
    score: str,
) -> dict[MeasureKey, Measure]:
    """`harm of forgetting|method/score/group`: a group's increase against the original in its two parts, in percent of
    the original.

    What forgetting had to cost (the reference shows it) and what the method added; they sum to the increase. The
    intervals of all groups hold together.
    """
    groups = [group for group in now if group not in (ALL, "others")]
    found: dict[MeasureKey, Measure] = {}
    for family, aim, one, other, meaning in (
        (
            "harm of forgetting",
            "none",
            reference,
            original,
            "what forgetting had to cost: the reference's {score} against the original's, in percent, for {whose}",
        ),
        (
            "harm of method",
            "low",
            now,
            reference,
            "what the method added to that, in percent of the original's {score}, for {whose}",
        ),
    ):
        keys = {group: MeasureKey(family, score, group=group) for group in (ALL, *groups)}
        vectors = {keys[group]: 100 * (one[group] - other[group]) / original[group] for group in (ALL, *groups)}
        abouts = {
            keys[group]: meaning.format(
                score=score, whose="all test faces" if group == ALL else f"test faces of group {group}"
            )
            for group in (ALL, *groups)
        }
        first, *others = vectors
        found |= simultaneous_intervals({first: vectors[first]}, cast(Aim, aim), abouts)
        found |= simultaneous_intervals({name: vectors[name] for name in others}, cast(Aim, aim), abouts)
    return found


def between_groups(now: Mapping[str, Vector], score: str) -> dict[MeasureKey, Measure]:
    """`fairness/score/...` over groups: the worst one's error, the worst over the geometric mean, and the widest gap,
    each with bounds from intervals that hold for all groups at once.

    The worst over the geometric mean is NIST's measure of inequity (Grother, NISTIR 8429, 2022: "Max over GeoMean"): 1
    where all groups fare alike, and then its interval begins there.
    """
    errors = np.stack([vector for group, vector in now.items() if group not in (ALL, "others")] or [now[ALL]])
    gap, low, high = widest_gap(errors) if np.isfinite(errors).all() else (None, None, None)
    return {
        MeasureKey("fairness", f"{score}/worst group"): largest(
            errors, "low", f"{score} of the group that fares worst, on test faces"
        ),
        MeasureKey("fairness", f"{score}/max over geomean"): max_over_geomean(
            errors, f"the worst group's {score} over the geometric mean of all groups' (1: all alike)"
        ),
        MeasureKey("fairness", f"{score}/gap"): Measure(
            gap, low, high, "low", f"{score} of the worst group minus that of the best, on test faces (0: all alike)"
        ),
    }


def max_over_geomean(errors: NDArray[np.float64], about: str) -> Measure:
    """The largest of m errors or rates (m, r + 1) over their geometric mean."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(errors)
        beyond = largest(logs - logs.mean(0), "low", about)
    if beyond.value is None or beyond.low is None or beyond.high is None:
        return beyond
    return Measure(
        float(np.exp(beyond.value)), max(1.0, float(np.exp(beyond.low))), float(np.exp(beyond.high)), "low", about
    )


def shares_by_group(
    right: Array,
    predictions: Predictions,
    share: str,
    bootstrap: Bootstrap,
    harmed: str,
) -> dict[MeasureKey, Measure]:
    """`fairness/share/...`: equalised odds difference, and the share in the forgotten's group ("GA"), which is one of a
    class, as De Min et al. have it, where all forgotten of the group are of one."""
    found: dict[MeasureKey, Measure] = {}
    gaps = [widest_gap(np.stack(cells)) for cells in by_class(right, predictions, bootstrap) if len(cells) > 1]
    if gaps:
        value, low, high = np.mean(gaps, axis=0)
        found[MeasureKey("fairness", f"{share}/equalised odds")] = Measure(
            float(value),
            float(low),
            float(high),
            "low",
            f"widest difference of {share} between groups on test faces; "
            "mean over classes where there are any (equalised odds difference; 0: all alike)",
        )
    mine = predictions.rows("test", harmed)
    asked = predictions.targets[predictions.rows("forget", harmed)]
    if predictions.targets.ndim == 1 and predictions.outputs.ndim == 2 and len(np.unique(asked)) == 1:
        mine &= predictions.targets == asked[0]
    if mine.any():
        found[MeasureKey("fairness", f"{share}/forgotten's group")] = measure(
            bootstrap.means(right, mine),
            "high",
            f"{share} on test faces of the forgotten's group {harmed}, of their class where they all have one (GA)",
        )
    return found
