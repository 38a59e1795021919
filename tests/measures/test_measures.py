"""Measures against naive loops, a known library, published numbers, and data whose answer is known."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from conftest import key, predictions_of
from efface.files import load_columns, save_columns
from efface.measure_key import MeasureKey
from efface.measures.attacks import (
    MembershipScores,
    auc,
    balanced_accuracy,
    group_weights,
    membership_scores_of,
    tpr_at_fpr,
)
from efface.measures.bootstrap import Bootstrap, Measure, measure
from efface.measures.cost import weights_moved
from efface.measures.fairness import disparity, harm, harmed_group, increase, main_group, means_on_test
from efface.measures.membership import class_matched_membership, forgetting, membership
from efface.measures.predictions import Predictions
from efface.measures.utility import groups_of, utility

Floats = NDArray[np.float64]


def width(found: Measure) -> float:
    """How wide an interval is."""
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


def noise(predictions: Predictions, seed: int = 0) -> Floats:
    """(n,) a random value for each face."""
    return np.random.default_rng(seed).normal(2, 1, len(predictions))


# Draws


def test_the_estimate_is_the_mean_of_the_marked_rows() -> None:
    predictions = predictions_of(("test", "A", 5, 3), ("test", "B", 2, 1), ("val", "A", 4, 2))
    values, total, count = noise(predictions), 0.0, 0
    for row in range(len(predictions)):
        if predictions.split[row] == "test" and predictions.group[row] == "A":
            total, count = total + values[row], count + 1
    assert Bootstrap(predictions, 10).means(values, predictions.rows("test", "A"))[0] == pytest.approx(total / count)


def test_a_resample_is_the_mean_over_photos_as_often_as_their_person_was_drawn() -> None:
    predictions = predictions_of(("test", "A", 4, 3), ("test", "B", 3, 1), ("val", "A", 4, 2))
    bootstrap, values, rows = Bootstrap(predictions, 20), noise(predictions), predictions.rows("test")
    people = sorted(set(zip(predictions.split.tolist(), predictions.identity.tolist(), strict=True)))
    every = np.arange(len(people))
    for draw, found in enumerate(bootstrap.means(values, rows)):
        total = count = 0.0
        for row in np.flatnonzero(rows):
            times = bootstrap.weights(every)[draw, people.index((predictions.split[row], predictions.identity[row]))]
            total, count = total + times * values[row], count + times
        assert found == pytest.approx(total / count)


def test_weights_made_from_counts_are_those_drawn_all_at_once() -> None:
    """The bits of a matrix of weights as it was drawn and kept before: (draws + 1, people) of single precision."""
    predictions = predictions_of(("test", "A", 40, 3), ("test", "B", 9, 1), ("val", "A", 1, 2))
    rng, whole = np.random.default_rng(0), np.ones((301, 50), np.float32)
    for members in (np.arange(40), np.arange(40, 49), np.arange(49, 50)):
        count, drawn = len(members), max(1, len(members) - 1)
        whole[1:, members] = rng.multinomial(drawn, np.full(count, 1 / count), 300) * (count / drawn)
    bootstrap = Bootstrap(predictions, 300)
    assert np.array_equal(bootstrap.weights(np.arange(50)), whole)
    assert np.array_equal(bootstrap.weights(np.arange(50), slice(7, 9)), whole[7:9])


def test_blocks_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = predictions_of(("forget", "A", 12, 3), ("strangers", "A", 15, 2), ("strangers", "B", 9, 1))
    score, rows = noise(predictions), predictions.rows("strangers")

    def found() -> list[NDArray[np.float64]]:
        bootstrap = Bootstrap(predictions, 40)
        sides = [membership_scores_of(predictions, score, bootstrap, people=people) for people in (False, True)]
        asked = (auc, balanced_accuracy, partial(tpr_at_fpr, 0.1))
        return [bootstrap.means(score, rows), *(one.over_draws(of) for one in sides if one for of in asked)]

    whole = found()
    monkeypatch.setattr("efface.data.vectors.BLOCK", 100)
    assert len(whole) == 7
    for one, other in zip(whole, found(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_several_columns_are_averaged_as_one_by_one() -> None:
    predictions = predictions_of(("test", "A", 5, 2), ("val", "A", 3, 2))
    bootstrap, rows = Bootstrap(predictions, 20), predictions.rows("test")
    first, second = noise(predictions, 0), noise(predictions, 1)
    both = bootstrap.means(np.stack([first, second], axis=1), rows)
    assert both[:, 0] == pytest.approx(bootstrap.means(first, rows))
    assert both[:, 1] == pytest.approx(bootstrap.means(second, rows))


def test_all_photos_of_a_person_come_or_stay_away_together() -> None:
    predictions = predictions_of(("test", "A", 6, 3))
    bootstrap = Bootstrap(predictions, 50)
    times = bootstrap.weights(bootstrap.cluster[predictions.rows("test")]).reshape(51, 6, 3)
    assert (times == times[:, :, :1]).all()
    assert (times[1:] == 0).any()
    assert (times[0] == 1).all()


def test_nine_equal_photos_of_each_person_say_no_more_than_one() -> None:
    people, photos = 40, 9
    value_of_person = np.random.default_rng(0).normal(size=people)
    values = np.repeat(value_of_person, photos)
    by_person = predictions_of(("test", "A", people, photos))
    by_photo = predictions_of(("test", "A", people * photos, 1))
    single = predictions_of(("test", "A", people, 1))
    persons, shots, ones = (
        width(measure(Bootstrap(predictions, 4000).means(of, predictions.rows("test")), "none", ""))
        for predictions, of in ((by_person, values), (by_photo, values), (single, value_of_person))
    )
    assert persons == pytest.approx(ones)
    assert persons / shots == pytest.approx(np.sqrt(photos), rel=0.1)


def test_every_split_and_group_keeps_its_number_of_people() -> None:
    sizes = {("test", "A"): 7, ("test", "B"): 2, ("val", "A"): 4}
    predictions = predictions_of(*((split, group, count, 1) for (split, group), count in sizes.items()))
    bootstrap = Bootstrap(predictions, 30)
    for (split, group), count in sizes.items():
        drawn = bootstrap.weights(bootstrap.cluster[predictions.rows(split, group)])
        assert drawn.sum(axis=1) == pytest.approx(count)


def test_a_model_does_not_differ_from_itself_in_any_draw() -> None:
    predictions = predictions_of(("test", "A", 20, 3))
    bootstrap, values, rows = Bootstrap(predictions), noise(predictions), predictions.rows("test")
    found = measure(bootstrap.means(values, rows) - bootstrap.means(values.copy(), rows), "none", "")
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_a_difference_that_all_people_share_has_no_width() -> None:
    predictions = predictions_of(("test", "A", 20, 3))
    bootstrap, values, rows = Bootstrap(predictions), noise(predictions), predictions.rows("test")
    found = measure(bootstrap.means(values + 3, rows) - bootstrap.means(values, rows), "none", "")
    assert found.value == pytest.approx(3)
    assert width(found) == pytest.approx(0, abs=1e-9)
    assert width(measure(bootstrap.means(values, rows), "none", "")) > 0.1


def test_draws_follow_from_their_seed() -> None:
    predictions = predictions_of(("test", "A", 20, 1))
    first, again, other = (Bootstrap(predictions, 10, seed).counts for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_95_of_100_intervals_hold_the_truth_where_photos_of_a_person_are_alike() -> None:
    people, photos, repetitions = 60, 5, 300
    predictions = predictions_of(("test", "A", people, photos))
    generator, rows, held = np.random.default_rng(0), predictions.rows("test"), 0
    for repetition in range(repetitions):
        of_people = np.repeat(generator.normal(1, 1, people), photos)
        values = of_people + generator.normal(0, 0.5, len(predictions))
        found = measure(Bootstrap(predictions, 200, repetition).means(values, rows), "none", "")
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 1 <= found.high
    assert 0.90 <= held / repetitions <= 0.98


def test_the_interval_cuts_2_5_percent_off_either_end_of_the_replicates() -> None:
    found = measure(np.array([50.0, *range(1001)]), "low", "words")
    assert found == Measure(50, 25, 975, "low", "words")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_undefined_in_one_draw_is_undefined_and_says_so(bad: float) -> None:
    found = measure(np.array([1.0, 2.0, bad, 3.0]), "low", "words")
    assert (found.value, found.low, found.high) == (None, None, None)
    assert found.about.startswith("words (undefined")


# Predictions


def test_outcomes_come_back_as_saved_and_nothing_else_is_left(tmp_path: Path) -> None:
    predictions = predictions_of(("test", "A", 2, 2), ("forget", "B", 1, 1))
    save_columns(predictions, tmp_path / "one.npz")
    again = load_columns(Predictions, tmp_path / "one.npz")
    for field in fields(Predictions):
        assert np.array_equal(getattr(again, field.name), getattr(predictions, field.name))
    assert [file.name for file in tmp_path.iterdir()] == ["one.npz"]


# Memory


def attacked(seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Two samples with many ties, and three draws of weights for each."""
    generator = np.random.default_rng(seed)
    low, high = generator.integers(0, 6, 25).astype(float), generator.integers(1, 8, 30).astype(float)
    return low, generator.integers(0, 4, (3, 25)).astype(float), high, generator.uniform(0, 2, (3, 30))


