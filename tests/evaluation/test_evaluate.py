"""One model's measures, rows over seeds, and the scores of the eye task, against numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.dummy import DummyClassifier, DummyRegressor
from torch import nn

from conftest import answered, key, predictions_of
from efface.data.batches import Batch
from efface.data.faces import Array
from efface.evaluation.constant import advantage_over_constant, constant_prediction, not_better_than_constant
from efface.evaluation.evaluate import (
    Scored,
    evaluate,
    over_pairs,
    over_seeds,
    records,
    score_faces,
    summarise,
)
from efface.evaluation.headroom import headrooms
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Bootstrap, Measure
from efface.measures.predictions import Predictions
from efface.results import (
    CONSTANT,
    ORIGINAL,
    REFERENCE,
    SECOND_REFERENCE,
    Cost,
    Evaluation,
    MeasureRecord,
)
from efface.tasks import TASKS
from efface.tasks.eyes import (
    eye_targets,
    log_squared_error,
    misplaced_eye,
    normalised_error,
    squared_error,
    squared_loss,
    within,
)

TASK = TASKS["eyes"]
PREDICTIONS = predictions_of(
    ("forget", "A", 6, 2),
    ("retain", "A", 3, 2),
    ("retain", "B", 6, 2),
    ("val", "B", 3, 2),
    ("strangers", "A", 10, 2),
    ("strangers", "B", 4, 2),
    ("test", "A", 8, 2),
    ("test", "B", 8, 2),
)


# Evaluation


def off_by(factor: float, of: Predictions = PREDICTIONS) -> Scored:
    """The scores of a model that is off as the predictions are, but so many times as far."""
    outputs = of.targets + factor * (of.outputs - of.targets)
    return score_faces(Predictions(of.split, of.key, of.identity, of.group, outputs, of.targets), TASK)


def values(measures: dict[MeasureKey, Measure]) -> dict[str, float | None]:
    """Estimates without their intervals."""
    return {name: found.value for name, found in measures.items()}


def test_every_score_is_graded_face_by_face() -> None:
    scored = score_faces(PREDICTIONS, TASK)
    assert set(scored.scores) == set(TASK.scores)
    assert np.array_equal(scored.scores["mse"], squared_error(PREDICTIONS))
    assert np.array_equal(scored.signal, log_squared_error(PREDICTIONS))


def test_a_model_has_every_measure_a_report_needs() -> None:
    found = evaluate(off_by(2), off_by(1), off_by(1.5), TASK, Bootstrap(PREDICTIONS, 20))
    expected = {f"{score}/{split}/all" for score in TASK.scores for split in set(PREDICTIONS.split.tolist())}
    expected |= {f"{score}/test/{group}" for score in TASK.scores for group in "AB"}
    expected |= {"membership/auc/photo", "membership/auc/person", "membership/tpr_at_1%_fpr/photo"}
    expected |= {f"forgotten/{name}" for name in ("percent", "signal_to_reference", "signal_to_original")}
    for score in ("normalised_error", "mse"):
        expected |= {f"harm of forgetting/{score}/{group}" for group in ("all", "A", "B")}
        expected |= {f"harm of method/{score}/{group}" for group in ("all", "A", "B")}
        for base in ("original", "reference"):
            expected |= {f"increase/{score}/against {base}/{group}" for group in ("all", "A", "B")}
            expected |= {f"disparity_{kind}/{score}/against {base}" for kind in ("ratio", "points")}
    assert expected <= set(found)
    assert all(one.about and (one.value is None or math.isfinite(one.value)) for one in found.values())


def test_errors_twice_as_far_off_are_four_times_the_mean_square() -> None:
    found = values(evaluate(off_by(2), off_by(1), off_by(math.sqrt(2)), TASK, Bootstrap(PREDICTIONS, 20)))
    assert found["increase/mse/against original/all"] == pytest.approx(300)
    assert found["increase/mse/against reference/B"] == pytest.approx(100)
    assert found["increase/normalised_error/against original/A"] == pytest.approx(100)
    assert found["harm of forgetting/mse/A"] == pytest.approx(100)
    assert found["harm of method/mse/A"] == pytest.approx(200)
    assert found["disparity_points/mse/against original"] == pytest.approx(0, abs=1e-9)
    assert found["disparity_ratio/mse/against original"] == pytest.approx(1)
    assert found["forgotten/percent"] == pytest.approx(200, abs=0.01)
    assert found["forgotten/signal_to_original"] == pytest.approx(math.log(4), abs=0.001)


def test_the_original_beside_itself_paid_and_forgot_nothing() -> None:
    found = values(evaluate(off_by(1), off_by(1), off_by(2), TASK, Bootstrap(PREDICTIONS, 20)))
    assert found["forgotten/percent"] == 0
    assert found["increase/mse/against original/all"] == 0
    assert found["disparity_points/mse/against original"] == 0
    assert found["disparity_ratio/mse/against original"] is None


@pytest.mark.parametrize(
    ("name", "kind", "score"),
    [
        ("classes", "most_frequent", "accuracy"),
        ("attributes", "most_frequent", "accuracy"),
        ("eyes", "mean", "mse"),
    ],
)
def test_one_answer_for_everybody_is_what_scikit_learns_dummies_give(name: str, kind: str, score: str) -> None:
    rng = np.random.default_rng(0)
    truths = {
        "classes": rng.choice(4, 60, p=[0.1, 0.5, 0.2, 0.2]),
        "attributes": rng.random((60, 3)) < [0.2, 0.7, 0.4],
        "eyes": rng.normal(10, 3, (60, 2, 2)),
    }
    targets = truths[name].astype(np.int64 if name == "classes" else np.float64)
    split = np.repeat(["retain", "test"], 30)
    outputs = rng.normal(size=(60, 4) if name == "classes" else targets.shape).astype(np.float32)
    predictions = Predictions(
        split, np.arange(60).astype(str), np.arange(60).astype(str), np.full(60, ""), outputs, targets
    )
    found = (
        constant_prediction(score_faces(predictions, TASKS[name]), TASKS[name]).scores[score][split == "test"].mean()
    )
    flat, empty = targets.reshape(60, -1), np.zeros((30, 1))
    dummy = DummyRegressor(strategy=kind) if kind == "mean" else DummyClassifier(strategy=kind)
    expected = dummy.fit(empty, np.squeeze(flat[:30])).predict(empty).reshape(30, -1)
    wanted = np.square(expected - flat[30:]) if kind == "mean" else expected == flat[30:]
    assert found == pytest.approx(wanted.mean())


def test_records_hold_what_the_measures_hold() -> None:
    found = records(
        {
            key("a/test/all"): Measure(1, 0, 2, "low", "words"),
            key("b/test/all"): Measure(None, None, None, "none", "why"),
        }
    )
    assert found == {
        "a/test/all": MeasureRecord(value=1, low=0, high=2, aim="low", about="words"),
        "b/test/all": MeasureRecord(value=None, low=None, high=None, aim="none", about="why"),
    }


# Seeds


def record(value: float | None, below: float = 1, above: float = 1) -> MeasureRecord:
    """A value whose interval reaches so far below and above."""
    if value is None:
        return MeasureRecord(value=None, low=None, high=None, aim="low", about="why not")
    return MeasureRecord(value=value, low=value - below, high=value + above, aim="low", about="known")


def spans(found: MeasureRecord) -> Sequence[float | None]:
    """Value, low and high."""
    return found.value, found.low, found.high


def test_one_seed_keeps_its_value_and_its_interval() -> None:
    assert spans(over_seeds([record(5, 2, 3)])) == pytest.approx((5, 3, 8))


def test_seeds_that_agree_leave_the_interval_over_people_as_wide_as_it_was() -> None:
    assert spans(over_seeds([record(5, 2, 3)] * 4)) == pytest.approx((5, 3, 8))


def test_the_spread_over_seeds_and_over_people_add_in_quadrature() -> None:
    # Values 1, 2, 3 have the standard error 1/√3; Student's t with two degrees of freedom is 4.30265 at 97.5 %.
    seeds = 4.30265 / math.sqrt(3)
    found = over_seeds([record(value, 2, 3) for value in (1, 2, 3)])
    assert spans(found) == pytest.approx((2, 2 - math.hypot(2, seeds), 2 + math.hypot(3, seeds)), abs=1e-4)


def test_people_of_different_spread_over_seeds_are_averaged() -> None:
    assert spans(over_seeds([record(5, 1, 2), record(5, 3, 6)])) == pytest.approx((5, 3, 9))


def test_a_value_is_undefined_where_it_is_for_one_seed() -> None:
    assert over_seeds([record(1), record(None), record(2)]) == record(None)


def test_pairs_of_three_models_leave_out_each_model_in_turn() -> None:
    # Without model 0 the mean is 6, without 1 it is 2, without 2 it is 1: their variance 14/3, times n - 1 = 2.
    models = 4.30265 * math.sqrt(2 * 14 / 3)
    found = over_pairs([record(value, 2, 3) for value in (1, 2, 6)], [(0, 1), (0, 2), (1, 2)])
    assert spans(found) == pytest.approx((3, 3 - math.hypot(2, models), 3 + math.hypot(3, models)), abs=1e-4)
    assert "one pair" not in found.about


def test_one_pair_of_models_has_an_interval_over_people_alone_and_says_so() -> None:
    found = over_pairs([record(5, 2, 3)], [(0, 1)])
    assert spans(found) == pytest.approx((5, 3, 8))
    assert "one pair of retrained models: no interval over models" in found.about


def row(method: str, seed: int, value: float, arm: str = "") -> Evaluation:
    """One model's row with one measure."""
    cost = Cost(seconds=1, faces=1, peak_memory_mib=1, faces_of_retraining=1)
    return Evaluation(
        arm=arm,
        method=method,
        stages=[],
        seed=seed,
        settings={},
        cost=cost,
        measures={key("mse/test/all"): record(value, 0, 0)},
    )


