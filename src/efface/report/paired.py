"""How much nearer to retraining one method is than another, seed by seed: what a sentence that compares two rows rests
on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from efface.measure_key import MeasureKey
from efface.report import wording
from efface.results import LEAST_HEADROOM, REFERENCE, RESERVED, Results

FEWEST_SEEDS = 3
COMPARED: tuple[tuple[MeasureKey, str], ...] = (
    (wording.ATTACK_AUC, "attack AUC"),
    (MeasureKey("attack", "lira/auc", level="photo"), "LiRA"),
    (MeasureKey("distance", "tow"), "ToW"),
)


@dataclass(frozen=True)
class PairedTable:
    """Methods by methods."""

    title: str
    methods: list[str]
    rows: list[tuple[str, list[tuple[str, bool]]]]
    """Of each method its difference from every other, and whether the interval leaves out 0."""


def paired_tables(results: Results, arm: str) -> list[PairedTable]:
    """A table for each measure of an arm that has headroom; none with fewer than three seeds or two methods."""
    made = [one for one in results.evaluations if one.arm == arm and one.method not in RESERVED]
    methods = list(dict.fromkeys(one.method for one in made))
    room = results.headroom_of(arm)
    if len(methods) < 2 or len({one.seed for one in made}) < FEWEST_SEEDS:
        return []
    tables = []
    for key, title in COMPARED:
        if (room.get(key) or 0.0) < LEAST_HEADROOM:
            continue
        rows = [
            (one, [cell_of(nearer_to_retraining(results, arm, key, one, other)) for other in methods])
            for one in methods
        ]
        tables.append(PairedTable(title, methods, rows))
    return tables


def nearer_to_retraining(results: Results, arm: str, key: MeasureKey, ours: str, other: str) -> list[float]:
    """A value for each seed in which both were measured: how far `ours` is from retraining less how far `other` is;
    below 0: nearer. None at all where the measure could not be told of one of them in some seed (a network that never
    relearns, say): the other seeds would speak for it.

    A distance to the reference stands for itself, any other measure for its difference to that of the reference of the
    same seed.
    """
    rows = {(one.method, one.seed): one.measures for one in results.evaluations if one.arm == arm}

    needed = [ours, other] if key.family == "distance" else [ours, other, REFERENCE]
    seeds = sorted(seed for method, seed in rows if method == REFERENCE)
    records = [[one for method in needed if (one := rows.get((method, seed), {}).get(key))] for seed in seeds]
    measured = [[one.value for one in of_seed] for of_seed in records if len(of_seed) == len(needed)]
    values = [[value for value in of_seed if value is not None] for of_seed in measured]
    if values != measured:
        return []
    if key.family == "distance":
        sign = -1 if any(one.aim == "high" for of_seed in records for one in of_seed) else 1
        return [sign * (mine - theirs) for mine, theirs in values]
    return [abs(mine - reference) - abs(theirs - reference) for mine, theirs, reference in values]


def student(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and Student's 95% interval; of at least two values."""
    from scipy import stats

    mean, count = float(np.mean(values)), len(values)
    reach = float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return mean, mean - reach, mean + reach


def cell_of(values: Sequence[float]) -> tuple[str, bool]:
    """A mean difference with its interval, and whether that leaves out 0; a dash for a method beside itself."""
    if len(values) < FEWEST_SEEDS or not np.any(values):
        return "–", False
    mean, low, high = student(values)
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−"), not low <= 0 <= high
