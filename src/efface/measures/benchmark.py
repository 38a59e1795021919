"""The MUFAC and MUCAC benchmark's own measures, and the floors below which they say nothing.

Choi and Na, Towards Machine Unlearning Benchmarks: Forgetting the Personal Identities in Facial Recognition Systems,
arXiv:2311.02240: an attack by logistic regression on losses, the forgetting score, NoMUS. The final score of PIU-FR
(ACIIDS 2025) is NoMUS with equal weights. The distance of loss distributions is that of GLI (CVPRW 2024).
"""

from __future__ import annotations

from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Bootstrap, Measure, Vector, measure
from efface.measures.predictions import Predictions

REPLICATES = 200
"""Resamples for intervals of the attack, each of which fits ten regressions."""
FEWEST = 10
"""Faces on each side, below which ten splits cannot be made."""
WEIGHTS = (0.25, 0.5, 0.75)
"""Of utility in NoMUS; 0.5 is the published one."""


Number = TypeVar("Number", float, Vector)
"""One value, or a vector of it and its replicates."""


def forgetting_score(attack: Number) -> Number:
    """|accuracy of the attack - 0.5|: 0 where it cannot tell, 0.5 where it always can. Lower is better."""
    return abs(attack - 0.5)


def nomus(accuracy: Number, forgetting: Number, weight: float = 0.5) -> Number:
    """weight * accuracy + (1 - weight) * (1 - 2 * forgetting); higher is better (normalised machine unlearning score).

    With equal weights it is also PIU-FR's final score.
    """
    return weight * accuracy + (1 - weight) * (1 - 2 * forgetting)


def benchmark_measures(
    predictions: Predictions, loss: Array, right: Array, bootstrap: Bootstrap
) -> dict[MeasureKey, Measure]:
    """`benchmark/...`: what the benchmark reports of one model.

    loss, right (n,): of each face. Its "unseen" faces are the strangers here.
    """
    there = [int((predictions.rows(split) & np.isfinite(loss)).sum()) for split in ("forget", "strangers")]
    if min(there) < FEWEST:
        few = f"the attack needs {FEWEST} forgotten and {FEWEST} strangers; here {there[0]} and {there[1]}"
        return {MeasureKey("benchmark", "attack"): Measure(None, None, None, "as retrained", few)}
    members, others = losses_of_both(predictions, np.isfinite(loss))
    both = np.concatenate([members, others])
    weights = bootstrap.weights(bootstrap.cluster[both], slice(REPLICATES + 1))
    attack = replicated_attack(loss[members], loss[others], weights)
    forgetting = forgetting_score(attack)
    utility = bootstrap.means(right, predictions.rows("test"))[: REPLICATES + 1]
    expected, highest = noise_floor(len(members), len(others))
    floor = f"two groups of {len(members)} and {len(others)} that nobody can tell apart"
    found = {
        MeasureKey("benchmark", "attack"): measure(
            attack,
            "as retrained",
            "accuracy of the benchmark's attack: a logistic regression on losses, forgotten "
            "against strangers (0.5: cannot tell)",
        ),
        MeasureKey("benchmark", "forgetting"): measure(
            forgetting, "as retrained", "forgetting score, |attack - 0.5| (0: cannot tell)"
        ),
        MeasureKey("benchmark", "forgetting floor"): Measure(
            expected,
            0.0,
            highest,
            "none",
            f"the forgetting score to expect of {floor}, and its 95th percentile as the upper end",
        ),
        MeasureKey("benchmark", "js"): js_of_losses(loss[members], loss[others], weights),
    }
    for weight in WEIGHTS:
        name = "nomus" if weight == 0.5 else f"nomus, utility weighs {weight:g}"
        found[MeasureKey("benchmark", name)] = measure(
            nomus(utility, forgetting, weight),
            "high",
            f"NoMUS: {weight:g} of the test accuracy and {1 - weight:g} of 1 - 2 * forgetting score"
            + (" (PIU-FR's final score)" if weight == 0.5 else ""),
        )
    return found


