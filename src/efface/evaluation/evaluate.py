"""One model's rows beside the original's and the reference's: all its measures, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.evaluation.differences import difference
from efface.measure_key import MeasureKey
from efface.measures.attacks import auc, membership_scores_of, population_attacks
from efface.measures.bootstrap import Aim, Bootstrap, Measure, Vector, measure
from efface.measures.distances import REPLICATES, average_gap, cka, equalised_odds, nearer, tow, wasserstein
from efface.measures.fairness import (
    between_groups,
    disparity,
    harm,
    harmed_group,
    increase,
    means_on_test,
    shares_by_group,
)
from efface.measures.intersections import intersections
from efface.measures.membership import class_matched_membership, forgetting, membership
from efface.measures.predictions import Predictions
from efface.measures.utility import utility
from efface.results import REFERENCE, Evaluation, MeasureRecord, Summary
from efface.tasks import Task

MOST_ALIGNED, TIMES_ALIGNED = 500, 101
"""Faces and resamples in which embeddings are aligned: each costs a matrix product."""


@dataclass(frozen=True, eq=False)
class Scored:
    """One model's predictions, scored face by face."""

    predictions: Predictions
    scores: Mapping[str, Array]
    signal: Array
    """What betrays a member; lower on members."""
    signals: Mapping[str, Array]
    """That, under its name, and everything else an attacker may look at."""
    likelihood: Array

    @cached_property
    def population_attacks(self) -> Mapping[str, NDArray[np.float64]]:
        """Membership scores of the attacks that are fitted on other people: (n,) each, by name."""
        return population_attacks(self.signals, self.predictions)


def score_faces(predictions: Predictions, task: Task) -> Scored:
    """Every score of the task, and what betrays a member, for every face."""
    signal = task.signal.of(predictions)
    return Scored(
        predictions,
        {name: score.of(predictions) for name, score in task.scores.items()},
        signal,
        {"loss": signal, **{name: score.of(predictions) for name, score in task.signals.items()}},
        task.likelihood(predictions),
    )


def diverged(predictions: Predictions) -> bool:
    """Whether a model answers any face with what is no number."""
    return not (np.isfinite(predictions.outputs).all() and np.isfinite(predictions.centres).all())


@dataclass(frozen=True)
class Comparison:
    """One model beside those it is compared with; all answered the same faces in the same order."""

    model: Scored
    original: Scored
    reference: Scored | None
    """Retrained without the forgotten; None where nobody retrained."""
    before: Scored | None
    """The stage it was made from, where that is not the original."""
    task: Task
    bootstrap: Bootstrap
    harmed: str
    """The group that asks to be forgotten."""

    @property
    def predictions(self) -> Predictions:
        """The model's."""
        return self.model.predictions


Measures = dict[MeasureKey, Measure]


def evaluate(
    model: Scored,
    original: Scored,
    reference: Scored | None,
    task: Task,
    bootstrap: Bootstrap,
    before: Scored | None = None,
    harmed: str | None = None,
    without: Collection[str] = (),
) -> Measures:
    """All measures of one model, from every entry of `MEASURES` but those of `without`.

    reference: retrained without the forgotten; what only such a model can tell is left out where there is none.
    before: the stage it was made from, where that is not the original. harmed: the group that asks to be forgotten
    (default: the one most of the forgotten are of). All answered the same faces in the same order.
    """
    harmed = harmed_group(model.predictions) if harmed is None else harmed
    compared = Comparison(model, original, reference, before, task, bootstrap, harmed)
    found: Measures = {}
    for name, measured in MEASURES.items():
        found |= {} if name in without else measured(compared)
    return found


def scores_of(compared: Comparison) -> Measures:
    """Every score of the task, by split and group."""
    abouts = {name: (score.aim, score.about) for name, score in compared.task.scores.items()}
    return utility(compared.predictions, compared.model.scores, abouts, compared.bootstrap)


def membership_of(compared: Comparison) -> Measures:
    """The membership attack that every run makes; where classes are answered, also against strangers of the same
    classes."""
    model, about = compared.model, compared.task.signal.about
    found = membership(model.predictions, model.signal, compared.bootstrap, about)
    if compared.task.labels == "one":
        found |= class_matched_membership(model.predictions, model.signal, compared.bootstrap, about)
    return found


