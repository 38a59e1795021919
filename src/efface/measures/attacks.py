"""Who was trained on? Attacks that rank faces by how much a model seems to know them, and how well each does.

An attack is a column of *membership scores*: a number per face, higher on those it takes for members. Whatever made
the column (a threshold on a loss, a fitted classifier, a likelihood ratio), the same four questions are asked of it,
of photos and of people, each with its interval: `attack/NAME/auc`, `balanced_accuracy`, `tpr_at_1%_fpr` and
`tpr_at_0.1%_fpr`. An AUC below one half is a leak as well: the forgotten stand out from the other side. So the aim is
never one half, but what the same attack gets on the retrained reference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Bootstrap, Measure, Vector, measure
from efface.measures.predictions import Predictions

REPLICATES = 400
"""Resamples for the intervals of attacks."""
FEWEST_PEOPLE = 10
"""On either side, below which the resampled people say too little of how uncertain an audit's attack is."""
FOLDS = 5
"""Parts in which the population attacks are fitted on the others and asked about one."""


@dataclass(frozen=True)
class MembershipScores:
    """m members and o others, photos or people, and how often each stands in each of r draws.

    Others are weighted so that their mix of groups is the members'; else an attack would find groups, not members.
    """

    members: NDArray[np.float64]
    """(m,) membership scores"""
    others: NDArray[np.float64]
    """(o,)"""
    member_weights: NDArray[np.float64]
    """(r, m)"""
    other_weights: NDArray[np.float64]
    """(r, o)"""
    member_half: NDArray[np.bool_] | None = None
    """(m,) whose persons stand in the one half of all ..."""
    other_half: NDArray[np.bool_] | None = None
    """... (o,), where photos of one person are to stay together."""


@dataclass(frozen=True)
class ResampledScores:
    """Membership scores of m members and o others whose weights in each draw are made when they are asked for: all of
    them together would be as many as there are draws times photos."""

    members: NDArray[np.float64]
    """(m,) membership scores"""
    others: NDArray[np.float64]
    """(o,)"""
    people: Array
    """(m + o,) the bootstrap's cluster of each, members first."""
    share: NDArray[np.float64]
    """(o,) what weights of others are multiplied by, so that their mix of groups is the members'."""
    bootstrap: Bootstrap
    times: int
    halves: tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None] = (None, None)
    """As `MembershipScores` has them."""

    def over_draws(self, answer: Callable[[MembershipScores], Vector]) -> Vector:
        """(times + 1,) what is asked of membership scores (`auc`, ...), draw by draw."""

        def of(weights: NDArray[np.float64]) -> Vector:
            members, others = np.split(weights, [len(self.members)], axis=1)
            return answer(MembershipScores(self.members, self.others, members, others * self.share, *self.halves))

        return self.bootstrap.over_draws(of, self.people, self.times)


def members_and_nonmembers(
    predictions: Predictions, known: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], int]:
    """(n,) which faces are forgotten, which are strangers of the same groups, and how many forgotten photos are left
    out, since no stranger is of their group. known (n,): faces of which anything can be said."""
    forgotten, strangers = predictions.rows("forget") & known, predictions.rows("strangers") & known
    shared = np.isin(predictions.group, np.intersect1d(predictions.group[forgotten], predictions.group[strangers]))
    return forgotten & shared, strangers & shared, int((forgotten & ~shared).sum())


def membership_scores_of(
    predictions: Predictions,
    membership_score: Array,
    bootstrap: Bootstrap,
    *,
    people: bool,
    times: int = REPLICATES,
) -> ResampledScores | None:
    """The forgotten beside strangers; people: by the mean over each person's photos. None without a stranger."""
    forgotten, strangers, _ = members_and_nonmembers(predictions, np.isfinite(membership_score))
    if not strangers.any():
        return None
    members, others = (
        by_person(predictions, membership_score, bootstrap, rows)
        if people
        else Side(membership_score[rows], predictions.group[rows], bootstrap.cluster[rows])
        for rows in (forgotten, strangers)
    )
    return ResampledScores(
        members.membership_score,
        others.membership_score,
        np.concatenate([members.cluster, others.cluster]),
        group_weights(others.group, members.group),
        bootstrap,
        min(times, bootstrap.times),
        (None, None) if people else (half_of_people(members.cluster), half_of_people(others.cluster)),
    )


