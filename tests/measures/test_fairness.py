"""Who pays, group by group: against fairlearn, naive loops, and people whose truth is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame
from numpy.typing import NDArray

from conftest import key, predictions_of
from efface.data.vectors import units
from efface.measures.bootstrap import Bootstrap, measure, simultaneous_intervals
from efface.measures.distances import equalised_odds
from efface.measures.error_rates import RATE, error_rates, rates_of
from efface.measures.fairness import between_groups, means_on_test, shares_by_group
from efface.measures.intersections import FEWEST, group_tables, intersections
from efface.measures.predictions import Predictions
from efface.measures.verification import threshold_at

Floats = NDArray[np.float64]
THREE = predictions_of(("forget", "A", 4, 2), ("test", "A", 12, 3), ("test", "B", 20, 2), ("test", "C", 30, 1))


def with_traits(predictions: Predictions, seed: int = 0) -> Predictions:
    """Everybody young or old, whatever the photo."""
    people, of = np.unique(predictions.identity, return_inverse=True)
    old = np.random.default_rng(seed).random(len(people)) < 0.3
    return replace(predictions, traits=np.where(old, "age old", "age young")[of][:, None])


def people_of(groups: dict[str, tuple[int, int]], spread: float, seed: int) -> tuple[Predictions, Floats]:
    """Test people of known mean errors (group A: 1, B: 2, C: 3), so many photos of each, alike within a person."""
    predictions = predictions_of(*(("test", group, people, photos) for group, (people, photos) in groups.items()))
    rng = np.random.default_rng(seed)
    who, of = np.unique(predictions.identity, return_inverse=True)
    targets = np.array([{"A": 1.0, "B": 2.0, "C": 3.0}[group] for group in predictions.group])
    return predictions, targets + spread * rng.normal(size=len(who))[of] + 0.1 * rng.normal(size=len(predictions))


# Intervals


def covered(spread: float, runs: int, jointly_too: bool) -> tuple[float, float]:
    """How often the interval of one group's mean, and those of all three together, hold the truth."""
    alone = together = 0
    for seed in range(runs):
        predictions, scores = people_of({"A": (40, 5), "B": (40, 5), "C": (40, 5)}, spread, seed)
        bootstrap = Bootstrap(predictions, 300, seed)
        means = {group: bootstrap.means(scores, predictions.rows("test", group)) for group in "ABC"}
        targets = {"A": 1.0, "B": 2.0, "C": 3.0}
        first = measure(means["A"], "low", "")
        alone += (first.low or 0) <= targets["A"] <= (first.high or 0)
        if jointly_too:
            found = simultaneous_intervals(means, "low", dict.fromkeys(means, ""))
            together += all((one.low or 0) <= targets[group] <= (one.high or 0) for group, one in found.items())
    return alone / runs, together / runs


@pytest.mark.slow
def test_intervals_over_people_cover_at_their_level_alone_and_together() -> None:
    alone, together = covered(1.0, 400, jointly_too=True)
    assert 0.92 <= alone <= 0.98
    assert 0.92 <= together <= 0.98


def test_photos_taken_for_people_would_cover_far_too_rarely() -> None:
    missed = 0
    for seed in range(60):
        predictions, scores = people_of({"A": (40, 5)}, 1.0, seed)
        pretended = replace(predictions, identity=np.arange(len(predictions)).astype(str))
        found = measure(Bootstrap(pretended, 200, seed).means(scores, predictions.rows("test")), "low", "")
        missed += not (found.low or 0) <= 1.0 <= (found.high or 0)
    assert missed > 60 * 0.15


def test_joint_intervals_are_wider_than_single_ones_and_one_alone_is_not() -> None:
    predictions, scores = people_of({"A": (30, 2), "B": (30, 2), "C": (30, 2)}, 1.0, 0)
    bootstrap = Bootstrap(predictions, 500)
    means = {group: bootstrap.means(scores, predictions.rows("test", group)) for group in "ABC"}
    found = simultaneous_intervals(means, "low", dict.fromkeys(means, "a mean"))
    for group, vector in means.items():
        single, joint = measure(vector, "low", ""), found[group]
        assert joint.value == single.value
        assert (joint.high or 0) - (joint.low or 0) > (single.high or 0) - (single.low or 0)
        assert "all 3 groups" in joint.about
    assert simultaneous_intervals({"A": means["A"]}, "low", {"A": ""}) == {"A": measure(means["A"], "low", "")}


def test_what_cannot_be_said_of_one_group_leaves_the_others_their_intervals() -> None:
    predictions, scores = people_of({"A": (30, 2), "B": (30, 2)}, 1.0, 0)
    bootstrap = Bootstrap(predictions, 100)
    means = {group: bootstrap.means(scores, predictions.rows("test", group)) for group in "AB"}
    found = simultaneous_intervals(means | {"C": np.full(101, np.nan)}, "low", dict.fromkeys("ABC", ""))
    assert found["C"].value is None
    assert found["A"].value is not None