def forgetting_of(compared: Comparison) -> Measures:
    """How far the signal on the forgotten went."""
    reference = compared.reference.signal if compared.reference else None
    return forgetting(
        compared.predictions,
        compared.model.signal,
        compared.original.signal,
        reference,
        compared.bootstrap,
        compared.task.signal.about,
    )


def of_the_task(compared: Comparison) -> Measures:
    """What the field measures on this task alone."""
    return compared.task.more(compared.predictions, compared.original.predictions, compared.bootstrap)


def distances_of(compared: Comparison) -> Measures:
    """How far from the retrained reference."""
    if compared.reference is None:
        return {}
    return distances(
        compared.model, compared.original, compared.reference, compared.task, compared.bootstrap, compared.harmed
    )


def costs_by_group(compared: Comparison) -> Measures:
    """Growth of each group's test error, its parts, and differences between groups."""
    predictions, bootstrap, harmed = compared.predictions, compared.bootstrap, compared.harmed
    if not predictions.rows("test").any():
        return {}
    found: Measures = {}
    bases = {"original": compared.original, "reference": compared.reference, "stage before": compared.before}
    for score in dict.fromkeys((compared.task.error, compared.task.harm_score)):
        now = means_on_test(predictions, compared.model.scores[score], bootstrap, harmed)
        base = {
            name: means_on_test(predictions, one.scores[score], bootstrap, harmed) for name, one in bases.items() if one
        }
        for against in base:
            found |= increase(now, base[against], score, against)
            if against != "stage before":
                found |= disparity(now, base[against], harmed, score, against)
        if "reference" in base:
            found |= harm(now, base["original"], base["reference"], score)
        found |= between_groups(now, score)
        found |= intersections(
            predictions,
            compared.model.scores[score],
            compared.original.scores[score],
            compared.reference.scores[score] if compared.reference else None,
            score,
            bootstrap,
        )
    share = compared.task.accuracy_score
    return found | shares_by_group(compared.model.scores[share], predictions, share, bootstrap, harmed)


MEASURES: dict[str, Callable[[Comparison], Measures]] = {
    "scores": scores_of,
    "membership": membership_of,
    "forgetting": forgetting_of,
    "task": of_the_task,
    "distances": distances_of,
    "costs by group": costs_by_group,
}
"""What is measured of every model. A measure of your own is one more line: a function of a `Comparison` that returns
its measures under `MeasureKey("measure", NAME, ...)`, NAME being its name here."""