def attack_measures(
    name: str,
    about: str,
    predictions: Predictions,
    membership_score: Array,
    bootstrap: Bootstrap,
    *,
    only: Collection[str] = (),
    times: int = REPLICATES,
    fewest: int = FEWEST_PEOPLE,
) -> dict[MeasureKey, Measure]:
    """`attack/NAME/QUESTION/LEVEL` of one attack, or `membership/QUESTION/LEVEL` where it has no name, per photo and
    per person. about: who attacks, "somebody who ..."; only: the questions and levels asked (default: all); fewest:
    people on either side it takes to say anything."""
    _, strangers, left_out = members_and_nonmembers(predictions, np.isfinite(membership_score))
    if not strangers.any():
        nobody = "no stranger is of the forgotten's groups, so no attack can be scored"
        return {key_of(name, "auc", "photo"): Measure(None, None, None, "as retrained", nobody)}
    less = f"; {left_out} photos of groups without strangers left out" if left_out else ""
    found: dict[MeasureKey, Measure] = {}
    for level in ("photo", "person"):
        membership_scores = membership_scores_of(
            predictions, membership_score, bootstrap, people=level == "person", times=times
        )
        assert membership_scores is not None
        for question, (answer, needed, meaning) in QUESTIONS.items():
            if only and f"{question}/{level}" not in only:
                continue
            sentence = f"{meaning.format(level=level, about=about)}{less}"
            lacking = (
                f" (needs {fewest} people on either side)"
                if too_few(predictions, membership_score, fewest)
                else f" (needs {needed} strangers; here {len(membership_scores.others)})"
                if len(membership_scores.others) < needed
                else ""
            )
            found[key_of(name, question, level)] = (
                Measure(None, None, None, "as retrained", sentence + lacking)
                if lacking
                else measure(
                    membership_scores.over_draws(answer),
                    "as retrained",
                    sentence + chance_level(question, len(membership_scores.others)),
                )
            )
    return found


def key_of(attack: str, question: str, level: str) -> MeasureKey:
    """The key of a question asked of an attack; "" is the attack that every run makes."""
    if not attack:
        return MeasureKey("membership", question, level=level)
    return MeasureKey("attack", f"{attack}/{question}", level=level)


def too_few(predictions: Predictions, membership_score: Array, fewest: int) -> bool:
    """Whether there are fewer people than that on one of the two sides."""
    forgotten, strangers, _ = members_and_nonmembers(predictions, np.isfinite(membership_score))
    return min(len(np.unique(predictions.identity[rows])) for rows in (forgotten, strangers)) < fewest


def chance_level(question: str, others: int) -> str:
    """What an attack that knows nothing is expected to catch: of few strangers, more than its rate of false alarms."""
    rate = {"tpr_at_1%_fpr": 0.01, "tpr_at_0.1%_fpr": 0.001}.get(question)
    if rate is None:
        return ""
    return f"; an attack that knows nothing would catch {(int(rate * others) + 1) / (others + 1):.2%}"


def advantage_over_reference(
    name: str,
    predictions: Predictions,
    membership_score: Array,
    at_reference: Array,
    bootstrap: Bootstrap,
) -> dict[MeasureKey, Measure]:
    """`attack/NAME/auc/against reference/...`: how much better an attack does on a model than on the retrained
    reference, on the same people in every draw. This, not one half, is what a forgotten person is owed to be zero."""
    found: dict[MeasureKey, Measure] = {}
    known = np.isfinite(membership_score) & np.isfinite(at_reference)
    now, then = (np.where(known, column, np.nan) for column in (membership_score, at_reference))
    for level in ("photo", "person"):
        if too_few(predictions, now + then, FEWEST_PEOPLE):
            continue
        here, there = (
            membership_scores_of(predictions, column, bootstrap, people=level == "person") for column in (now, then)
        )
        if here is not None and there is not None:
            found[MeasureKey("attack", f"{name}/auc", against="reference", level=level)] = measure(
                here.over_draws(auc) - there.over_draws(auc),
                "as retrained",
                f"AUC of this attack minus the same attack's on the retrained "
                f"reference, per {level} (below 0: it gives away from the "
                "other side)",
            )
    return found