def test_each_method_of_each_arm_is_summarised_over_its_seeds() -> None:
    rows = [row("original", 0, 1), row("finetune", 0, 4), row("original", 7, 3), row("original", 0, 9, arm="other")]
    found = [(one.arm, one.method, one.seeds, one.measures[key("mse/test/all")].value) for one in summarise(rows)]
    assert found == [("", "original", [0, 7], 2), ("", "finetune", [0], 4), ("other", "original", [0], 9)]


def measured(method: str, seed: int, measures: dict[str, MeasureRecord], against: int | None = None) -> Evaluation:
    """One model's row; against: the seed of the reference that a second retrained model is compared with."""
    found = {key(name): one for name, one in measures.items()}
    return row(method, seed, 0).model_copy(update={"measures": found, "reference_seed": against})


@pytest.mark.parametrize(("values", "gap"), [((1.0, 1.0, 1.0), 0.0), ((1.0, 2.0, 4.0), 2.0)])
def test_the_floor_is_a_control_that_can_fail(values: tuple[float, ...], gap: float) -> None:
    # Pairs (0, 1), (0, 2), (1, 2) differ by 1, 3 and 2 where the three models have 1, 2 and 4.
    rows = [measured(REFERENCE, seed, {"mse/test/all": record(value)}) for seed, value in enumerate(values)]
    rows += [
        measured(SECOND_REFERENCE, other, {"mse/test/all": record(values[other])}, seed)
        for seed, other in ((0, 1), (0, 2), (1, 2))
    ]
    floor = summarise(rows)[-1]
    assert floor.differences[key("mse/test/all")].value == pytest.approx(gap)
    assert floor.seeds == [0, 1, 2]