@pytest.mark.parametrize("seed", range(3))
def test_auc_is_that_of_scikit_learn_and_of_a_double_loop(seed: int) -> None:
    low, low_weights, high, high_weights = attacked(seed)
    aucs = auc(MembershipScores(-low, -high, low_weights, high_weights))
    for found, ours, theirs in zip(aucs, low_weights, high_weights, strict=True):
        won = sum(
            a * b * ((x < y) + (x == y) / 2)
            for x, a in zip(low, ours, strict=True)
            for y, b in zip(high, theirs, strict=True)
        )
        assert found == pytest.approx(won / ours.sum() / theirs.sum())
        labels = np.repeat([1, 0], [len(low), len(high)])
        known = roc_auc_score(labels, -np.concatenate([low, high]), sample_weight=np.concatenate([ours, theirs]))
        assert found == pytest.approx(known)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_caught_at_is_that_of_a_search_through_all_thresholds(seed: int, rate: float) -> None:
    members, member_weights, others, other_weights = attacked(seed)
    found = tpr_at_fpr(rate, MembershipScores(-members, -others, member_weights, other_weights))
    for share, ours, theirs in zip(found, member_weights, other_weights, strict=True):
        allowed = [limit for limit in others if theirs[others < limit].sum() <= rate * theirs.sum()]
        assert share == pytest.approx(ours[members < max(allowed)].sum() / ours.sum())