def auc(membership_scores: MembershipScores) -> Vector:
    """(r,) weighted chance that a member scores above a non-member, ties half: Mann-Whitney's U over its maximum."""
    order = np.argsort(membership_scores.others, kind="stable")
    below = cumulative_from_zero(membership_scores.other_weights[:, order])
    ranked = membership_scores.others[order]
    under, at_most = (np.searchsorted(ranked, membership_scores.members, side) for side in ("left", "right"))
    surpassed = (below[:, under] + below[:, at_most]) / 2
    with np.errstate(invalid="ignore"):
        won: Vector = (membership_scores.member_weights * surpassed).sum(1) / (
            membership_scores.member_weights.sum(1) * below[:, -1]
        )
    return won


def tpr_at_fpr(rate: float, membership_scores: MembershipScores) -> Vector:
    """(r,) weighted share of members above the lowest threshold that at most `rate` of the others lie above."""
    order = np.argsort(-membership_scores.others, kind="stable")
    accused = membership_scores.other_weights[:, order].cumsum(1) / membership_scores.other_weights.sum(
        1, keepdims=True
    )
    first_too_many = (accused <= rate + 1e-12).sum(1)
    thresholds = membership_scores.others[order][np.minimum(first_too_many, len(membership_scores.others) - 1)]
    return weight_above(membership_scores.members, membership_scores.member_weights, thresholds)


def balanced_accuracy(membership_scores: MembershipScores, seed: int = 0) -> Vector:
    """(r,) mean of both sides' shares rightly called, by the threshold that was best on the other half of each side."""
    rng = np.random.default_rng(seed)
    drawn = [
        rng.permutation(count) % 2 == 1 for count in (len(membership_scores.members), len(membership_scores.others))
    ]
    halves = [
        random if half is None else half
        for half, random in zip((membership_scores.member_half, membership_scores.other_half), drawn, strict=True)
    ]
    if any(half.all() or not half.any() for half in halves):
        return np.full(len(membership_scores.member_weights), np.nan)
    right = []
    for turn in (True, False):
        chosen_on, asked = (
            MembershipScores(
                membership_scores.members[halves[0] == part],
                membership_scores.others[halves[1] == part],
                membership_scores.member_weights[:, halves[0] == part],
                membership_scores.other_weights[:, halves[1] == part],
            )
            for part in (turn, not turn)
        )
        thresholds = best_threshold(chosen_on)
        right += [
            weight_above(asked.members, asked.member_weights, thresholds),
            1 - weight_above(asked.others, asked.other_weights, thresholds),
        ]
    return np.asarray(np.mean(right, axis=0), np.float64)


def half_of_people(people: Array, seed: int = 0) -> NDArray[np.bool_]:
    """(n,) one half of the people at random, all photos of each."""
    _, of = np.unique(people, return_inverse=True)
    half: NDArray[np.bool_] = np.random.default_rng(seed).permutation(of.max() + 1)[of] % 2 == 1
    return half


def best_threshold(membership_scores: MembershipScores) -> NDArray[np.float64]:
    """(r,) the threshold above which the share of members exceeds that of the others most."""
    values = np.concatenate([membership_scores.members, membership_scores.others])
    order = np.argsort(-values, kind="stable")
    with np.errstate(invalid="ignore"):
        weights = np.concatenate(
            [
                membership_scores.member_weights / membership_scores.member_weights.sum(1, keepdims=True),
                -membership_scores.other_weights / membership_scores.other_weights.sum(1, keepdims=True),
            ],
            axis=1,
        )
    gain, ranked = weights[:, order].cumsum(1), values[order]
    gain[:, :-1][:, ranked[1:] == ranked[:-1]] = -np.inf
    place = gain.argmax(1)
    return np.asarray((ranked[place] + ranked[np.minimum(place + 1, len(ranked) - 1)]) / 2, np.float64)


def weight_above(values: Array, weights: NDArray[np.float64], thresholds: Array) -> Vector:
    """(r,) share of the weight of values (m,) above each draw's threshold."""
    order = np.argsort(values, kind="stable")
    upto = cumulative_from_zero(weights[:, order])
    cut = np.searchsorted(values[order], thresholds, "right")
    with np.errstate(invalid="ignore"):
        share: Vector = 1 - upto[np.arange(len(cut)), cut] / upto[:, -1]
    return share


