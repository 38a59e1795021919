"""Verification: do two photos show the same person? By the protocols of LFW and of insightface's sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Aim, Measure, measure
from efface.measures.predictions import Predictions

FALSE_ACCEPTS = (0.01, 0.001)
FEWEST_IMPOSTORS = 10
"""Wrong pairs above a threshold that are needed to place it."""
TIMES, FEWER_TIMES = 1000, 200
"""Resamples for shares, and for what is costly to compute."""


def verification(predictions: Predictions, seed: int = 0) -> dict[MeasureKey, Measure]:
    """`verification/set/...` of every set: accuracy by folds, TAR at FAR, equal error rate; and, where the quality of
    the photos is known, of the pairs of low and high quality, and how errors fall as poor pairs are left out.

    Intervals resample pairs, which share people here and there: a little too narrow.
    """
    found: dict[MeasureKey, Measure] = {}
    for name in np.unique(predictions.pair_set):
        rows = predictions.pair_set == name
        found |= of_set(
            str(name),
            predictions.pair_similarity[rows],
            predictions.pair_same[rows],
            predictions.pair_fold[rows],
            predictions.pair_quality[rows],
            predictions.pair_poor[rows],
            seed,
        )
    return found


def of_set(
    name: str, similarity: Array, same: Array, fold: Array, quality: Array, poor: Array, seed: int
) -> dict[MeasureKey, Measure]:
    """The measures of one set; poor (p,): which pairs are called of low quality."""
    found: dict[MeasureKey, Measure] = {}
    right = folds_correct(similarity, same, fold)
    found[MeasureKey("verification", "accuracy", group=name)] = shares(
        right,
        "high",
        f"share of the {len(same):,} pairs of {name} told right, the threshold chosen on the other folds",
        seed,
    )
    both = folds_correct(similarity, same, fold, balanced=True)
    found[MeasureKey("verification", "balanced_accuracy", group=name)] = balanced_share(
        both,
        same,
        f"mean of the shares of the {int(same.sum()):,} same-person and the {int((~same).sum()):,} other pairs of "
        f"{name} told right, the threshold chosen on the other folds",
        seed,
    )
    mean, deviation = over_folds(right, fold)
    found[MeasureKey("verification", "accuracy_deviation", group=name)] = Measure(
        deviation,
        None,
        None,
        "none",
        f"standard deviation of the accuracy over {len(np.unique(fold))} folds of {name}, whose mean is {mean:.4f}",
    )
    for rate in FALSE_ACCEPTS:
        about = f"share of same-person pairs of {name} accepted where {100 * rate:g}% of the others are"
        threshold = threshold_at(similarity[~same], rate)
        found[MeasureKey("verification", f"tar_at_{100 * rate:g}%_far", group=name)] = (
            Measure(None, None, None, "high", f"{about} (too few pairs to say)")
            if threshold is None
            else shares(similarity[same] >= threshold, "high", about, seed)
        )
    found[MeasureKey("verification", "equal_error_rate", group=name)] = resampled(
        lambda some: equal_error_rate(similarity[some], same[some]),
        len(same),
        "low",
        f"rate at which as many same-person pairs of {name} are refused as others accepted",
        seed,
    )
    if np.isfinite(quality).all() and len(np.unique(quality)) > 1:
        for which, part in (("low quality", poor), ("high quality", ~poor)):
            about = f"the same over the {int(part.sum()):,} pairs of {which}, by their worse photo"
            if part.any():
                found[MeasureKey("verification", f"accuracy/{which}", group=name)] = shares(
                    right[part], "high", about, seed
                )
            if (part & same).any() and (part & ~same).any():
                found[MeasureKey("verification", f"balanced_accuracy/{which}", group=name)] = balanced_share(
                    both[part], same[part], about, seed
                )
        found[MeasureKey("verification", "discard_area", group=name)] = resampled(
            lambda some: discard_area(*error_versus_discard(similarity[some], same[some], quality[some])),
            len(same),
            "low",
            "mean share of same-person pairs refused while up to 30% of the pairs, the worst by quality, are "
            "left out, over the share refused of all (1: quality means nothing; threshold at 1% false "
            "accepts)",
            seed,
        )
    return found


def folds_correct(similarity: Array, same: Array, fold: Array, *, balanced: bool = False) -> NDArray[np.bool_]:
    """(p,) whether each pair is told right by the threshold that is best on all other folds.

    Every threshold that makes a difference is tried; of equally good ones the lowest is taken, half way to the next
    score below. A single fold is judged by its own best threshold. balanced: same-person and other pairs count alike,
    however many there are of each.
    """
    right = np.zeros(len(same), bool)
    for one in np.unique(fold):
        test = fold == one
        train = ~test if (~test).any() else test
        threshold = best_threshold(similarity[train], same[train], balanced=balanced)
        right[test] = (similarity[test] >= threshold) == same[test]
    return right


def best_threshold(similarity: Array, same: Array, *, balanced: bool = False) -> float:
    """The threshold with the most pairs told right, or the largest sum of both kinds' shares, where those at or above
    it are called the same."""
    order = np.argsort(similarity, kind="stable")
    ordered, targets = np.asarray(similarity, np.float64)[order], same[order]
    refused_right = np.concatenate([[0], np.cumsum(~targets)])
    accepted_right = targets.sum() - np.concatenate([[0], np.cumsum(targets)])
    each = (len(targets) - targets.sum(), targets.sum()) if balanced and targets.any() and not targets.all() else (1, 1)
    between = np.concatenate([[True], ordered[1:] > ordered[:-1], [True]])
    score = np.where(between, refused_right / each[0] + accepted_right / each[1], -1)
    place = int(score.argmax())
    if place == 0:
        return float(ordered[0])
    return float(ordered[-1] + 1e-6) if place == len(ordered) else float((ordered[place - 1] + ordered[place]) / 2)


def over_folds(right: Array, fold: Array) -> tuple[float, float]:
    """Mean and standard deviation of the folds' accuracies, as the protocol of LFW reports them; 0 of one fold."""
    each = [right[fold == one].mean() for one in np.unique(fold)]
    return float(np.mean(each)), float(np.std(each, ddof=1)) if len(each) > 1 else 0.0