def test_headroom_is_the_distance_of_the_original_from_the_floor_in_standard_errors() -> None:
    # Half an interval of 1.96 is a standard error of 1 over people; the seeds and pairs agree.
    attack, distance = "membership/auc/photo", "distance/wasserstein/signal"
    rows = [
        measured(name, seed, {distance: record(far, 1.96, 1.96), attack: record(auc, 1.96, 1.96)}, against)
        for name, far, auc, pairs in (
            (ORIGINAL, 9.0, 5.0, [(0, None), (1, None)]),
            (REFERENCE, 0.0, 2.0, [(0, None), (1, None)]),
            (SECOND_REFERENCE, 2.0, 2.0, [(1, 0)]),
        )
        for seed, against in pairs
    ]
    found = {one.measure: one.value for one in headrooms(rows)}
    assert found[key(distance)] == pytest.approx((9 - 2) / math.hypot(1, 1), abs=1e-3)
    assert found[key(attack)] == pytest.approx((5 - 2) / math.hypot(1, 1), abs=1e-3)


def test_a_similarity_has_headroom_where_the_original_is_below_the_floor_and_none_without_an_error() -> None:
    high = record(0.5, 0.196, 0.196).model_copy(update={"aim": "high"})
    sure = MeasureRecord(value=1, low=1, high=1, aim="low", about="")
    rows = [
        measured(name, seed, {"distance/tow": high.model_copy(update=told), "distance/js/forget": sure}, against)
        for name, seed, against, told in (
            (ORIGINAL, 0, None, {}),
            (REFERENCE, 0, None, {}),
            (SECOND_REFERENCE, 1, 0, {"value": 0.9, "low": 0.704, "high": 1.096}),
        )
    ]
    found = {one.measure: one.value for one in headrooms(rows)}
    assert found[key("distance/tow")] == pytest.approx(0.4 / math.hypot(0.1, 0.1), abs=1e-3)
    assert found[key("distance/js/forget")] is None


