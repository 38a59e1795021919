"""One model's rows beside the original's and the reference's: all its measures, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

from efface.faces import Array
from efface.measures.draws import Draws, Measure
from efface.measures.fairness import disparity, harmed_group, increase, means_on_test, price
from efface.measures.memory import forgetting, membership
from efface.measures.outcomes import Outcomes
from efface.measures.utility import utility
from efface.results import Evaluation, MeasureRecord, Summary
from efface.tasks import Task


@dataclass(frozen=True)
class Graded:
    """One model's answers, graded face by face."""

    outcomes: Outcomes
    scores: Mapping[str, Array]
    signal: Array


def grade(outcomes: Outcomes, task: Task) -> Graded:
    """Every score of the task, and what betrays a member, for every face."""
    return Graded(outcomes, {name: score.of(outcomes) for name, score in task.scores.items()},
                  task.signal.of(outcomes))


def evaluate(
    model: Graded, original: Graded, reference: Graded, task: Task, draws: Draws, before: Graded | None = None,
) -> dict[str, Measure]:
    """All measures of one model; `before` is the stage it was made from, where that is not the original.

    All answered the same faces in the same order.
    """
    outcomes, signal = model.outcomes, task.signal.about
    abouts = {name: (score.aim, score.about) for name, score in task.scores.items()}
    measures = utility(outcomes, model.scores, abouts, draws)
    measures |= membership(outcomes, model.signal, draws, signal)
    measures |= forgetting(outcomes, model.signal, original.signal, reference.signal, draws, signal)
    measures |= task.more(outcomes, original.outcomes, draws)
    harmed = harmed_group(outcomes)
    for score in dict.fromkeys((task.error, task.price)):
        now, first, without = (means_on_test(outcomes, graded.scores[score], draws)
                                for graded in (model, original, reference))
        measures |= increase(now, first, score, "original") | increase(now, without, score, "reference")
        measures |= disparity(now, first, harmed, score, "original")
        measures |= disparity(now, without, harmed, score, "reference")
        measures |= price(now, first, without, score)
        if before is not None:
            measures |= increase(now, means_on_test(outcomes, before.scores[score], draws), score, "stage before")
    return measures


def summarise(evaluations: Sequence[Evaluation]) -> list[Summary]:
    """Each row over its seeds: the mean, with people and seeds in the interval."""
    rows: dict[tuple[str, str], list[Evaluation]] = {}
    for evaluation in evaluations:
        rows.setdefault((evaluation.arm, evaluation.method), []).append(evaluation)
    return [Summary(arm=arm, method=method, seeds=[one.seed for one in same],
                    measures={name: over_seeds([one.measures[name] for one in same]) for name in same[0].measures})
            for (arm, method), same in rows.items()]


def over_seeds(records: Sequence[MeasureRecord]) -> MeasureRecord:
    """Mean over seeds; undefined where any seed is.

    The people are the same in every seed, so their part of the interval is averaged, not divided by the seeds.
    """
    first = records[0]
    spans = [(one.value, one.low, one.high) for one in records]
    if any(None in span for span in spans):
        return next(one for one in records if one.value is None)
    values, lows, highs = np.array(spans, dtype=np.float64).T
    count, mean = len(values), values.mean()
    seeds = stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count) if count > 1 else 0.0
    return MeasureRecord(value=float(mean), low=float(mean - np.hypot((values - lows).mean(), seeds)),
                         high=float(mean + np.hypot((highs - values).mean(), seeds)), aim=first.aim, about=first.about)


def records(measures: Mapping[str, Measure]) -> dict[str, MeasureRecord]:
    """Measures as they stand in `results.json`."""
    return {name: MeasureRecord(**asdict(measure)) for name, measure in measures.items()}
