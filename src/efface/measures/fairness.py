"""Who pays: the change of error group by group, against the original and against the reference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from efface.faces import Array
from efface.measures.draws import Draws, Measure, Vector, measure
from efface.measures.outcomes import Outcomes
from efface.measures.utility import ALL, groups_of


def main_group(groups: Array) -> str:
    """The group most of these faces are of."""
    names, counts = np.unique(groups, return_counts=True)
    return str(names[counts.argmax()])


def harmed_group(outcomes: Outcomes) -> str:
    """The group most of the forgotten are of."""
    return main_group(outcomes.group[outcomes.rows("forget")])


def means_on_test(outcomes: Outcomes, score: Array, draws: Draws) -> dict[str, Vector]:
    """Mean test score of each group, of all, and of everyone outside the harmed group (under "others")."""
    groups = {group: outcomes.rows("test", group) for group in groups_of(outcomes)}
    rows = {ALL: outcomes.rows("test"), **groups,
            "others": outcomes.rows("test") & (outcomes.group != harmed_group(outcomes))}
    return {name: draws.means(score, mask) for name, mask in rows.items() if mask.any()}


def increase(now: Mapping[str, Vector], base: Mapping[str, Vector], score: str, against: str) -> dict[str, Measure]:
    """`increase/score/against/group`: by how many percent the error of a group grew."""
    return {f"increase/{score}/against {against}/{group}": measure(
        100 * (now[group] / base[group] - 1), "low",
        f"change of {score} against the {against} on test faces{'' if group == ALL else f' of group {group}'}, in %")
        for group in now if group != "others"}


def disparity(
    now: Mapping[str, Vector], base: Mapping[str, Vector], harmed: str, score: str, against: str,
) -> dict[str, Measure]:
    """`disparity.../score/against`: the harmed group's increase beside everyone else's.

    The ratio is the eye study's (81.6 / 42.8 = 1.907). It means little where the others' increase may be zero,
    and is undefined there; the difference in points always stands beside it.
    """
    if harmed not in now or "others" not in now:
        return {}
    mine, theirs = (100 * (now[who] / base[who] - 1) for who in (harmed, "others"))
    points = measure(mine - theirs, "low", f"increase of {score} of group {harmed} minus everyone else's, against the "
                                           f"{against}, in percentage points (0: all pay alike)")
    grew = (theirs > 0).all()
    ratio = measure(np.where(grew, mine / np.where(theirs == 0, np.nan, theirs), np.nan), "low",
                    f"increase of {score} of group {harmed} over everyone else's, against the {against} (1: all alike)")
    return {f"disparity_points/{score}/against {against}": points, f"disparity_ratio/{score}/against {against}": ratio}


def price(
    now: Mapping[str, Vector], original: Mapping[str, Vector], reference: Mapping[str, Vector], score: str,
) -> dict[str, Measure]:
    """`price/score/part/group`: a group's increase against the original in its two parts, in percent of the original.

    What forgetting had to cost (the reference shows it) and what the method added; they sum to the increase.
    """
    found = {}
    for group in now:
        if group == "others":
            continue
        whose = "all test faces" if group == ALL else f"test faces of group {group}"
        found[f"price/{score}/of forgetting/{group}"] = measure(
            100 * (reference[group] - original[group]) / original[group], "none",
            f"what forgetting had to cost {whose}: the reference's {score} against the original's, in percent")
        found[f"price/{score}/of method/{group}"] = measure(
            100 * (now[group] - reference[group]) / original[group], "low",
            f"what the method added to that for {whose}, in percent of the original's {score}")
    return found
