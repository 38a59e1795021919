"""The constant-prediction control: the one answer that serves the retained best, whatever the picture shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from efface.evaluation.evaluate import Scored, over_seeds, records, score_faces
from efface.measure_key import ALL, MeasureKey
from efface.measures.bootstrap import Bootstrap, measure
from efface.results import Evaluation, MeasureRecord
from efface.tasks import Task

ATTACKS = ("membership", "forgetting")
"""Entries of `MEASURES` that say nothing of an answer for everybody."""


def constant_prediction(scored: Scored, task: Task) -> Scored:
    """The control of what is asked for those who stay: everybody gets the one answer that serves the retained best."""
    assert task.constant is not None
    predictions = scored.predictions
    outputs = np.broadcast_to(task.constant(predictions), predictions.outputs.shape).astype(np.float32)
    return score_faces(replace(predictions, outputs=outputs), task)


def advantage_over_constant(original: Scored, constant: Scored, task: Task, bootstrap: Bootstrap) -> MeasureRecord:
    """The constant prediction's error on test faces less the original's, on the same people in every draw."""
    test = original.predictions.rows("test")
    here, there = (bootstrap.means(one.scores[task.error], test) for one in (original, constant))
    key = MeasureKey("score", task.error, split="test", group=ALL)
    about = f"{task.error} on test faces of a constant prediction, minus the original's"
    return records({key: measure(there - here, "high", about)})[key]


def not_better_than_constant(
    advantages: Sequence[MeasureRecord], original: Sequence[Evaluation], constant: Sequence[Evaluation], error: str
) -> list[str]:
    """The warning that a report opens with where the original is not better than a constant prediction by a whole
    interval over people and seeds; none where it is, or where there are no test faces."""
    key = MeasureKey("score", error, split="test", group=ALL)
    gap = over_seeds(advantages).span if advantages else None
    if gap is None or gap[1] > 0:
        return []
    ours, theirs = (over_seeds([one.measures[key] for one in rows]).value for rows in (original, constant))
    return [
        f"The original is not better than a constant prediction ({error.replace('_', ' ')} on test faces {ours:.3g}, "
        f"of the constant {theirs:.3g}; difference {gap[0]:.3g} [{gap[1]:.3g}, {gap[2]:.3g}]): nothing that follows "
        "says anything about forgetting."
    ]