def threshold_at(impostor: Array, rate: float) -> float | None:
    """The lowest threshold that accepts at most `rate` of the impostor scores; None where they are too few to say."""
    place = threshold_place(len(impostor), rate)
    return None if place is None else just_above(np.partition(impostor, place)[place])


def threshold_place(count: int, rate: float) -> int | None:
    """The place, among so many impostor scores in rising order, of the highest one that is not to be accepted."""
    allowed = int(np.floor(rate * count))
    return None if allowed < FEWEST_IMPOSTORS else count - allowed - 1


def just_above(score: np.floating[Any]) -> float:
    """The next number of the same precision."""
    return float(np.nextafter(score, type(score)(2)))


def equal_error_rate(similarity: Array, same: Array) -> float:
    """Where the share of same-person pairs refused meets the share of others accepted, linear between thresholds."""
    from sklearn.metrics import roc_curve

    accepted, hit, _ = roc_curve(same, similarity)
    gap = (1 - hit) - accepted
    after = int(np.argmax(gap <= 0))
    if after == 0:
        return float(accepted[0])
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(accepted[after - 1] + share * (accepted[after] - accepted[after - 1]))


def error_versus_discard(
    similarity: Array,
    same: Array,
    quality: Array,
    *,
    rate: float = 0.01,
    most: float = 0.3,
    steps: int = 31,
) -> tuple[Array, Array]:
    """Shares (s,) of pairs left out, the worst by quality first, and the share (s,) of same-person pairs then refused.

    The threshold stays the one at which `rate` of all other-person pairs are accepted (Grother and Tabassi 2007).
    """
    impostor = np.sort(similarity[~same])[::-1]
    threshold = impostor[int(np.floor(rate * len(impostor)))]
    order = np.argsort(quality, kind="stable")
    refused = (similarity <= threshold) & same
    left_out = np.linspace(0, most, steps)
    starts = np.floor(left_out * len(order)).astype(int)
    misses = refused[order][::-1].cumsum()[::-1]
    people = same[order][::-1].cumsum()[::-1]
    return left_out, misses[starts] / np.maximum(people[starts], 1)


def discard_area(left_out: Array, refused: Array) -> float:
    """Mean of the curve over its value at no discard: 1 where quality means nothing, lower is better; NaN where nothing
    is refused."""
    return float(np.trapezoid(refused, left_out) / (left_out[-1] * refused[0])) if refused[0] > 0 else float("nan")


def resampled(value: Callable[[Array], float], count: int, aim: Aim, about: str, seed: int) -> Measure:
    """A value of all pairs, given by their rows, with its bootstrap interval over pairs."""
    rng = np.random.default_rng(seed)
    bootstrap = [np.arange(count), *(rng.integers(0, count, count) for _ in range(FEWER_TIMES))]
    return measure(np.array([value(rows) for rows in bootstrap]), aim, about)


def shares(right: Array, aim: Aim, about: str, seed: int) -> Measure:
    """A share of pairs with the bootstrap interval over pairs."""
    times = np.random.default_rng(seed).binomial(len(right), right.mean(), TIMES) / len(right)
    return measure(np.concatenate([[right.mean()], times]), aim, about)


def balanced_share(right: Array, same: Array, about: str, seed: int) -> Measure:
    """Mean of the shares of both kinds of pairs, with the bootstrap interval over pairs of each kind."""
    kinds = [right[same], right[~same]]
    rng = np.random.default_rng(seed)
    times = np.mean([rng.binomial(len(kind), kind.mean(), TIMES) / len(kind) for kind in kinds], axis=0)
    return measure(np.concatenate([[np.mean([kind.mean() for kind in kinds])], times]), "high", about)
