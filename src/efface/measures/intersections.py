"""Groups and their intersections: as tables, by fairlearn's MetricFrame, and as measures with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from efface.data.faces import Array
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Aim, Bootstrap, Measure, simultaneous_intervals
from efface.measures.predictions import Predictions

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 10
"""People in a cell, below which nothing said of it is worth much: it is named as too small, and still shown."""


def group_tables(predictions: Predictions, scores: Mapping[str, Array]) -> pd.DataFrame:
    """Every score's mean on test faces of each group, and of each group and trait: a row per cell, with `photos`,
    `people` and whether it is `small`. scores: name to (n,)."""
    import pandas as pd
    from fairlearn.metrics import MetricFrame

    rows = np.flatnonzero(predictions.rows("test"))
    by_group = {"group": predictions.group[rows]}
    traits = predictions.traits[rows].T if predictions.traits.size else ()
    metrics = {
        **{name: partial(_mean, np.asarray(values, np.float64)) for name, values in scores.items()},
        "photos": _count,
        "people": partial(_distinct, predictions.identity),
    }
    tables = [
        MetricFrame(
            metrics=metrics, y_true=rows, y_pred=rows, sensitive_features=pd.DataFrame(features)
        ).by_group.reset_index()
        for features in (by_group, *(by_group | {"trait": trait} for trait in traits))
    ]
    table = pd.concat(tables, ignore_index=True)
    table = table[table["photos"].notna()].astype({"photos": int, "people": int})
    if "trait" not in table:
        table.insert(1, "trait", "")
    table["trait"] = table["trait"].fillna("")
    table["small"] = table["people"] < FEWEST
    whole: pd.DataFrame = table.reset_index(drop=True)
    return whole


def _mean(values: Array, rows: Array, _same: Array) -> float:
    known = values[np.asarray(rows)]
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else float("nan")


def _count(rows: Array, _same: Array) -> int:
    return len(rows)


def _distinct(who: Array, rows: Array, _same: Array) -> int:
    return len(np.unique(who[np.asarray(rows)]))


def intersections(
    predictions: Predictions,
    now: Array,
    original: Array,
    reference: Array | None,
    score: str,
    bootstrap: Bootstrap,
) -> dict[MeasureKey, Measure]:
    """`intersection/score/.../group, trait`: a score (n,) on test faces of each intersection, and how many percent of
    the original's the model added to it, and to the reference's; the intervals of all cells of one trait hold together.
    Cells of fewer than `FEWEST` people have no interval, and say why."""
    found: dict[MeasureKey, Measure] = {}
    for column in predictions.traits.T if predictions.traits.size else ():
        means, changes, added, people = {}, {}, {}, {}
        for group in np.unique(predictions.group):
            for trait in np.unique(column):
                rows = predictions.rows("test", str(group)) & (column == trait)
                if not rows.any():
                    continue
                cell = ", ".join(part for part in (str(group), str(trait)) if part)
                people[cell] = len(np.unique(predictions.identity[rows]))
                ours, before = (bootstrap.means(values, rows) for values in (now, original))
                with np.errstate(divide="ignore", invalid="ignore"):
                    means[cell] = ours
                    changes[cell] = 100 * (ours - before) / before
                    if reference is not None:
                        added[cell] = 100 * (ours - bootstrap.means(reference, rows)) / before
        for family, against, vectors, what in (
            ("intersection", "", means, f"{score} on test faces of"),
            (
                "intersection increase",
                "original",
                changes,
                f"change of {score} against the original, in %, on test faces of",
            ),
            (
                "intersection harm of method",
                "",
                added,
                f"{score} beyond the reference's, in % of the original's, on test faces of",
            ),
        ):
            aim: Aim = "none" if family == "intersection" else "low"
            keys = {cell: MeasureKey(family, score, against=against, group=cell) for cell in vectors}
            large = {keys[cell]: vector for cell, vector in vectors.items() if people[cell] >= FEWEST}
            found |= simultaneous_intervals(large, aim, {keys[cell]: f"{what} {cell}" for cell in vectors})
            found |= {
                keys[cell]: Measure(
                    float(vector[0]) if np.isfinite(vector[0]) else None,
                    None,
                    None,
                    aim,
                    f"{what} {cell} (only {people[cell]} people: too few for an interval)",
                    people=people[cell],
                )
                for cell, vector in vectors.items()
                if people[cell] < FEWEST
            }
    return found
