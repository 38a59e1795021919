"""Attacks that know other models: against their formulas written out face by face, and on models that are simulated."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from efface.data.faces import Array
from efface.measures.epsilon import EXACT, challenge_score, epsilon, epsilons, largest_epsilon
from efface.measures.likelihood_ratios import (
    PRIOR_MODELS,
    RMIA_OFFLINE,
    ShadowSignals,
    completeness,
    lira,
    lira_kde,
    moderated,
    one_against_the_others,
    rmia,
)


def simulated(leak: float, models: int = 32, faces: int = 200, seed: int = 0) -> tuple[ShadowSignals, Array, Array]:
    """Shadows of faces of different difficulty, where being trained on a face lowers its signal by `leak` deviations;
    a target model, and which faces that one was trained on."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 3, faces)
    included = np.stack([rng.permutation(faces) % 2 == 0 for _ in range(models + 1)])
    signal = hard + rng.normal(size=(models + 1, faces)) - leak * included
    return ShadowSignals(included[1:], signal[1:]), signal[0], included[0]


def test_lira_is_its_formula_face_by_face() -> None:
    seen, target, _ = simulated(1.0, models=12, faces=7)
    found, pooled = lira(target, seen), []
    for rows in (seen.included, ~seen.included):
        squares = sum(np.square(seen.signal[rows[:, f], f] - seen.signal[rows[:, f], f].mean()).sum() for f in range(7))
        pooled.append(squares / sum(rows[:, f].sum() - 1 for f in range(7)))
    for face in range(7):
        logs = []
        for rows, usual in zip((seen.included, ~seen.included), pooled, strict=True):
            values = seen.signal[rows[:, face], face]
            variance = ((values - values.mean()) ** 2).sum() + PRIOR_MODELS * usual
            variance /= len(values) - 1 + PRIOR_MODELS
            logs.append(stats.norm.logpdf(target[face], values.mean(), math.sqrt(variance)))
        assert found[face] == pytest.approx(logs[0] - logs[1])


def test_variances_are_moderated_towards_the_usual_one() -> None:
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(4, 500))
    raw = signal.std(0, ddof=1)
    _, deviation = moderated(signal, np.ones_like(signal, bool))
    assert deviation.std() < raw.std() / 2
    assert stats.spearmanr(raw, deviation).statistic == pytest.approx(1)


@pytest.mark.parametrize("attack", [lira, lira_kde])
def test_who_knows_the_faces_sees_what_a_threshold_cannot(attack) -> None:  # type: ignore[no-untyped-def]
    seen, target, member = simulated(1.5)
    assert roc_auc_score(member, -target) < 0.72
    assert roc_auc_score(member, attack(target, seen)) == pytest.approx(stats.norm.cdf(1.5 / math.sqrt(2)), abs=0.07)


@pytest.mark.parametrize("attack", [lira, lira_kde])
def test_without_a_leak_nobody_sees_anything(attack) -> None:  # type: ignore[no-untyped-def]
    aucs = [
        roc_auc_score(member, attack(target, seen))
        for seen, target, member in (simulated(0.0, seed=seed) for seed in range(8))
    ]
    assert np.mean(aucs) == pytest.approx(0.5, abs=3 * np.std(aucs) / math.sqrt(8) + 0.01)


def test_each_model_is_attacked_by_the_others_alone() -> None:
    seen, _, _ = simulated(1.0, models=20, faces=20)
    found = one_against_the_others(seen)
    assert found[3] == pytest.approx(lira(seen.signal[3], seen.without_pair(3)), nan_ok=True)
    changed = seen.signal.copy()
    changed[3] += 100
    moved = one_against_the_others(ShadowSignals(seen.included, changed))
    assert (moved[3] != found[3]).all(), "the target's own signal counts"
    assert np.array_equal(moved[2], found[2]), "and that of its other half is not looked at"
    assert seen.without_pair(3).signal.shape == (18, 20)


def test_faces_that_no_model_was_asked_about_change_nothing() -> None:
    seen, target, _ = simulated(1.0, models=8, faces=30)
    wide = ShadowSignals(
        np.concatenate([seen.included, np.zeros((8, 70), bool)], axis=1),
        np.concatenate([seen.signal, np.full((8, 70), np.nan)], axis=1),
    )
    asked = np.concatenate([target, np.zeros(70)])
    for attack in (lira, lira_kde, completeness):
        found = attack(asked, wide)
        assert found[:30] == pytest.approx(attack(target, seen), nan_ok=True)
        assert np.isnan(found[30:]).all()


def test_the_way_of_models_that_show_nothing_is_one_half_even_for_few() -> None:
    aucs = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        half = [rng.permutation(60) % 2 == 0 for _ in range(4)]
        included = np.stack([side for one in half for side in (one, ~one)])
        seen = ShadowSignals(included, rng.normal(size=(8, 60)))
        aucs += [roc_auc_score(had, found) for had, found in zip(included, one_against_the_others(seen), strict=True)]
    assert np.mean(aucs) == pytest.approx(0.5, abs=3 * np.std(aucs) / math.sqrt(len(aucs)))