QUESTIONS: dict[str, tuple[Callable[[MembershipScores], Vector], int, str]] = {
    "auc": (auc, 1, "chance that {about} suspects a forgotten {level} more than a stranger's (0.5: cannot tell)"),
    "balanced_accuracy": (
        balanced_accuracy,
        4,
        "share rightly called, mean of both sides, by {about}, with the "
        "threshold that is best on the other half (per {level})",
    ),
    "tpr_at_1%_fpr": (
        partial(tpr_at_fpr, 0.01),
        100,
        "share of the forgotten caught by {about} and wrongly accuses 1% of strangers (per {level})",
    ),
    "tpr_at_0.1%_fpr": (
        partial(tpr_at_fpr, 0.001),
        1000,
        "share of the forgotten caught by {about} and wrongly accuses 0.1% of strangers (per {level})",
    ),
}
"""What is asked of an attack: how it is answered, how many strangers that takes, and what it means."""


def cumulative_from_zero(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(r, m + 1) sums of the first 0, 1, ... m weights."""
    return np.concatenate([np.zeros((len(weights), 1)), weights.cumsum(1)], axis=1)


def group_weights(groups: Array, like: Array) -> NDArray[np.float64]:
    """(n,) weights under which `groups` have the mix of `like`."""
    share = {group: (like == group).mean() / (groups == group).mean() for group in np.unique(groups)}
    return np.array([share[group] for group in groups])


@dataclass(frozen=True)
class Side:
    """Photos or people, (k,) each: membership score, or its mean over a person's photos, group, and the bootstrap's
    cluster."""

    membership_score: Array
    group: Array
    cluster: Array


def by_person(predictions: Predictions, membership_score: Array, bootstrap: Bootstrap, rows: NDArray[np.bool_]) -> Side:
    """The people of the marked photos, each with the group of their first one."""
    _, first, of = np.unique(predictions.identity[rows], return_index=True, return_inverse=True)
    means = np.bincount(of, membership_score[rows]) / np.bincount(of)
    return Side(means, predictions.group[rows][first], bootstrap.cluster[rows][first])


def population_attacks(signals: Mapping[str, Array], predictions: Predictions) -> dict[str, NDArray[np.float64]]:
    """(n,) membership scores by two classifiers of all signals together, `logistic` and `forest`, that were fitted on
    other people. They need no sign: a face that stands out on either side is found. NaN but for the two sides.

    Each part's score is its rank there, since two fits need not agree on where zero is. The forest is that of the
    group-robust unlearning paper (arXiv:2503.09330) with the labels swapped: fitted on whom the audit knows.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.preprocessing import QuantileTransformer

    known = np.all([np.isfinite(column) for column in signals.values()], axis=0)
    forgotten, strangers, _ = members_and_nonmembers(predictions, known)
    rows = np.flatnonzero(forgotten | strangers)
    member, people = forgotten[rows].astype(int), predictions.identity[rows]
    found = {name: np.full(len(predictions), np.nan) for name in ("logistic", "forest")}
    fewest = min((len(np.unique(people[member == side])) for side in (0, 1)), default=0)
    if fewest < FOLDS:
        return found
    features = np.stack([column[rows] for column in signals.values()], axis=1)
    weights = np.ones(len(rows))
    weights[member == 0] = group_weights(predictions.group[rows][member == 0], predictions.group[rows][member == 1])
    weights /= np.where(member == 1, weights[member == 1].sum(), weights[member == 0].sum()) / len(rows)
    for fit, ask in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(features, member, people):
        scale = QuantileTransformer(n_quantiles=min(200, len(fit)), output_distribution="normal", random_state=0)
        known_people, asked_people = scale.fit_transform(features[fit]), scale.transform(features[ask])
        for name, attack in (
            ("logistic", LogisticRegression()),
            ("forest", RandomForestClassifier(100, min_samples_leaf=10, random_state=0)),
        ):
            attack.fit(known_people, member[fit], sample_weight=weights[fit])
            found[name][rows[ask]] = ranked_within(attack.predict_proba(asked_people)[:, 1])
    return found


def ranked_within(values: Array) -> NDArray[np.float64]:
    """(n,) the rank of each value, from above 0 to below 1, ties in the middle."""
    ordered = np.sort(values)
    places = (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2
    return np.asarray(places / len(values), np.float64)
