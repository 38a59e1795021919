"""What a deployer is told, against sums over pairs that are written out, and people whose truth is known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from efface.data.vectors import units
from efface.erasure.criteria import Checked, Verdict
from efface.erasure.deployed import as_strangers, cohort, mean_of, people_draws, rates
from efface.erasure.trained_on import compared, concluded, head_cosines
from efface.methods.out_of_fold import mean_compactness, spread_out, spreading


def faces(people: int, photos: int, spread: float, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Directions around one of each person."""
    rng = np.random.default_rng(seed)
    middle = np.repeat(units(rng.normal(size=(people, 16))), photos, axis=0)
    return units(middle + spread * rng.normal(size=middle.shape)), np.repeat([f"p{n}" for n in range(people)], photos)


def test_a_cohort_by_loops() -> None:
    unit, who = faces(6, 5, 0.25)
    everything, gallery = np.flatnonzero(np.isin(who, ["p0", "p1"])), np.flatnonzero(~np.isin(who, ["p0", "p1"]))
    looked_for = np.concatenate([everything[:3], everything[5:8]])
    found = cohort(unit, who, looked_for, everything, gallery, 0.6)
    others = [units(unit[gallery][who[gallery] == one].sum(0)[None])[0] for one in np.unique(who[gallery])]
    for place, person in enumerate(["p0", "p1"]):
        mine, probes = everything[who[everything] == person], looked_for[who[looked_for] == person]
        pairs = [float(unit[a] @ unit[b]) for a, b in combinations(mine, 2)]
        assert found.compactness[place] == pytest.approx(np.mean(pairs), abs=1e-6)
        hits, above = [], []
        for probe in probes:
            rest = [row for row in probes if row != probe]
            own = units(unit[rest].sum(0)[None])[0]
            hits.append(own @ unit[probe] > max(one @ unit[probe] for one in others))
            above += [float(unit[row] @ unit[probe]) >= 0.6 for row in rest]
        assert found.rank1[place] == pytest.approx(np.mean(hits))
        assert found.accepted[place] == pytest.approx(np.mean(above))


def test_somebody_with_one_held_back_photo_is_enrolled_by_the_others() -> None:
    unit, who = faces(4, 3, 0.1)
    found = cohort(unit, who, np.array([0]), np.arange(3), np.arange(3, 12), 0.5)
    assert found.rank1[0] == 1.0
    assert found.accepted[0] == pytest.approx(np.mean(unit[0] @ unit[1:3].T >= 0.5))


def test_rates_by_loops() -> None:
    unit, who = faces(5, 4, 0.4)
    again = units(unit + 0.1)
    found = rates(unit, again, who, np.arange(20), 0.3)
    pairs = [(a, b) for a in range(20) for b in range(20) if a != b]
    wrong = [unit[a] @ again[b] >= 0.3 for a, b in pairs if who[a] != who[b]]
    right = [unit[a] @ again[b] < 0.3 for a, b in pairs if who[a] == who[b]]
    assert found.false_match[0] == pytest.approx(np.mean(wrong))
    assert found.false_non_match[0] == pytest.approx(np.mean(right))


def test_rates_resample_people() -> None:
    unit, who = faces(5, 4, 0.4)
    found = rates(unit, unit, who, np.arange(20), 0.3)
    times = people_draws(5)[1]
    numbers = np.array([int(name[1:]) for name in who])
    weight = times[numbers][:, None] * times[numbers][None]
    different = numbers[:, None] != numbers[None]
    expected = (weight * different * (unit @ unit.T >= 0.3)).sum() / (weight * different).sum()
    assert found.false_match[1] == pytest.approx(expected)


def test_strangers_interval_is_of_as_many_people() -> None:
    values = np.linspace(0, 1, 200)
    one, nine = as_strangers(values, 1, ""), as_strangers(values, 9, "")
    widths = [(found.high or 0) - (found.low or 0) for found in (one, nine)]
    assert widths == pytest.approx([0.95, 2 * 1.96 * np.sqrt(1 / 12 / 9)], abs=0.05)


def test_fewer_than_three_people_have_no_interval() -> None:
    found = mean_of(np.array([0.2, 0.4]), "")
    assert found.value == pytest.approx(0.3)
    assert (found.low, found.people) == (None, 2)


def test_the_permutation_test_knows_what_it_cannot_tell() -> None:
    strangers = np.linspace(0.1, 0.3, 18)
    assert concluded([compared("", np.array([0.9]), strangers, "")]) == "not enough data"  # 1 of 19 is above 0.05
    assert concluded([compared("", np.array([0.9]), np.linspace(0.1, 0.3, 19), "")]) == "trained on"
    assert concluded([compared("", np.array([0.2, 0.2]), strangers, "")]) == "no sign of training"


def test_the_permutation_test_is_exact_for_few() -> None:
    theirs, strangers = np.array([0.5, 0.25]), np.array([0.1, 0.3, 0.4, 0.2])
    values = [*theirs, *strangers]
    means = [np.mean(pair) for pair in combinations(values, 2)]
    assert compared("", theirs, strangers, "").p == pytest.approx(np.mean(np.array(means) >= theirs.mean() - 1e-12))


def test_under_the_null_hypothesis_few_are_called_trained_on() -> None:
    rng = np.random.default_rng(0)
    called = [concluded([compared("", rng.normal(size=3), rng.normal(size=12), "")]) for _ in range(300)]
    assert called.count("trained on") <= 27  # 15 expected; above 27 with a probability of 0.002


def test_the_nearest_row_of_a_head() -> None:
    unit, who = faces(3, 4, 0.05)
    head = np.stack([unit[8:12].mean(0), unit[0:4].mean(0), np.zeros(16)]).astype(np.float32)
    rows, cosine = head_cosines(unit, who, np.arange(12), head)
    assert rows[[0, 2]].tolist() == [1, 0]
    assert (cosine[[0, 2]] > 0.99).all()
    assert cosine[1] < 0.9


@pytest.mark.parametrize(("value", "margin"), [(0.2, 1.0), (0.3, 0.5), (0.4, 0.0), (0.5, -0.5), (0.0, 1.0)])
def test_margins_of_a_limit(value: float, margin: float) -> None:
    one = Checked("", value, -np.inf, 0.4, 0.2)
    assert one.margin == pytest.approx(margin)
    assert one.word == ("pass" if margin >= 0 else "fail")


def test_a_verdict_is_as_good_as_its_worst_criterion() -> None:
    inside, outside = Checked("a", 0.2, 0.1, 0.3, 0.2), Checked("b", 0.05, 0.1, 0.3, 0.2)
    assert Verdict((inside,)).passed
    assert not Verdict((inside, outside)).passed
    assert Verdict((inside, outside)).margin == pytest.approx(-0.5)
    assert not Verdict((Checked("c", None, 0.0, 1.0, 0.5),)).passed


def test_directions_are_spread_until_people_are_as_compact_as_wanted() -> None:
    unit, who = faces(30, 6, 0.3)
    for wanted in (0.2, 0.5, 0.9):
        factor = spreading(unit, who, wanted)
        assert mean_compactness(spread_out(unit, who, factor), who) == pytest.approx(wanted, abs=1e-3)


def test_compactness_by_loops() -> None:
    unit, who = faces(4, 3, 0.3)
    own = [
        np.mean([unit[a] @ unit[b] for a, b in combinations(np.flatnonzero(who == one), 2)]) for one in np.unique(who)
    ]
    assert mean_compactness(unit, who) == pytest.approx(np.mean(own), abs=1e-6)