def test_a_face_that_too_few_models_had_says_nothing() -> None:
    seen, target, _ = simulated(1.0, models=10, faces=5)
    included = seen.included.copy()
    included[:, 2] = False
    with np.errstate(invalid="ignore"):
        found = lira(target, ShadowSignals(included, seen.signal))
    assert np.isnan(found).tolist() == [False, False, True, False, False]


def test_rmia_is_its_double_loop() -> None:
    rng = np.random.default_rng(0)
    likelihood, without = rng.uniform(0.05, 1, 30), rng.uniform(0.05, 1, (4, 30))
    without[1:, 0] = np.nan
    without[:, 1] = np.nan
    population = np.arange(30) >= 20
    found = rmia(likelihood, without, population, gamma=1.2)
    for face in range(30):
        if face == 1:
            assert np.isnan(found[face])
            continue
        ratio = likelihood[face] / ((1 + RMIA_OFFLINE) / 2 * np.nanmean(without[:, face]) + (1 - RMIA_OFFLINE) / 2)
        beaten = [
            ratio / (likelihood[z] / ((1 + RMIA_OFFLINE) / 2 * without[:, z].mean() + (1 - RMIA_OFFLINE) / 2)) >= 1.2
            for z in range(20, 30)
        ]
        assert found[face] == pytest.approx(np.mean(beaten))


def test_completeness_goes_from_trained_on_to_never_seen() -> None:
    seen, _, _ = simulated(6.0, models=40)
    inside, outside = (np.where(rows, seen.signal, 0).sum(0) / rows.sum(0) for rows in (seen.included, ~seen.included))
    found = [completeness(inside + part * (outside - inside), seen).mean() for part in (0, 0.25, 0.5, 0.75, 1)]
    assert found == sorted(found)
    assert found == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=0.15)
    undecided, _, _ = simulated(0.0, models=40)
    assert completeness(undecided.signal.mean(0), undecided).mean() == pytest.approx(0.5, abs=0.05)


# Epsilon


def by_loops(unlearned: Array, retrained: Array, delta: float) -> float:
    """Every region between two cuts, inside or outside of it, by counting."""
    values = sorted({*unlearned.tolist(), *retrained.tolist()})
    cuts = [-math.inf, *((a + b) / 2 for a, b in pairwise(values)), math.inf]
    best = 0.0
    for place, low in enumerate(cuts):
        for high in cuts[place + 1 :]:
            for inside in (True, False):
                fp = float(np.mean(((retrained > low) & (retrained <= high)) == inside))
                fn = float(np.mean(((unlearned > low) & (unlearned <= high)) != inside))
                if fp == 0 and fn == 0:
                    return EXACT
                if fp == 0 or fn == 0:
                    continue
                for one, other in ((fp, fn), (fn, fp)):
                    if 1 - delta - one > 0:
                        best = max(best, math.log(1 - delta - one) - math.log(other))
    return best


@pytest.mark.parametrize("seed", range(5))
def test_epsilon_is_that_of_all_thresholds_and_pairs_of_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    unlearned, retrained = rng.normal(size=9), rng.normal(0.7 * seed, 1, 8)
    assert epsilon(unlearned, retrained, 1e-5) == pytest.approx(by_loops(unlearned, retrained, 1e-5))


def test_epsilon_of_what_never_overlaps_is_exact_and_of_the_same_is_nothing() -> None:
    assert epsilon(np.arange(5.0), np.arange(10.0, 15.0)) == EXACT
    assert epsilon(np.ones(5), np.ones(5)) == 0


def test_no_epsilon_short_of_certainty_exceeds_the_bound_of_so_many_models() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        found = epsilon(rng.normal(size=32), rng.normal(1, 2, 32))
        assert found == EXACT or found <= largest_epsilon(32) + 1e-9


def test_the_challenge_halves_a_faces_score_by_each_half_of_an_epsilon() -> None:
    assert challenge_score(np.array([0.0, 0.49, 0.5, 1.2, 3.99, 4.0, EXACT]), 32).tolist() == [
        1,
        1,
        0.5,
        0.25,
        0.5**7,
        0,
        0,
    ]


def test_epsilons_split_the_models_by_who_had_the_face() -> None:
    rng = np.random.default_rng(0)
    signal, included = rng.normal(size=(12, 3)), np.stack([rng.permutation(12) < 6 for _ in range(3)], axis=1)
    included[:, 2] = True
    found = epsilons(signal, included)
    assert found[0] == epsilon(signal[included[:, 0], 0], signal[~included[:, 0], 0])
    assert np.isnan(found[2])