def distances(
    model: Scored,
    original: Scored,
    reference: Scored,
    task: Task,
    bootstrap: Bootstrap,
    harmed: str,
) -> dict[MeasureKey, Measure]:
    """`distance/...`: how far a model is from the retrained reference, by its answers to the same faces."""
    predictions, other = model.predictions, reference.predictions
    rows = {split: predictions.rows(split) for split in ("forget", "test")}
    found: dict[MeasureKey, Measure] = {}
    for name, compared in task.differences.items():
        aim: Aim = "high" if name in ("agreement", "neighbours") else "low"
        values = compared.of(predictions, other)
        found |= {
            MeasureKey("distance", name, split=split): measure(
                bootstrap.means(values, some),
                aim,
                f"{compared.about}; model and retrained reference, on {split} faces",
            )
            for split, some in rows.items()
            if np.isfinite(values[some]).any()
        }
    ours, theirs = (accuracies(scored, task, bootstrap, harmed) for scored in (model, reference))
    share = task.accuracy_score.replace("_", " ")
    ends = ("forget", "retain", "test")
    whole = all(name in ours for name in ends)
    if whole:
        found[MeasureKey("distance", "tow")] = measure(
            tow([ours[name] for name in ends], [theirs[name] for name in ends]),
            "high",
            f"tug of war: product of 1 − |difference to the reference| of {share} on forgotten, retained and test "
            "faces",
        )
    if whole and "attack" in ours and "attack" in theirs:
        named = ("attack", "retain", "test")
        found[MeasureKey("distance", "tow_mia")] = measure(
            tow([ours[name][:REPLICATES] for name in named], [theirs[name][:REPLICATES] for name in named]),
            "high",
            f"the same with the attack's AUC in the place of {share} on the forgotten",
        )
        found[MeasureKey("distance", "avg_gap")] = measure(
            average_gap(*({name: values[:REPLICATES] for name, values in side.items()} for side in (ours, theirs))),
            "high",
            f"100 minus the mean gap in points to the reference: {share} on retained, forgotten and test faces "
            "and on the forgotten's group, difference between groups, attack",
        )
    forgotten = bootstrap.cluster[rows["forget"]]
    known = np.isfinite(model.signal[rows["forget"]]) & np.isfinite(reference.signal[rows["forget"]])
    found[MeasureKey("distance", "wasserstein/signal")] = measure(
        bootstrap.over_draws(
            partial(wasserstein, model.signal[rows["forget"]][known], reference.signal[rows["forget"]][known]),
            forgotten[known],
            REPLICATES,
        ),
        "low",
        f"Wasserstein distance of the {task.signal.about} on the forgotten, model and retrained reference",
    )
    if task.outputs == "points":
        here, there = (
            np.asarray(one.outputs, np.float64)[rows["forget"]].reshape(len(known), -1).T
            for one in (predictions, other)
        )
        found[MeasureKey("distance", "wasserstein/answers")] = measure(
            np.mean(
                [
                    bootstrap.over_draws(partial(wasserstein, *one), forgotten, REPLICATES)
                    for one in zip(here, there, strict=True)
                ],
                axis=0,
            ),
            "low",
            "Wasserstein distance of the answered coordinates on the forgotten, in pixels; mean over coordinates",
        )
    if task.outputs == "embeddings":
        for split, some in rows.items():
            picked = np.sort(np.random.default_rng(0).permutation(np.flatnonzero(some))[:MOST_ALIGNED])
            if len(picked) > 1:
                weights = bootstrap.weights(bootstrap.cluster[picked], slice(TIMES_ALIGNED))
                found[MeasureKey("distance", "cka", split=split)] = measure(
                    cka(
                        np.asarray(predictions.outputs[picked], np.float64),
                        np.asarray(other.outputs[picked], np.float64),
                        weights,
                    ),
                    "high",
                    f"linear CKA of the embeddings of {split} faces, model and retrained "
                    "reference (1: the same up to a rotation)",
                )
    now, first, without = (
        np.stack([column[rows["forget"]] for column in scored.signals.values()], axis=1)
        for scored in (model, original, reference)
    )
    return found | nearer(now, first, without, predictions.identity[rows["forget"]])


def accuracies(scored: Scored, task: Task, bootstrap: Bootstrap, harmed: str) -> dict[str, Vector]:
    """What the average gap compares, each between 0 and 1; attack: where there are strangers to tell apart from."""
    predictions, right = scored.predictions, scored.scores[task.accuracy_score]
    rows = {split: predictions.rows(split) for split in ("retain", "forget", "test")}
    found = {split: bootstrap.means(right, some) for split, some in rows.items() if some.any()}
    mine = predictions.rows("test", harmed)
    if mine.any():
        found["group"] = bootstrap.means(right, mine)
    found["between groups"] = equalised_odds(right, predictions, bootstrap)
    membership_scores = membership_scores_of(predictions, -scored.signal, bootstrap, people=False)
    return found if membership_scores is None else found | {"attack": membership_scores.over_draws(auc)}


def summarise(evaluations: Sequence[Evaluation]) -> list[Summary]:
    """Each row over its seeds: the mean, with people and seeds in the interval; the noise floor over its pairs."""
    rows: dict[tuple[str, str], list[Evaluation]] = {}
    for evaluation in evaluations:
        rows.setdefault((evaluation.arm, evaluation.method), []).append(evaluation)
    return [
        summary_of_pairs(same, rows.get((arm, REFERENCE), []))
        if all(one.reference_seed is not None for one in same)
        else Summary(
            arm=arm,
            method=method,
            seeds=[one.seed for one in same],
            diverged=[one.seed for one in same if one.diverged],
            trained_on_nonmembers=any(one.trained_on_nonmembers for one in same),
            measures={}
            if any(one.diverged for one in same)
            else {name: over_seeds([one.measures[name] for one in same]) for name in same[0].measures},
        )
        for (arm, method), same in rows.items()
    ]