def test_caught_at_one_percent_of_a_hundred_strangers_lets_one_be_accused() -> None:
    members, others = np.array([-1.0, 0.5, 1.5, 2.5]), np.arange(100.0)
    ones = [np.ones((1, len(values))) for values in (members, others)]
    membership_scores = MembershipScores(-members, -others, ones[0], ones[1])
    assert tpr_at_fpr(0.01, membership_scores) == pytest.approx([0.5])
    assert tpr_at_fpr(0.00, membership_scores) == pytest.approx([0.25])


def test_mixed_weights_give_strangers_the_groups_of_the_forgotten() -> None:
    strangers, forgotten = np.array(["A"] * 9 + ["B"]), np.array(["A"] * 2 + ["B"] * 8)
    weights = group_weights(strangers, forgotten)
    assert weights[strangers == "A"].sum() / weights.sum() == pytest.approx(0.2)


def test_an_attack_that_finds_a_group_finds_no_member() -> None:
    predictions = predictions_of(("forget", "B", 10, 2), ("strangers", "B", 2, 2), ("strangers", "A", 400, 2))
    signal = np.where(predictions.group == "B", 0.0, 9.0)
    audited = np.isin(predictions.split, ["forget", "strangers"])
    assert roc_auc_score(predictions.split[audited] == "forget", -signal[audited]) > 0.99
    found = membership(predictions, signal, Bootstrap(predictions, 50))
    assert found[key("membership/auc/photo")].value == 0.5
    assert found[key("membership/auc/person")].value == 0.5


def test_groups_in_other_shares_among_strangers_are_weighted_alike() -> None:
    predictions = predictions_of(
        ("forget", "A", 2, 2), ("forget", "B", 18, 2), ("strangers", "A", 45, 2), ("strangers", "B", 5, 2)
    )
    signal = np.where(predictions.group == "B", 0.0, 9.0)
    found = membership(predictions, signal, Bootstrap(predictions, 50))
    assert found[key("membership/auc/photo")].value == pytest.approx(0.5)
    assert found[key("membership/auc/person")].value == pytest.approx(0.5)


