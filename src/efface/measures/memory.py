"""What a model still remembers of the forgotten, by how it treats them and strangers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from efface.faces import Array
from efface.measures.draws import Draws, Measure, measure
from efface.measures.outcomes import Outcomes

FEWEST_FOR_ONE_PERCENT = 100


def membership(outcomes: Outcomes, signal: Array, draws: Draws, what: str = "log loss") -> dict[str, Measure]:
    """`membership/...`: can an attacker who sees the signal tell the forgotten from strangers of the same groups?

    signal (n,): lower on faces the model knows. Strangers are weighted so that their mix of groups is the
    forgotten's; else the attack would find groups, not members. Loss-threshold attack: Yeom et al., CSF 2018.
    """
    known = np.isfinite(signal)
    forgotten, strangers = outcomes.rows("forget") & known, outcomes.rows("strangers") & known
    shared = np.intersect1d(outcomes.group[forgotten], outcomes.group[strangers])
    left_out = int((forgotten & ~np.isin(outcomes.group, shared)).sum())
    forgotten, strangers = (rows & np.isin(outcomes.group, shared) for rows in (forgotten, strangers))
    if not strangers.any():
        nobody = "no stranger is of the forgotten's groups, so no attack can be scored"
        return {"membership/auc/photo": Measure(None, None, None, "as retrained", nobody)}
    matched = draws.photos(strangers) * mix(outcomes.group[strangers], outcomes.group[forgotten])
    about = f"chance that an attacker who sees the {what} ranks a forgotten {{}} below a stranger's (0.5: cannot tell)"
    about += f"; {left_out} photos of groups without strangers left out" if left_out else ""
    found = {"membership/auc/photo": measure(
        auc(signal[forgotten], draws.photos(forgotten), signal[strangers], matched), "as retrained",
        about.format("photo"))}
    members, others = (by_person(outcomes, signal, draws, rows) for rows in (forgotten, strangers))
    found["membership/auc/person"] = measure(
        auc(members.signal, members.weights, others.signal, others.weights * mix(others.group, members.group)),
        "as retrained", about.format("person"))
    few = int(strangers.sum())
    caught = "share of forgotten photos caught by an attacker who wrongly accuses 1% of strangers"
    found["membership/tpr_at_1%_fpr/photo"] = (
        measure(caught_at(0.01, signal[forgotten], draws.photos(forgotten), signal[strangers], matched),
                "as retrained", caught)
        if few >= FEWEST_FOR_ONE_PERCENT else
        Measure(None, None, None, "as retrained", f"{caught} (needs {FEWEST_FOR_ONE_PERCENT} strangers; here {few})"))
    return found


def forgetting(
    outcomes: Outcomes, signal: Array, original: Array, reference: Array, draws: Draws, what: str = "log loss",
) -> dict[str, Measure]:
    """`forgotten/...`: how far the answers on the forgotten went from the original's to the reference's.

    signal, original, reference (n,): what betrays a member under each model, and `what` to call it.
    """
    rows = outcomes.rows("forget")
    now, before, goal = (draws.means(values, rows) for values in (signal, original, reference))
    about = f"of the way from the original to the retrained reference, by the mean {what} on the forgotten"
    whole = goal - before
    same_way = np.sign(whole) == np.sign(whole[0])
    percent = np.where(same_way, 100 * (now - before) / np.where(whole == 0, np.nan, whole), np.nan)
    way = measure(percent, "as retrained", f"percent {about} (100: as if never trained on them)")
    return {
        "forgotten/percent": way,
        "forgotten/signal_to_reference": measure(
            now - goal, "as retrained",
            f"mean {what} on the forgotten, minus the reference's (below 0: still remembered, above: overshot)"),
        "forgotten/signal_to_original": measure(
            now - before, "as retrained",
            f"mean {what} on the forgotten, minus the original's (0: nothing was forgotten)"),
    }


def mix(groups: Array, like: Array) -> NDArray[np.float64]:
    """(n,) weights under which `groups` have the mix of `like`."""
    share = {group: (like == group).mean() / (groups == group).mean() for group in np.unique(groups)}
    return np.array([share[group] for group in groups])


def auc(low: Array, low_weights: Array, high: Array, high_weights: Array) -> NDArray[np.float64]:
    """Weighted chance that one of `low` (m,) lies below one of `high` (n,), ties half; weights (draws, m | n).

    Mann-Whitney's U over its maximum, for every row of weights at once.
    """
    order = np.argsort(high, kind="stable")
    below = np.concatenate([np.zeros((len(high_weights), 1)), high_weights[:, order].cumsum(1)], axis=1)
    sorted_high = high[order]
    at_most, under = (np.searchsorted(sorted_high, low, side) for side in ("right", "left"))
    above = below[:, -1:] - (below[:, at_most] + below[:, under]) / 2
    won: NDArray[np.float64] = (low_weights * above).sum(1) / (low_weights.sum(1) * below[:, -1])
    return won


def caught_at(
    rate: float, members: Array, member_weights: Array, others: Array, other_weights: Array,
) -> NDArray[np.float64]:
    """Weighted share of `members` below the highest threshold that at most `rate` of `others` lie below."""
    order = np.argsort(others, kind="stable")
    accused = other_weights[:, order].cumsum(1) / other_weights.sum(1, keepdims=True)
    first_too_many = (accused <= rate + 1e-12).sum(1)
    thresholds = others[order][np.minimum(first_too_many, len(others) - 1)]
    by_signal = np.argsort(members, kind="stable")
    weight_below = np.concatenate([np.zeros((len(member_weights), 1)), member_weights[:, by_signal].cumsum(1)], axis=1)
    cut = np.searchsorted(members[by_signal], thresholds, "left")
    share: NDArray[np.float64] = weight_below[np.arange(len(cut)), cut] / weight_below[:, -1]
    return share


@dataclass(frozen=True)
class People:
    """Mean signal and group of each person, and how often the person stands in each draw."""

    signal: Array
    group: Array
    weights: Array


def by_person(outcomes: Outcomes, signal: Array, draws: Draws, rows: NDArray[np.bool_]) -> People:
    """The people of the marked photos, each with the group of their first one."""
    _, first, of = np.unique(outcomes.identity[rows], return_index=True, return_inverse=True)
    means = np.bincount(of, signal[rows]) / np.bincount(of)
    return People(means, outcomes.group[rows][first], draws.photos(rows)[:, first])