def losses_of_both(predictions: Predictions, known: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Rows of the forgotten and of strangers, shuffled and, where there are more of one by over 1%, cut to the other's
    number, since else an attack that always names the larger side beats chance.

    The benchmark cuts the forgotten only: there the two sides differ by 4 in 1,500.
    """
    rng = np.random.default_rng(42)
    members, others = (
        rng.permutation(np.flatnonzero(predictions.rows(split) & known)) for split in ("forget", "strangers")
    )
    members = members[: len(others)]
    return members, others[: len(members)] if len(others) > 1.01 * len(members) else others


def attack_accuracy(members: Array, others: Array) -> float:
    """Mean accuracy over 10 stratified splits (a tenth is for testing) of scikit-learn's logistic regression that tells
    the losses of `members` (m,) from those of `others` (n,)."""
    from sklearn.linear_model import LogisticRegression

    loss, member = np.concatenate([members, others])[:, None], member_or_not(len(members), len(others))
    return float(
        np.mean(
            [
                LogisticRegression().fit(loss[train], member[train]).score(loss[test], member[test])
                for train, test in ten_splits(len(members), len(others))
            ]
        )
    )


def replicated_attack(members: Array, others: Array, weights: NDArray[np.float64]) -> Vector:
    """(r,) `attack_accuracy`, then the same under each further row of weights (r, m + n)."""
    loss, member = np.concatenate([members, others]), member_or_not(len(members), len(others))
    scores = [
        weighted_score(loss, member, weights[1:], train, test) for train, test in ten_splits(len(members), len(others))
    ]
    return np.concatenate([[attack_accuracy(members, others)], np.nanmean(scores, axis=0)])


def weighted_score(
    loss: Array,
    member: Array,
    weights: NDArray[np.float64],
    train: Array,
    test: Array,
) -> NDArray[np.float64]:
    """(r,) accuracy on the faces `test` of the regression fitted to the faces `train`, under each row of weights; NaN
    under weights that leave nothing to test."""
    slope, offset = logistic(loss[train], member[train], weights[:, train])
    right = (slope[:, None] * loss[test] + offset[:, None] > 0) == (member[test] == 1)
    tested = weights[:, test].sum(1)
    return np.where(tested > 0, (right * weights[:, test]).sum(1) / np.maximum(tested, 1), np.nan)


def logistic(
    values: Array,
    member: Array,
    weights: NDArray[np.float64],
    steps: int = 20,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slopes and offsets (r,) of a logistic regression with scikit-learn's default penalty, slope² / 2, under each row
    of weights (r, n): Newton's method for all rows at once."""
    from scipy import special

    mean, deviation = values.mean(), max(float(values.std()), 1e-12)
    scaled, penalty = (values - mean) / deviation, 1 / deviation**2
    slope, offset = np.zeros(len(weights)), np.zeros(len(weights))
    for _ in range(steps):
        chance = special.expit(slope[:, None] * scaled + offset[:, None])
        error, curve = weights * (chance - member), weights * chance * (1 - chance)
        gradient = np.stack([error @ scaled + penalty * slope, error.sum(1)])
        aa, ab, bb = curve @ scaled**2 + penalty, curve @ scaled, curve.sum(1) + 1e-9
        step = np.stack([bb * gradient[0] - ab * gradient[1], aa * gradient[1] - ab * gradient[0]]) / (aa * bb - ab**2)
        step = step.clip(-2, 2)
        slope, offset = slope - step[0], offset - step[1]
        if np.abs(step).max() < 1e-8:
            break
    return slope / deviation, offset - slope * mean / deviation


def member_or_not(members: int, others: int) -> NDArray[np.int64]:
    """(m + n,) 1 for a member."""
    return np.concatenate([np.ones(members, np.int64), np.zeros(others, np.int64)])


@cache
def ten_splits(members: int, others: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(train, test) rows of the benchmark's ten stratified shuffles."""
    from sklearn.model_selection import StratifiedShuffleSplit

    member = member_or_not(members, others)
    return list(StratifiedShuffleSplit(n_splits=10, random_state=0).split(member, member))


@cache
def noise_floor(members: int, others: int, times: int = 400) -> tuple[float, float]:
    """Mean and 95th percentile of the forgetting score where losses of both sides are from one distribution (a normal
    one: the attack is a threshold, so its shape hardly matters)."""
    rng = np.random.default_rng(0)
    member = member_or_not(members, others)
    scores = []
    for _ in range(times):
        loss = rng.normal(size=members + others)
        accuracy = [
            weighted_score(loss, member, np.ones((1, len(loss))), train, test)[0]
            for train, test in ten_splits(members, others)
        ]
        scores.append(forgetting_score(float(np.mean(accuracy))))
    return float(np.mean(scores)), float(np.quantile(scores, 0.95))


def js_of_losses(members: Array, others: Array, weights: NDArray[np.float64], points: int = 1000) -> Measure:
    """Jensen-Shannon distance between Gaussian kernel estimates of two sets of losses on a grid of `points` (GLI).

    The replicates for the interval smooth histograms on that grid, which is the same up to the width of a cell.
    """
    from scipy import stats
    from scipy.spatial import distance

    about = "Jensen-Shannon distance of the losses of forgotten and strangers (0: the same distribution)"
    if min(np.ptp(members), np.ptp(others)) == 0:
        return Measure(None, None, None, "as retrained", about + " (undefined here: all losses of one side are equal)")
    low, high = min(members.min(), others.min()), max(members.max(), others.max())
    grid = np.linspace(low, high, points)
    value = float(distance.jensenshannon(stats.gaussian_kde(members)(grid), stats.gaussian_kde(others)(grid)))
    first, second = (
        smoothed(values, part, low, high, points)
        for values, part in ((members, weights[1:, : len(members)]), (others, weights[1:, len(members) :]))
    )
    return measure(np.concatenate([[value], distance.jensenshannon(first, second, axis=1)]), "as retrained", about)


def smoothed(
    values: Array,
    weights: NDArray[np.float64],
    low: float,
    high: float,
    points: int,
) -> NDArray[np.float64]:
    """(r, points) kernel estimates under each row of weights (r, n), with Scott's width."""
    from scipy import ndimage

    cell = (high - low) / (points - 1)
    place = np.rint((values - low) / cell).astype(np.int64)
    counted = np.stack([np.bincount(place, row, points) for row in weights])
    width = values.std(ddof=1) * len(values) ** -0.2
    density = ndimage.gaussian_filter1d(counted.astype(np.float64), width / cell, axis=1, mode="constant")
    return np.asarray(density + 1e-300, np.float64)