def test_an_attack_that_finds_a_class_finds_no_member() -> None:
    """Nine of ten forgotten are of the class with the lower loss, one of ten strangers: the plain attack sees members
    where there are classes."""
    predictions = predictions_of(("forget", "A", 20, 2), ("strangers", "A", 200, 2))
    place = np.arange(len(predictions))
    classes = np.where(predictions.split == "forget", place % 10 > 0, place % 10 == 0).astype(int)
    signal = np.where(classes == 1, 0.0, 9.0)
    asked = replace(predictions, targets=classes)
    plain = membership(asked, signal, Bootstrap(asked, 50))[key("membership/auc/photo")].value
    matched = class_matched_membership(asked, signal, Bootstrap(asked, 50))
    assert plain == pytest.approx(0.9, abs=0.01)
    assert matched[key("attack/class-matched/auc/photo")].value == pytest.approx(0.5)


def test_people_are_weighted_by_the_groups_of_people_not_of_photos() -> None:
    predictions = predictions_of(
        ("forget", "A", 10, 1), ("forget", "B", 10, 9), ("strangers", "A", 10, 9), ("strangers", "B", 10, 9)
    )
    signal = np.where(predictions.group == "B", 1.0, 0.0)
    found = membership(predictions, signal, Bootstrap(predictions, 50))
    assert found[key("membership/auc/photo")].value == pytest.approx(0.5)
    assert found[key("membership/auc/person")].value == pytest.approx(0.5)


def test_a_member_whose_photos_differ_is_found_by_their_mean() -> None:
    predictions = predictions_of(("forget", "A", 4, 2), ("strangers", "A", 4, 2))
    signal = np.array([-9.0, 5.0] * 4 + [-1.0, 1.0] * 4)
    found = membership(predictions, signal, Bootstrap(predictions, 50))
    assert found[key("membership/auc/photo")].value == 0.5
    assert found[key("membership/auc/person")].value == 1


def test_members_that_all_lie_below_strangers_are_all_caught() -> None:
    predictions = predictions_of(("forget", "A", 10, 2), ("strangers", "A", 60, 2))
    signal = np.where(predictions.split == "forget", 0.0, 1.0)
    found = membership(predictions, signal, Bootstrap(predictions, 50))
    for name in ("auc/photo", "auc/person", "tpr_at_1%_fpr/photo"):
        measured = found[key(f"membership/{name}")]
        assert (measured.value, measured.low, measured.high, measured.aim) == (1, 1, 1, "as retrained")


@pytest.mark.parametrize(("strangers", "known"), [(99, False), (100, True)])
def test_one_percent_of_fewer_than_a_hundred_strangers_cannot_be_said(strangers: int, known: bool) -> None:
    predictions = predictions_of(("forget", "A", 5, 1), ("strangers", "A", strangers, 1))
    found = membership(predictions, noise(predictions), Bootstrap(predictions, 20))[
        key("membership/tpr_at_1%_fpr/photo")
    ]
    assert (found.value is not None) == known
    assert ("here 99" in found.about) != known


def test_without_a_stranger_of_the_forgotten_group_no_attack_is_scored() -> None:
    predictions = predictions_of(("forget", "A", 5, 1), ("strangers", "B", 5, 1))
    (found,) = membership(predictions, noise(predictions), Bootstrap(predictions, 20)).values()
    assert found.value is None
    assert "no stranger" in found.about


@pytest.mark.parametrize(("way", "percent"), [(0.0, 0), (0.5, 50), (1.0, 100), (1.5, 150), (-0.5, -50)])
def test_percent_forgotten_runs_from_the_original_to_the_reference(way: float, percent: float) -> None:
    predictions = predictions_of(("forget", "A", 20, 2), ("test", "A", 5, 2))
    original = noise(predictions)
    reference = original + np.random.default_rng(1).uniform(1, 3, len(predictions))
    found = forgetting(
        predictions, original + way * (reference - original), original, reference, Bootstrap(predictions, 100)
    )
    assert found[key("forgotten/percent")].value == pytest.approx(percent)
    assert width(found[key("forgotten/percent")]) == pytest.approx(0, abs=1e-6)
    rows = predictions.rows("forget")
    apart = float((reference - original)[rows].mean())
    assert found[key("forgotten/signal_to_original")].value == pytest.approx(way * apart)
    assert found[key("forgotten/signal_to_reference")].value == pytest.approx((way - 1) * apart)