@pytest.mark.parametrize(("factor", "better"), [(0.1, True), (100.0, False)])
def test_an_original_that_is_no_better_than_a_constant_is_warned_of(factor: float, better: bool) -> None:
    original = off_by(factor)
    blind = constant_prediction(original, TASK)
    bootstrap = Bootstrap(PREDICTIONS, 100)
    rows = {
        name: [measured(name, 0, {"normalised_error/test/all": record(float(np.mean(one.scores["normalised_error"])))})]
        for name, one in ((ORIGINAL, original), (CONSTANT, blind))
    }
    gap = advantage_over_constant(original, blind, TASK, bootstrap)
    warnings = not_better_than_constant([gap], rows[ORIGINAL], rows[CONSTANT], "normalised_error")
    assert bool(warnings) != better


# Eyes

PAIR = np.array([[[30.0, 10.0], [10.0, 10.0]]])
"""Level eyes twenty pixels apart, the subject's left first."""


def eyes(count: int, seed: int) -> Array:
    """(n, 2, 2) eyes on a picture of 40x40."""
    return np.random.default_rng(seed).uniform(0, 40, (count, 2, 2))


def test_normalised_error_is_that_of_the_worse_eye_over_the_distance_between_the_eyes() -> None:
    outputs = PAIR + np.array([[[3.0, 4.0], [0.0, 1.0]]])
    assert normalised_error(answered(outputs, PAIR)) == pytest.approx([5 / 20])
    assert normalised_error(answered(PAIR + np.array([[[0.0, 0.0], [-6.0, 8.0]]]), PAIR)) == pytest.approx([10 / 20])
    assert normalised_error(answered(PAIR, PAIR)) == pytest.approx([0])


