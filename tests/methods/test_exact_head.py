"""Exact heads: after a person is subtracted they are what scikit-learn fits without them."""

import time

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestCentroid

from conftest import refusal
from efface.data.faces import Array
from efface.methods.exact_head import (
    RidgeSums,
    class_sums,
    classes_without,
    condition,
    downdated,
    only_targets,
    ridge,
    ridge_sums,
    ridge_without,
)


def faces(people: int = 60, photos: int = 5, width: int = 24, offset: float = 0.0) -> tuple[Array, Array, Array]:
    """Features (n, d) of 32 bits, targets (n, 3) and the number of each face's person (n,)."""
    rng = np.random.default_rng(0)
    features = (rng.normal(offset, 1, (people * photos, width)) * rng.uniform(0.1, 4, width)).astype(np.float32)
    return features, rng.normal(30, 10, (len(features), 3)), np.repeat(np.arange(people), photos)


def apart(sums: RidgeSums, features: Array, targets: Array) -> float:
    """How far a head is from scikit-learn's of these faces."""
    expected = Ridge(alpha=float(sums.penalty)).fit(features.astype(np.float64), targets)
    weights, bias = ridge(sums)
    return float(max(np.abs(weights - expected.coef_).max(), np.abs(bias - expected.intercept_).max()))


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_request_after_request_it_is_the_refit_and_so_are_its_sums(penalty: float, offset: float) -> None:
    features, targets, people = faces(offset=offset)
    sums = ridge_sums(features, targets, penalty)
    assert apart(sums, features, targets) < 1e-8
    for person in range(40):
        gone = people == person
        sums, fast = ridge_without(sums, features[gone], targets[gone])
        assert fast
        left = people > person
        assert apart(sums, features[left], targets[left]) < 1e-8
        never = ridge_sums(features[left], targets[left], penalty)
        for name in ("gram", "cross", "factor"):
            assert np.abs(getattr(sums, name) - getattr(never, name)).max() < 1e-8
    assert sums.count == 100


def test_where_the_equations_are_near_singular_the_factor_is_computed_anew() -> None:
    features, targets, people = faces()
    features[people > 0, 0] = features[people > 0, 1]  # only the first person tells the two apart
    sums = ridge_sums(features, targets, 1e-8)
    left, fast = ridge_without(sums, features[people == 0], targets[people == 0])
    assert not fast
    assert condition(sums) < 1e7 < condition(left)
    never = ridge_sums(features[people > 0], targets[people > 0], 1e-8)
    assert left.factor == pytest.approx(never.factor, abs=1e-4)


def test_a_downdate_is_the_factor_of_the_difference_or_none() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(30, 6))
    factor = np.asarray(np.linalg.cholesky(rows.T @ rows).T, np.float64)
    for some in (rows[:1], rows[:9]):
        found = downdated(factor, some)
        assert found is not None
        assert found.T @ found == pytest.approx(rows.T @ rows - some.T @ some, abs=1e-12)
        assert (np.tril(found, -1) == 0).all()
    assert downdated(factor, rows) is None


def test_the_condition_is_that_of_the_scaled_equations() -> None:
    features, targets, _ = faces(width=5, offset=2.0)
    sums = ridge_sums(features, targets, 2.0)
    whole = sums.factor.T @ sums.factor
    scale = 1 / np.sqrt(np.diag(whole))
    assert condition(sums) == pytest.approx(np.linalg.cond(whole * scale * scale[:, None], 1), rel=0.5)


def test_class_means_are_the_nearest_centroids_of_who_is_left() -> None:
    features, _, people = faces()
    classes = people % 7
    sums = class_sums(features, classes, 7)
    gone = people < 6
    left, kept = classes_without(sums, features[gone], classes[gone])
    expected = NearestCentroid().fit(features[~gone].astype(np.float64), classes[~gone])
    assert left.means == pytest.approx(expected.centroids_, abs=1e-8)
    assert kept.all()
    only, kept = classes_without(sums, features[classes == 3], classes[classes == 3])
    assert kept.tolist() == [True, True, True, False, True, True, True]
    assert (only.means == sums.means[kept]).all()


def test_nobody_left_and_nothing_to_solve_are_refused() -> None:
    features, targets, people = faces(people=2)
    assert "nobody would be left" in refusal(ridge_without, ridge_sums(features, targets, 1.0), features, targets)
    assert "nobody would be left" in refusal(classes_without, class_sums(features, people, 2), features, people)
    features[0, 0] = np.nan
    assert "no finite numbers" in refusal(ridge_sums, features, targets, 1.0)


def test_only_some_targets() -> None:
    features, targets, _ = faces()
    some = only_targets(ridge_sums(features, targets, 1.0), np.array([True, False, True]))
    assert apart(some, features, targets[:, [0, 2]]) < 1e-8


def test_it_takes_milliseconds() -> None:
    features, targets, people = faces(people=300, width=512)
    sums = ridge_sums(features, targets, 1.0)
    start = time.perf_counter()
    sums, fast = ridge_without(sums, features[people == 7], targets[people == 7])
    ridge(sums)
    assert fast
    assert time.perf_counter() - start < 1