def test_percent_is_undefined_where_original_and_reference_cannot_be_told_apart() -> None:
    predictions = predictions_of(("forget", "A", 20, 2))
    original, reference, model = (noise(predictions, seed) for seed in range(3))
    found = forgetting(predictions, model, original, reference, Bootstrap(predictions, 200))
    assert found[key("forgotten/percent")].value is None
    assert found[key("forgotten/signal_to_reference")].value is not None


def test_percent_is_undefined_where_original_and_reference_are_the_same() -> None:
    predictions = predictions_of(("forget", "A", 20, 2))
    same, model = noise(predictions, 0), noise(predictions, 1)
    assert (
        forgetting(predictions, model, same, same, Bootstrap(predictions, 50))[key("forgotten/percent")].value is None
    )


# Fairness

EYE_STUDY = predictions_of(("forget", "Asian", 5, 2), ("test", "Asian", 8, 2), ("test", "Western", 12, 2))


def on_test(predictions: Predictions, scores: Floats, bootstrap: Bootstrap | None = None) -> dict[str, Floats]:
    """Mean scores on test with few draws."""
    return means_on_test(predictions, scores, bootstrap or Bootstrap(predictions, 50))


def test_the_published_disparity_of_the_eye_study_comes_out() -> None:
    before = np.ones(len(EYE_STUDY))
    after = np.where(EYE_STUDY.group == "Asian", 1.816, 1.428)
    now, base, harmed = on_test(EYE_STUDY, after), on_test(EYE_STUDY, before), harmed_group(EYE_STUDY)
    grown = increase(now, base, "mse", "original")
    assert grown[key("increase/mse/against original/Asian")].value == pytest.approx(81.6)
    assert grown[key("increase/mse/against original/Western")].value == pytest.approx(42.8)
    assert grown[key("increase/mse/against original/all")].value == pytest.approx((8 * 81.6 + 12 * 42.8) / 20)
    apart = disparity(now, base, harmed, "mse", "original")
    assert apart[key("disparity_ratio/mse/against original")].value == pytest.approx(1.907, abs=0.0005)
    assert apart[key("disparity_points/mse/against original")].value == pytest.approx(38.8)


def test_everyone_outside_the_harmed_group_counts_as_others() -> None:
    predictions = predictions_of(
        ("forget", "B", 3, 1), ("test", "A", 3, 1), ("test", "B", 4, 1), ("test", "C", 5, 1), ("test", "", 2, 1)
    )
    scores = noise(predictions)
    found = on_test(predictions, scores)
    assert set(found) == {"all", "A", "B", "C", "others"}
    rows = (predictions.split == "test") & (predictions.group != "B")
    assert found["others"][0] == pytest.approx(scores[rows].mean())


def test_both_parts_of_the_harm_sum_to_the_increase() -> None:
    bootstrap = Bootstrap(EYE_STUDY, 50)
    now, base, without = (on_test(EYE_STUDY, noise(EYE_STUDY, seed) + 9, bootstrap) for seed in range(3))
    parts, grown = harm(now, base, without, "mse"), increase(now, base, "mse", "original")
    for group in ("all", "Asian", "Western"):
        of_forgetting, of_method = (
            parts[MeasureKey(part, "mse", group=group)].value for part in ("harm of forgetting", "harm of method")
        )
        assert of_forgetting is not None
        assert of_method is not None
        assert of_forgetting == pytest.approx(100 * (without[group][0] / base[group][0] - 1))
        assert of_forgetting + of_method == pytest.approx(grown[key(f"increase/mse/against original/{group}")].value)
    assert len(parts) == 6


