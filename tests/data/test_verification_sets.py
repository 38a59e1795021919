"""Verification: the protocols of the field against naive loops and a library."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_curve

from conftest import key, recognised
from efface.measures.verification import (
    best_threshold,
    discard_area,
    equal_error_rate,
    error_versus_discard,
    folds_correct,
    of_set,
    over_folds,
    threshold_at,
    verification,
)

RNG = np.random.default_rng(0)
SAME = np.tile([True, False], 500)
SIMILARITY = np.where(SAME, 0.4, 0.0) + RNG.normal(0, 0.25, 1000)
FOLD = np.arange(1000) // 100


def test_folds_are_judged_by_the_best_threshold_of_the_others() -> None:
    right = np.zeros(1000, bool)
    for fold in range(10):
        train, test = fold != FOLD, fold == FOLD
        candidates = [-2.0, *((np.sort(SIMILARITY[train])[1:] + np.sort(SIMILARITY[train])[:-1]) / 2).tolist()]
        best = max(candidates, key=lambda one: int(((SIMILARITY[train] >= one) == SAME[train]).sum()))
        right[test] = (SIMILARITY[test] >= best) == SAME[test]
    assert 0.7 < right.mean() < 0.9
    assert folds_correct(SIMILARITY, SAME, FOLD).mean() == pytest.approx(right.mean())


def test_the_best_threshold_separates_what_can_be_separated() -> None:
    assert best_threshold(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True])) == pytest.approx(0.5)
    assert best_threshold(np.array([0.1, 0.2]), np.array([True, True])) == pytest.approx(0.1)
    assert best_threshold(np.array([0.1, 0.2]), np.array([False, False])) > 0.2
    tied = best_threshold(np.array([0.5, 0.5, 0.5]), np.array([True, False, True]))
    assert tied <= 0.5


def test_where_pairs_of_one_kind_are_many_both_kinds_count_alike() -> None:
    """Nine of ten pairs are of one person: the library's balanced accuracy, by the threshold that is best by it."""
    same, fold = np.arange(200) % 10 > 0, np.arange(200) // 40
    similarity = np.where(same, 0.3, 0.0) + np.random.default_rng(1).normal(0, 0.3, 200)
    said = np.zeros(200, bool)
    for one in range(5):
        train, test = fold != one, fold == one
        ordered = np.sort(similarity[train])
        candidates = ((ordered[1:] + ordered[:-1]) / 2).tolist()
        said[test] = similarity[test] >= max(
            candidates, key=lambda limit: balanced_accuracy_score(same[train], similarity[train] >= limit)
        )
    found = of_set("x", similarity, same, fold, np.full(200, np.nan), np.zeros(200, bool), 0)
    plain, even = (found[key(f"verification/x/{name}")].value for name in ("accuracy", "balanced_accuracy"))
    assert even == pytest.approx(balanced_accuracy_score(same, said))
    assert plain is not None
    assert even is not None
    assert plain > even + 0.1, "to call nearly every pair the same is right most of the time"


def test_the_deviation_over_folds_is_that_of_the_protocol() -> None:
    right = folds_correct(SIMILARITY, SAME, FOLD)
    each = [right[fold == FOLD].mean() for fold in range(10)]
    assert over_folds(right, FOLD) == pytest.approx((np.mean(each), np.std(each, ddof=1)))
    assert over_folds(right, np.zeros(1000, int)) == (right.mean(), 0.0)


def test_a_single_fold_is_judged_by_itself() -> None:
    assert folds_correct(np.array([0.1, 0.9]), np.array([False, True]), np.zeros(2, int)).all()


def test_the_threshold_at_a_rate_is_the_librarys() -> None:
    accepted, _, thresholds = roc_curve(SAME, SIMILARITY, drop_intermediate=False)
    ours = threshold_at(SIMILARITY[~SAME], 0.05)
    assert ours is not None
    allowed = thresholds[accepted <= 0.05].min()
    assert (SIMILARITY[~SAME] >= ours).mean() <= 0.05
    assert (SIMILARITY[SAME] >= ours).mean() == pytest.approx((SIMILARITY[SAME] >= allowed).mean(), abs=0.005)
    assert threshold_at(SIMILARITY[~SAME], 0.01) is None  # five of 500 say too little


def test_equal_error_rate_is_where_both_errors_meet() -> None:
    rate = equal_error_rate(SIMILARITY, SAME)
    cut = np.sort(SIMILARITY[~SAME])[::-1][round(rate * 500)]
    assert (SIMILARITY[SAME] < cut).mean() == pytest.approx(rate, abs=0.01)
    assert equal_error_rate(np.array([0.0, 1.0]), np.array([False, True])) == 0


def test_errors_fall_when_what_is_left_out_is_what_fails_and_not_otherwise() -> None:
    helpful = np.where(SAME, SIMILARITY, RNG.normal(0.4, 0.25, 1000))
    shares, refused = error_versus_discard(SIMILARITY, SAME, helpful, rate=0.05)
    assert shares[0] == 0
    assert refused[0] == pytest.approx((SIMILARITY[SAME] <= np.sort(SIMILARITY[~SAME])[::-1][25]).mean())
    assert discard_area(shares, refused) < 0.9
    meaningless = discard_area(*error_versus_discard(SIMILARITY, SAME, RNG.random(1000), rate=0.05))
    assert meaningless == pytest.approx(1, abs=0.1)
    naive = []
    for share in shares:
        kept = np.argsort(helpful, kind="stable")[int(np.floor(share * 1000)) :]
        people = kept[SAME[kept]]
        naive.append((SIMILARITY[people] <= np.sort(SIMILARITY[~SAME])[::-1][25]).mean())
    assert refused == pytest.approx(np.array(naive))


def test_every_set_has_its_measures_and_quality_divides_the_pairs() -> None:
    quality = np.where(SAME, SIMILARITY, 0.4)
    good = quality > np.quantile(quality, 0.3)
    predictions = replace(
        recognised(),
        pair_set=np.repeat(["one", "two"], 1000),
        pair_same=np.tile(SAME, 2),
        pair_fold=np.tile(FOLD, 2),
        pair_similarity=np.tile(SIMILARITY, 2),
        pair_quality=np.concatenate([np.full(1000, np.nan), np.where(SAME, SIMILARITY, 0.4)]),
        pair_poor=np.concatenate([np.zeros(1000, bool), ~good]),
    )
    found = verification(predictions)
    assert found[key("verification/one/accuracy")].value == found[key("verification/two/accuracy")].value
    low, high = (found[key(f"verification/two/accuracy/{which} quality")].value for which in ("low", "high"))
    whole = found[key("verification/two/accuracy")].value
    assert whole is not None
    assert low is not None
    assert high is not None
    assert whole == pytest.approx((1 - good.mean()) * low + good.mean() * high)
    right = folds_correct(SIMILARITY, SAME, FOLD, balanced=True)
    kinds = [right[~good & kind].mean() for kind in (SAME, ~SAME)]
    assert found[key("verification/two/balanced_accuracy/low quality")].value == pytest.approx(np.mean(kinds))
    assert SAME[good].all(), "pairs of one kind have no balanced accuracy"
    assert key("verification/two/balanced_accuracy/high quality") not in found
    assert "verification/one/accuracy/low quality" not in found
    accuracy = found[key("verification/one/accuracy")]
    assert accuracy.low is not None
    assert accuracy.high is not None
    assert accuracy.high - accuracy.low == pytest.approx(2 * 1.96 * np.sqrt(whole * (1 - whole) / 1000), rel=0.2)
    assert found[key("verification/one/tar_at_1%_far")].value is None
