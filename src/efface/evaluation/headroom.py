"""Headroom: how far the original lies from the retrained models, in standard errors, measure by measure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from efface.evaluation.differences import difference
from efface.evaluation.evaluate import jackknife_error, pairs_of, seed_error
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Vector
from efface.results import ORIGINAL, REFERENCE, SECOND_REFERENCE, Evaluation, Headroom, MeasureRecord

AGAINST_REFERENCE = ("membership", "attack", "completeness", "misfiled")
"""Families whose original is held against the reference's; a distance of the original is held against the noise
floor."""


def headrooms(evaluations: Sequence[Evaluation]) -> list[Headroom]:
    """Of every arm the headroom of each distance, attack and confusion by misfiled photos that was measured of the
    original and of what it is held against; value None where there is no standard error to divide by."""
    found = []
    for arm in dict.fromkeys(one.arm for one in evaluations):
        rows = {
            name: [one for one in evaluations if (one.arm, one.method) == (arm, name)]
            for name in (ORIGINAL, REFERENCE, SECOND_REFERENCE)
        }
        by_seed = {one.seed: one.measures for one in rows[REFERENCE]}
        pairs = [(one.measures, by_seed[one.seed]) for one in rows[ORIGINAL] if one.seed in by_seed]
        for key in pairs[0][0] if pairs else ():
            value = None
            if key.family == "distance" and key.metric != "nearer/p" and rows[SECOND_REFERENCE]:
                value = of_distance(key, [ours for ours, _ in pairs], rows[SECOND_REFERENCE])
            elif key.family in AGAINST_REFERENCE and not key.against:
                value = of_difference(key, pairs)
            else:
                continue
            found.append(Headroom(arm=arm, measure=key, value=value))
    return found


def of_distance(
    key: MeasureKey, originals: Sequence[Mapping[MeasureKey, MeasureRecord]], floor: Sequence[Evaluation]
) -> float | None:
    """(original - noise floor) / its standard error; above zero where the original is farther away."""
    ours = [one[key] for one in originals if key in one]
    theirs = [one.measures[key] for one in floor if key in one.measures]
    if len(ours) < len(originals) or len(theirs) < len(floor):
        return None
    mine = value_and_error(ours, seed_error)
    usual = value_and_error(theirs, lambda values: jackknife_error(values, pairs_of(floor)))
    if mine is None or usual is None:
        return None
    gap = usual[0] - mine[0] if ours[0].aim == "high" else mine[0] - usual[0]
    return in_errors(gap, math.hypot(mine[1], usual[1]))


def of_difference(
    key: MeasureKey,
    pairs: Sequence[tuple[Mapping[MeasureKey, MeasureRecord], Mapping[MeasureKey, MeasureRecord]]],
) -> float | None:
    """|original - reference| / its standard error, each original beside the reference of its seed."""
    gaps = [difference(key, ours, reference) for ours, reference in pairs]
    known = [gap for gap in gaps if gap is not None]
    found = value_and_error(known, seed_error) if len(known) == len(gaps) else None
    return None if found is None else in_errors(abs(found[0]), found[1])


def value_and_error(records: Sequence[MeasureRecord], spread: Callable[[Vector], float]) -> tuple[float, float] | None:
    """Mean of the records, and its standard error over people and models joined; None where a record has no
    interval."""
    from scipy import stats

    spans = [one.span for one in records if one.span is not None]
    if not spans or len(spans) < len(records):
        return None
    values, lows, highs = np.array(spans, np.float64).T
    people = float((highs - lows).mean() / (2 * stats.norm.ppf(0.975)))
    return float(values.mean()), math.hypot(people, spread(values))


def in_errors(gap: float, error: float) -> float | None:
    """The gap in standard errors; None without any."""
    return gap / error if error > 0 else None