def test_the_ratio_is_undefined_where_the_others_may_have_paid_nothing() -> None:
    before = np.ones(len(EYE_STUDY))
    nearly_nothing = np.random.default_rng(0).normal(0.001, 0.5, len(EYE_STUDY))
    after = np.where(EYE_STUDY.group == "Asian", 1.8, 1 + nearly_nothing)
    found = disparity(on_test(EYE_STUDY, after), on_test(EYE_STUDY, before), "Asian", "mse", "original")
    assert found[key("disparity_ratio/mse/against original")].value is None
    assert found[key("disparity_points/mse/against original")].value is not None


def test_the_ratio_is_undefined_where_nothing_changed() -> None:
    same = on_test(EYE_STUDY, noise(EYE_STUDY))
    found = disparity(same, same, "Asian", "mse", "original")
    assert found[key("disparity_ratio/mse/against original")].value is None
    assert found[key("disparity_points/mse/against original")].value == 0


def test_without_known_groups_there_is_no_disparity() -> None:
    predictions = predictions_of(("forget", "", 3, 1), ("test", "", 5, 1))
    means = on_test(predictions, noise(predictions))
    assert disparity(means, means, harmed_group(predictions), "mse", "original") == {}
    assert set(means) == {"all"}


def test_the_main_group_is_that_of_most_faces() -> None:
    assert main_group(np.array(["A", "B", "C", "B"])) == "B"
    predictions = predictions_of(("forget", "B", 3, 1), ("forget", "A", 1, 2), ("test", "A", 50, 1))
    assert harmed_group(predictions) == "B"


# Utility


def test_utility_is_the_mean_of_each_score_over_each_split_and_group() -> None:
    predictions = predictions_of(
        ("test", "A", 4, 2), ("test", "B", 3, 2), ("forget", "B", 2, 2), ("retain", "", 3, 1), ("public", "A", 3, 1)
    )
    scores = {"mse": noise(predictions, 0), "within": noise(predictions, 1)}
    found = utility(
        predictions, scores, {"mse": ("low", "the mse"), "within": ("high", "share")}, Bootstrap(predictions, 20)
    )
    expected: dict[str, list[float]] = {}
    for row in range(len(predictions)):
        if predictions.split[row] == "public":
            continue
        for name, values in scores.items():
            for group in {"all", str(predictions.group[row])} - {""}:
                expected.setdefault(f"{name}/{predictions.split[row]}/{group}", []).append(values[row])
    assert set(found) == set(expected)
    for name, parts in expected.items():
        assert found[key(name)].value == pytest.approx(np.mean(parts))
    assert found[key("within/test/A")].aim == "high"
    assert found[key("within/forget/all")].aim == "as retrained"
    assert "the mse" in found[key("mse/test/B")].about
    assert "group B" in found[key("mse/test/B")].about


def test_known_groups_are_sorted_and_the_unknown_is_none() -> None:
    assert groups_of(predictions_of(("test", "B", 1, 1), ("test", "", 1, 1), ("val", "A", 1, 1))) == ["A", "B"]


# Cost


def test_moved_weights_are_counted_and_measured_as_in_a_loop() -> None:
    generator = np.random.default_rng(0)
    before: dict[str, Any] = {"conv": generator.normal(size=(3, 4)), "bias": 100 * generator.normal(size=5)}
    after = {name: values + generator.normal(0, 0.02, values.shape) for name, values in before.items()}
    moved, squares, length, count = 0, 0.0, 0.0, 0
    for name, values in before.items():
        limit = 0.01 * np.sqrt(sum(value**2 for value in values.flat) / values.size)
        for old, new in zip(values.flat, after[name].flat, strict=True):
            moved, squares, length, count = (
                moved + (abs(new - old) > limit),
                squares + (new - old) ** 2,
                length + old**2,
                count + 1,
            )
    found = weights_moved(before, after)
    assert 0 < moved < count
    assert found[key("weights/moved")].value == pytest.approx(moved / count)
    assert found[key("weights/distance")].value == pytest.approx(np.sqrt(squares / length))


def test_untouched_weights_moved_nowhere_and_doubled_ones_by_their_length() -> None:
    before = {"conv": np.arange(1.0, 7)}
    assert [found.value for found in weights_moved(before, before).values()] == [0, 0, 0]
    length = float(np.linalg.norm(before["conv"]))
    assert [found.value for found in weights_moved(before, {"conv": 2 * before["conv"]}).values()] == [1, 1, length]