def summary_of_pairs(pairs: Sequence[Evaluation], references: Sequence[Evaluation]) -> Summary:
    """The noise floor: the mean over all pairs of retrained models, and that of each pair's difference."""
    by_seed = {one.seed: one.measures for one in references}
    of = pairs_of(pairs)
    gaps = [
        {key: difference(key, one.measures, by_seed.get(first, {})) for key in one.measures}
        for one, (first, _) in zip(pairs, of, strict=True)
    ]
    differences = {key: [found for gap in gaps if (found := gap.get(key)) is not None] for key in pairs[0].measures}
    return Summary(
        arm=pairs[0].arm,
        method=pairs[0].method,
        seeds=sorted({seed for pair in of for seed in pair}),
        measures={
            key: over_pairs([one.measures[key] for one in pairs], of)
            for key in pairs[0].measures
            if all(key in one.measures for one in pairs)
        },
        differences={key: over_pairs(found, of) for key, found in differences.items() if len(found) == len(pairs)},
    )


def pairs_of(evaluations: Sequence[Evaluation]) -> list[tuple[int, int]]:
    """(seed of the reference, seed of the model) of each row of the noise floor."""
    return [(one.reference_seed, one.seed) for one in evaluations if one.reference_seed is not None]


def over_seeds(records: Sequence[MeasureRecord]) -> MeasureRecord:
    """Mean over seeds, with Student's interval over seeds joined to the one over people; undefined where any seed
    is."""
    return joined(records, seed_error, len(records))


def over_pairs(records: Sequence[MeasureRecord], pairs: Sequence[tuple[int, int]]) -> MeasureRecord:
    """Mean over pairs of models, with an interval over models, not pairs: those that share a model are not
    independent, so each model is left out in turn with all its pairs (the jackknife), and Student's t has a degree of
    freedom less than there are models."""
    models = len({model for pair in pairs for model in pair})
    found = joined(records, lambda values: jackknife_error(values, pairs), models)
    return found.model_copy(update={"about": f"{found.about} {ONE_PAIR}"}) if models == 2 and found.span else found


ONE_PAIR = "(one pair of retrained models: no interval over models)"


def seed_error(values: Vector) -> float:
    """Standard error (s,) of a mean over seeds; 0 of one seed."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def jackknife_error(values: Vector, pairs: Sequence[tuple[int, int]]) -> float:
    """Standard error of a mean (p,) over pairs of models, by leaving out each model with all its pairs; 0 of one
    pair."""
    of = np.array(pairs)
    models = np.unique(of)
    if len(models) < 3:
        return 0.0
    without = np.array([values[(of != model).all(1)].mean() for model in models])
    return float(np.sqrt((len(models) - 1) * without.var()))


def joined(records: Sequence[MeasureRecord], error: Callable[[Vector], float], models: int) -> MeasureRecord:
    """Mean of records of the same people; its interval joins, in quadrature, that over people and Student's over
    models, whose standard error is `error` of the values. Undefined where any record is.

    The people are the same in every record, so their part of the interval is averaged, not divided by the models.
    """
    from scipy import stats

    first = records[0]
    spans = [(one.value, one.low, one.high) for one in records]
    if any(one.value is None for one in records):
        return next(one for one in records if one.value is None)
    if any(None in span for span in spans):
        return first.model_copy(
            update={"value": float(np.mean([one.value for one in records])), "low": None, "high": None}
        )
    values, lows, highs = np.array(spans, dtype=np.float64).T
    mean = values.mean()
    reach = stats.t.ppf(0.975, models - 1) * error(values) if models > 1 else 0.0
    about = first.about.replace("(intervals", "(over people, intervals") if len(values) > 1 else first.about
    return MeasureRecord(
        value=float(mean),
        low=float(mean - np.hypot((values - lows).mean(), reach)),
        high=float(mean + np.hypot((highs - values).mean(), reach)),
        aim=first.aim,
        about=about,
    )


def records(measures: Mapping[MeasureKey, Measure]) -> dict[MeasureKey, MeasureRecord]:
    """Measures as they stand in `results.json`."""
    return {name: MeasureRecord(**asdict(measure)) for name, measure in measures.items()}
