"""Distances between models: against SciPy, naive loops, and models whose distance is known."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats
from scipy.spatial import distance

from conftest import key, predictions_of
from efface.data.faces import Array
from efface.measures.bootstrap import Bootstrap
from efface.measures.distances import (
    activation_distance,
    average_gap,
    cka,
    equalised_odds,
    jensen_shannon,
    kullback_leibler,
    nearer,
    same_answer,
    shared_neighbours,
    tow,
    wasserstein,
)

RNG = np.random.default_rng(0)
OURS, THEIRS = (special.softmax(RNG.normal(0, 2, (20, 3, 5)), axis=2) for _ in range(2))


def test_divergences_are_those_of_scipy_face_by_face() -> None:
    for face in range(20):
        pairs = list(zip(OURS[face], THEIRS[face], strict=True))
        assert jensen_shannon(OURS, THEIRS)[face] == pytest.approx(
            np.mean([distance.jensenshannon(a, b, 2) ** 2 for a, b in pairs])
        )
        assert kullback_leibler(OURS, THEIRS)[face] == pytest.approx(np.mean([stats.entropy(b, a) for a, b in pairs]))
        assert activation_distance(OURS, THEIRS)[face] == pytest.approx(
            np.mean([distance.euclidean(a, b) for a, b in pairs])
        )
        assert same_answer(OURS, THEIRS)[face] == pytest.approx(np.mean([a.argmax() == b.argmax() for a, b in pairs]))


def test_certain_and_opposite_answers_are_one_bit_apart() -> None:
    yes, no = np.array([[[1.0, 0.0]]]), np.array([[[0.0, 1.0]]])
    assert jensen_shannon(yes, no) == pytest.approx([1.0])
    assert jensen_shannon(yes, yes) == pytest.approx([0.0])


def test_neighbours_are_shared_by_a_rotation_and_not_by_noise() -> None:
    unit = RNG.normal(size=(100, 8))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    turned = unit @ stats.ortho_group.rvs(8, random_state=0)
    assert shared_neighbours(unit, turned) == pytest.approx(np.ones(100))
    others = RNG.normal(size=(100, 8))
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    assert shared_neighbours(unit, others).mean() == pytest.approx(10 / 99, abs=0.05)


def test_cka_is_its_formula_and_one_for_a_rotation_and_a_scale() -> None:
    ours, theirs = RNG.normal(size=(50, 4)), RNG.normal(size=(50, 6))
    ones = np.ones((1, 50))
    centre = np.eye(50) - 1 / 50
    kernels = [centre @ (side @ side.T) @ centre for side in (ours, theirs)]
    formula = (kernels[0] * kernels[1]).sum() / np.sqrt((kernels[0] ** 2).sum() * (kernels[1] ** 2).sum())
    assert cka(ours, theirs, ones) == pytest.approx([formula])
    assert cka(ours, 3 * ours @ stats.ortho_group.rvs(4, random_state=0) + 7, ones) == pytest.approx([1.0])
    weights = RNG.integers(0, 3, (1, 50)).astype(float)
    again = np.repeat(np.arange(50), weights[0].astype(int))
    assert cka(ours, theirs, weights) == pytest.approx(cka(ours[again], theirs[again], np.ones((1, len(again)))))


def naive_cka(ours: Array, theirs: Array, weights: NDArray[np.float64]) -> list[float]:
    """Its definition, one row of weights after the other, from n x n kernels."""
    found = []
    for weight in weights:
        share = weight / weight.sum()
        one, two = (
            np.sqrt(share)[:, None] * (np.asarray(side, np.float64) - share @ side.astype(np.float64))
            for side in (ours, theirs)
        )
        k, m = one @ one.T, two @ two.T
        found.append((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))
    return found


@pytest.mark.parametrize(
    ("faces", "d", "e", "times", "offset"),
    [
        (2, 3, 3, 1, 0.0),
        (20, 64, 64, 7, 0.0),  # fewer faces than features
        (64, 64, 32, 7, 5.0),
        (300, 16, 40, 11, -2.0),
        (300, 2, 3, 11, 100.0),  # by features
        (2100, 6, 40, 3, 1.0),  # more than two tiles of faces, by features
        (2100, 80, 60, 5, 1.0),  # ... and by faces
    ],
)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_cka_is_its_definition_however_it_is_reckoned(
    faces: int, d: int, e: int, times: int, offset: float, kind: type
) -> None:
    rng = np.random.default_rng([faces, d, e])
    ours = rng.normal(offset, 1, (faces, d))
    theirs: Array = (ours @ rng.normal(size=(d, e)) + rng.normal(size=(faces, e))).astype(kind)
    weights = rng.multinomial(faces, np.full(faces, 1 / faces), times).astype(float)
    weights[0] = 1
    wanted = naive_cka(ours.astype(kind), theirs, weights)
    assert cka(ours.astype(kind), theirs, weights) == pytest.approx(wanted, rel=1e-10, nan_ok=True)


def one_person_at_a_time(people: int, photos: int) -> NDArray[np.float64]:
    """(people, people * photos) weights."""
    return np.asarray(np.repeat(np.eye(people), photos, axis=1), np.float64)


def test_cka_under_weights_far_from_all_faces_keeps_its_digits() -> None:
    tight = RNG.normal(0, 1e-4, (30, 90)) + np.repeat(RNG.normal(0, 50, (3, 90)), 10, axis=0)
    other = tight @ RNG.normal(size=(90, 90))
    weights = one_person_at_a_time(3, 10)
    assert cka(tight, other, weights) == pytest.approx(naive_cka(tight, other, weights), rel=1e-10)


@pytest.mark.parametrize("d", [2, 90])
def test_cka_is_unknown_where_nothing_varies(d: int) -> None:
    ours, weights = np.repeat(RNG.normal(size=(4, d)), 3, axis=0), one_person_at_a_time(4, 3)
    assert np.isnan(cka(ours, RNG.normal(size=(12, d)), weights)).all()
    assert np.isnan(cka(RNG.normal(size=(12, d)), ours, weights)).all()


@pytest.mark.parametrize(("d", "times"), [(4, 2), (64, 101)])
def test_memory_of_cka_does_not_grow_with_pairs_of_faces(d: int, times: int) -> None:
    def taken(faces: int) -> int:
        ours, weights = np.ones((faces, d)), np.ones((times, faces))
        ours[::2] = RNG.normal(size=d)
        tracemalloc.start()
        cka(ours, ours, weights)
        try:
            return tracemalloc.get_traced_memory()[1] - weights.nbytes
        finally:
            tracemalloc.stop()

    assert taken(6000) < taken(3000) + 2**20


def test_wasserstein_is_that_of_scipy_under_every_weight() -> None:
    ours, theirs = RNG.normal(size=30), RNG.integers(0, 3, 30).astype(float)
    weights = RNG.integers(0, 4, (5, 30)).astype(float)
    found = wasserstein(ours, theirs, weights)
    for row, value in zip(weights, found, strict=True):
        assert value == pytest.approx(stats.wasserstein_distance(ours, theirs, row, row))


def test_tow_and_the_average_gap_by_hand() -> None:
    one = np.array([1.0])
    assert tow([0.5 * one, 0.9 * one, 0.6 * one], [0.4 * one, 0.9 * one, 0.8 * one]) == pytest.approx([0.9 * 0.8])
    assert average_gap({"a": 0.5 * one, "b": 0.9 * one}, {"a": 0.4 * one, "b": 1.0 * one}) == pytest.approx([90.0])


def test_equalised_odds_is_the_mean_spread_between_groups_over_what_was_true() -> None:
    predictions = predictions_of(("test", "A", 40, 1), ("test", "B", 40, 1))
    targets = np.tile([0, 1], 40)
    right = np.where(predictions.group == "A", np.where(targets == 0, 1.0, 0.5), np.where(targets == 0, 0.8, 0.4))
    asked = replace(predictions, targets=targets)
    assert equalised_odds(right, asked, Bootstrap(predictions, 3))[0] == pytest.approx((0.2 + 0.1) / 2)
    right = np.where(predictions.group == "A", 0.9, 0.6)
    assert equalised_odds(right, predictions, Bootstrap(predictions, 3))[0] == pytest.approx(0.3)


def test_the_three_sample_test_says_to_which_model_a_model_is_nearer() -> None:
    people, rng = np.repeat(np.arange(60), 2), np.random.default_rng(1)
    original, reference = rng.normal(0, 1, (120, 2)), rng.normal(2, 1, (120, 2))
    as_reference, as_original = rng.normal(2, 1, (120, 2)), rng.normal(0, 1, (120, 2))
    gone = nearer(as_reference, original, reference, people)
    value = gone[key("distance/nearer")].value
    assert value is not None
    assert value < -0.8
    assert gone[key("distance/nearer/p")].value == pytest.approx(1 / 201)
    there = nearer(as_original, original, reference, people)
    low = there[key("distance/nearer")].low
    assert low is not None
    assert low > 0.5
    assert there[key("distance/nearer/p")].value == pytest.approx(1)


def test_the_three_sample_test_keeps_its_level_where_the_model_stands_between() -> None:
    """As often as 1 in 10 at most a tenth is claimed, over repetitions in which neither is nearer."""
    claimed, times = 0, 60
    for seed in range(times):
        rng = np.random.default_rng(seed)
        between, original, reference = rng.normal(1, 1, (80, 1)), rng.normal(0, 1, (80, 1)), rng.normal(2, 1, (80, 1))
        found = nearer(between, original, reference, np.arange(80))[key("distance/nearer/p")].value
        assert found is not None
        claimed += found <= 0.1
    assert claimed / times <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / times)


def test_too_few_faces_say_nothing() -> None:
    few = np.zeros((3, 1))
    assert nearer(few, few, few, np.arange(3))[key("distance/nearer")].value is None