# Tables


@pytest.mark.parametrize("traits", [False, True])
def test_tables_are_fairlearns_and_so_are_the_measures(traits: bool) -> None:
    predictions = with_traits(THREE) if traits else THREE
    errors = np.random.default_rng(0).uniform(1, 2, len(predictions))
    table = group_tables(predictions, {"error": errors})
    rows = predictions.rows("test")
    features = {"group": predictions.group[rows]} | ({"trait": predictions.traits[rows, 0]} if traits else {})
    theirs = MetricFrame(
        metrics=lambda true, _: float(np.mean(true)),
        y_true=errors[rows],
        y_pred=errors[rows],
        sensitive_features=pd.DataFrame(features),
    ).by_group
    means = means_on_test(predictions, errors, Bootstrap(predictions, 10))
    for _, one in table.iterrows():
        if traits and one["trait"]:
            assert one["error"] == pytest.approx(theirs[one["group"], one["trait"]])
        elif not traits:
            assert one["error"] == pytest.approx(theirs[one["group"]])
            assert one["error"] == pytest.approx(means[one["group"]][0])
    if traits:
        found = intersections(predictions, errors, errors, errors, "error", Bootstrap(predictions, 10))
        for (group, trait), value in theirs.items():
            assert found[key(f"intersection/error/error/{group}, {trait}")].value == pytest.approx(value)


def test_gap_and_worst_group_are_fairlearns_difference_and_maximum() -> None:
    errors = np.random.default_rng(1).uniform(1, 2, len(THREE))
    rows = THREE.rows("test")
    frame = MetricFrame(
        metrics=lambda true, _: float(np.mean(true)),
        y_true=errors[rows],
        y_pred=errors[rows],
        sensitive_features=THREE.group[rows],
    )
    found = between_groups(means_on_test(THREE, errors, Bootstrap(THREE, 20)), "error")
    assert found[key("fairness/error/worst group")].value == pytest.approx(frame.group_max())
    assert found[key("fairness/error/gap")].value == pytest.approx(frame.difference())


def test_equalised_odds_is_the_widest_gap_within_each_class() -> None:
    targets = np.tile([0, 1], len(THREE))[: len(THREE)]
    right = np.random.default_rng(2).integers(0, 2, len(THREE)).astype(float)
    predictions = replace(THREE, targets=targets)
    rows, gaps = predictions.rows("test"), []
    for one in (0, 1):
        some = rows & (targets == one)
        frame = MetricFrame(
            metrics=lambda true, _: float(np.mean(true)),
            y_true=right[some],
            y_pred=right[some],
            sensitive_features=predictions.group[some],
        )
        gaps.append(frame.difference())
    assert equalised_odds(right, predictions, Bootstrap(predictions, 5))[0] == pytest.approx(np.mean(gaps))
    found = shares_by_group(right, predictions, "accuracy", Bootstrap(predictions, 5), "A")
    assert found[key("fairness/accuracy/equalised odds")].value == pytest.approx(np.mean(gaps))
    mine = right[rows & (THREE.group == "A")].mean()
    assert found[key("fairness/accuracy/forgotten's group")].value == pytest.approx(mine)


def test_max_over_geomean_by_hand() -> None:
    errors = np.array([{"A": 1.0, "B": 2.0, "C": 4.0}[group] for group in THREE.group])
    found = between_groups(means_on_test(THREE, errors, Bootstrap(THREE, 20)), "error")
    assert found[key("fairness/error/max over geomean")].value == pytest.approx(4 / 2)


def test_small_cells_are_named_and_still_shown() -> None:
    predictions = with_traits(predictions_of(("forget", "A", 2, 1), ("test", "A", 60, 1), ("test", "B", 3, 2)))
    errors = np.ones(len(predictions))
    cells = {
        (one["group"], one["trait"]): one
        for one in group_tables(predictions, {"error": errors}).to_dict(orient="records")
    }
    assert cells["B", ""]["people"] == 3
    assert cells["B", ""]["photos"] == 6
    assert cells["B", ""]["small"]
    assert not cells["A", ""]["small"]
    found = intersections(predictions, errors, errors, errors, "error", Bootstrap(predictions, 10))
    for name, one in found.items():
        assert one.value is not None
        group, trait = name.split("/")[-1].split(", ")
        small = cells[group, trait]["people"] < FEWEST
        assert ("too few" in one.about) == small == (one.low is None)


def test_harm_of_a_cell_by_hand() -> None:
    predictions = with_traits(THREE)
    before, now, without = np.ones(len(THREE)), np.full(len(THREE), 1.5), np.full(len(THREE), 1.2)
    found = intersections(predictions, now, before, without, "error", Bootstrap(predictions, 10))
    expected = {"intersection": 1.5, "intersection increase": 50.0, "intersection harm of method": 30.0}
    assert {name.family for name in found} == set(expected)
    for name, one in found.items():
        assert one.value == pytest.approx(expected[name.family])