def test_normalised_error_is_that_of_a_loop() -> None:
    outputs, targets = eyes(20, 0), eyes(20, 1)
    for found, answer, true in zip(normalised_error(answered(outputs, targets)), outputs, targets, strict=True):
        worst = max(math.dist(answer[eye], true[eye]) for eye in (0, 1))
        assert found == pytest.approx(worst / math.dist(true[0], true[1]))


def test_swapped_eyes_are_off_by_the_whole_distance_between_them() -> None:
    targets = eyes(20, 0)
    assert normalised_error(answered(targets[:, ::-1], targets)) == pytest.approx(np.ones(20))


def test_squared_loss_and_squared_error_are_the_same_mean_over_four_coordinates() -> None:
    outputs, targets = eyes(20, 0), eyes(20, 1)
    expected = [
        sum((a - t) ** 2 for a, t in zip(answer.flat, true.flat, strict=True)) / 4
        for answer, true in zip(outputs, targets, strict=True)
    ]
    assert squared_error(answered(outputs, targets)) == pytest.approx(expected)
    loss = squared_loss(nn.Identity(), Batch(torch.from_numpy(outputs), torch.from_numpy(targets), np.arange(20)))
    assert loss.numpy() == pytest.approx(expected)


def test_the_signal_ranks_faces_as_the_squared_error_does_and_is_finite_without_error() -> None:
    outputs, targets = eyes(20, 0), eyes(20, 1)
    signal = log_squared_error(answered(outputs, targets))
    assert signal == pytest.approx(np.log(squared_error(answered(outputs, targets))), abs=1e-6)
    assert log_squared_error(answered(targets, targets)) == pytest.approx(np.full(20, math.log(1e-6)))


def test_an_error_at_the_limit_is_within_it() -> None:
    outputs = PAIR + np.array([[[5.0, 0.0], [0.0, 0.0]]])
    assert [within(limit).of(answered(outputs, PAIR)).tolist() for limit in (0.24, 0.25, 0.26)] == [[0], [1], [1]]


def test_eyes_that_are_found_are_covered_and_eyes_far_off_are_not() -> None:
    of = TASK.scores["eyes_covered"].of
    assert of(answered(PAIR, PAIR)) == pytest.approx([1])
    assert of(answered(PAIR + 100, PAIR)) == pytest.approx([0])


def test_targets_are_the_subjects_left_eye_first_x_before_y() -> None:
    row = {"right_y": 12, "other": 0, "left_x": 30, "left_y": 11, "right_x": 10}
    table = pd.DataFrame([row])
    assert eye_targets(table, ()).tolist() == [[[30, 11], [10, 12]]]
    assert eye_targets(table, ()).dtype == np.float32


@pytest.mark.parametrize(
    "bad",
    [
        [[np.nan, 1], [2, 3]],
        [[1, 1], [2, np.inf]],
        [[-0.6, 1], [2, 3]],
        [[1, 1], [39.6, 3]],
        [[1, 29.6], [2, 3]],
        [[4, 5], [4, 5]],
    ],
)
def test_the_first_face_with_an_eye_out_of_place_is_named_with_the_picture(bad: list[list[float]]) -> None:
    right = [[30.0, 10.0], [10.0, 10.0]]
    found = misplaced_eye(np.array([right, bad, bad], np.float32), (3, 1, 30, 40))
    assert found is not None
    assert found[0] == 1
    assert "40x30 picture" in found[1]


def test_eyes_up_to_the_rim_are_in_place() -> None:
    assert misplaced_eye(np.array([[[-0.5, -0.5], [39.5, 29.5]], [[3, 4], [3, 5]]], np.float32), (2, 1, 30, 40)) is None


def test_the_scores_that_stand_for_all_exist() -> None:
    assert {TASK.error, TASK.harm_score} <= set(TASK.scores)
    assert TASK.scores[TASK.error].aim == TASK.scores[TASK.harm_score].aim == "low"