def test_a_small_cell_without_error_at_first_is_not_infinite() -> None:
    predictions = with_traits(predictions_of(("forget", "A", 2, 1), ("test", "A", 60, 1), ("test", "B", 3, 2)))
    right, wrong = np.zeros(len(predictions)), np.ones(len(predictions))
    found = intersections(predictions, wrong, right, right, "error", Bootstrap(predictions, 10))
    assert all(one.value is None or np.isfinite(one.value) for one in found.values())


@pytest.mark.slow
def test_where_groups_are_alike_the_bounds_of_their_differences_say_so() -> None:
    """A bootstrap of a maximum never reaches the truth; bounds from joint intervals do."""
    runs, held = 100, Counter[str]()
    for seed in range(runs):
        predictions = predictions_of(*(("test", group, 60, 1) for group in "ABCDEFG"))
        scores = np.random.default_rng(seed).normal(5, 1, len(predictions))
        found = between_groups(means_on_test(predictions, scores, Bootstrap(predictions, 300, seed), "A"), "error")
        for name, targets in (("worst group", 5.0), ("max over geomean", 1.0), ("gap", 0.0)):
            one = found[key(f"fairness/error/{name}")]
            assert one.low is not None
            assert one.high is not None
            held[name] += one.low - 1e-9 <= targets <= one.high + 1e-9
    assert min(held.values()) >= 0.9 * runs


# Recognition


def embedded(seed: int = 0, strength: float = 2.0) -> Predictions:
    """People of two groups with embeddings around their own direction, group B's closer to each other."""
    predictions = predictions_of(
        ("forget", "A", 2, 2), *((split, group, 14, 4) for split in ("val", "test") for group in ("A", "B"))
    )
    rng = np.random.default_rng(seed)
    _, of = np.unique(np.char.add(predictions.split, predictions.identity), return_inverse=True)
    centres = rng.normal(size=(of.max() + 1, 8))
    shared = rng.normal(size=8)
    outputs = strength * centres[of] + rng.normal(size=(len(predictions), 8))
    outputs += np.where((predictions.group == "B")[:, None], 2.0 * shared, 0)
    return replace(predictions, outputs=outputs.astype(np.float32))


def test_error_rates_agree_with_counting_pairs() -> None:
    predictions = embedded()
    found = error_rates(predictions, Bootstrap(predictions, 30))
    unit = units(predictions.outputs)

    def pairs(split: str, group: str) -> tuple[list[float], list[float]]:
        same: list[float] = []
        other: list[float] = []
        rows = np.flatnonzero(predictions.rows(split, group))
        for place, one in enumerate(rows):
            for two in rows[place + 1 :]:
                alike = float(unit[one] @ unit[two])
                (same if predictions.identity[one] == predictions.identity[two] else other).append(alike)
        return same, other

    threshold = threshold_at(np.array(pairs("val", "A")[1] + pairs("val", "B")[1]), RATE)
    assert threshold is not None
    for group in "AB":
        same, other = (np.array(side) for side in pairs("test", group))
        assert found[key(f"fmr/{group}")].value == pytest.approx((other >= threshold).mean())
        assert found[key(f"fnmr/{group}")].value == pytest.approx((same < threshold).mean())


def test_a_group_whose_people_look_alike_is_let_in_more_often() -> None:
    predictions = embedded()
    found = error_rates(predictions, Bootstrap(predictions, 30))
    assert (found[key("fmr/B")].value or 0) > 2 * (found[key("fmr/A")].value or 0)
    assert "zero" in found[key("fairness/fmr/max over geomean")].about


def test_a_photo_is_no_pair_with_itself_even_above_every_threshold() -> None:
    predictions = embedded()
    collapsed = replace(predictions, outputs=np.ones_like(predictions.outputs))
    for group in "AB":
        matched, missed = rates_of(collapsed, group, 2.0, Bootstrap(collapsed, 20))
        assert matched is not None
        assert missed is not None
        assert set(matched) == {0.0}, "above every cosine nobody is taken for another"
        assert set(missed) == {1.0}, "and everybody is turned away, but never more than all"


def test_one_resampled_person_twice_makes_no_pair_with_themselves() -> None:
    predictions = embedded(strength=50.0)
    found = error_rates(predictions, Bootstrap(predictions, 50))
    high = found[key("fmr/A")].high
    assert high is not None
    assert high < 0.2


def test_without_validation_pairs_there_is_no_threshold() -> None:
    predictions = embedded()
    lacking = replace(predictions, split=np.where(predictions.split == "val", "retain", predictions.split))
    (only,) = error_rates(lacking, Bootstrap(lacking, 10)).values()
    assert only.value is None
    assert "too few" in only.about
