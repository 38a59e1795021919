"""Membership scores: against naive loops, scikit-learn, the adversarial-robustness-toolbox, and known leakage."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from conftest import key, predictions_of
from efface.data.faces import Array
from efface.measures.attacks import (
    MembershipScores,
    advantage_over_reference,
    attack_measures,
    auc,
    balanced_accuracy,
    best_threshold,
    members_and_nonmembers,
    membership_scores_of,
    population_attacks,
    weight_above,
)
from efface.measures.bootstrap import Bootstrap

PREDICTIONS = predictions_of(("forget", "A", 60, 2), ("strangers", "A", 60, 2), ("test", "A", 5, 1))


def one_draw(members: Array, others: Array) -> MembershipScores:
    return MembershipScores(members, others, np.ones((1, len(members))), np.ones((1, len(others))))


@pytest.mark.parametrize("seed", range(4))
def test_the_best_threshold_is_that_of_a_search_through_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    membership_scores = MembershipScores(
        rng.integers(0, 9, 30).astype(float),
        rng.integers(0, 7, 20).astype(float),
        rng.integers(0, 3, (1, 30)).astype(float),
        rng.uniform(0, 2, (1, 20)),
    )

    def gain(threshold: float) -> float:
        above = [
            float((weights[0] * (values > threshold)).sum() / weights[0].sum())
            for values, weights in (
                (membership_scores.members, membership_scores.member_weights),
                (membership_scores.others, membership_scores.other_weights),
            )
        ]
        return above[0] - above[1]

    assert gain(float(best_threshold(membership_scores)[0])) == pytest.approx(
        max(gain(one + 0.5) for one in range(-2, 10))
    )


def test_weight_above_counts_what_is_above_and_not_what_is_equal() -> None:
    values, weights = np.array([3.0, 1.0, 2.0]), np.array([[1.0, 2.0, 5.0]])
    assert weight_above(values, weights, np.array([2.0])) == pytest.approx([1 / 8])
    assert weight_above(values, weights, np.array([1.5])) == pytest.approx([6 / 8])


def test_balanced_accuracy_is_not_chosen_on_those_it_is_asked_of() -> None:
    """On noise the best threshold in hindsight is better than one half; this one must not be."""
    rng = np.random.default_rng(0)
    fair, hindsight = [], []
    for _ in range(200):
        members, others = rng.normal(size=(2, 40))
        fair.append(float(balanced_accuracy(one_draw(members, others))[0]))
        fp, tp, _ = roc_curve(np.repeat([1, 0], 40), np.concatenate([members, others]))
        hindsight.append(float((1 + tp - fp).max() / 2))
    assert np.mean(hindsight) - 3 * np.std(hindsight) / np.sqrt(200) > 0.5
    assert np.mean(fair) == pytest.approx(0.5, abs=3 * np.std(fair) / np.sqrt(200))


def test_balanced_accuracy_of_two_normals_is_what_theory_says() -> None:
    rng = np.random.default_rng(0)
    membership_scores = one_draw(rng.normal(1, 1, 20_000), rng.normal(0, 1, 20_000))
    assert balanced_accuracy(membership_scores)[0] == pytest.approx(stats.norm.cdf(0.5), abs=0.01)
    assert auc(membership_scores)[0] == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.01)


def test_every_question_is_answered_for_photos_and_people() -> None:
    rng = np.random.default_rng(0)
    membership_score = rng.normal(size=len(PREDICTIONS)) + PREDICTIONS.rows("forget")
    found = attack_measures("x", "somebody", PREDICTIONS, membership_score, Bootstrap(PREDICTIONS, 50))
    assert {name.removeprefix("attack/x/") for name in found} == {
        f"{question}/{level}"
        for question in ("auc", "balanced_accuracy", "tpr_at_1%_fpr", "tpr_at_0.1%_fpr")
        for level in ("photo", "person")
    }
    forgotten, strangers, left_out = members_and_nonmembers(PREDICTIONS, np.isfinite(membership_score))
    audited = forgotten | strangers
    assert left_out == 0
    assert found[key("attack/x/auc/photo")].value == pytest.approx(
        roc_auc_score(forgotten[audited], membership_score[audited])
    )
    assert found[key("attack/x/tpr_at_1%_fpr/photo")].value is not None
    too_few = found[key("attack/x/tpr_at_0.1%_fpr/photo")]
    assert too_few.value is None
    assert "needs 1000 strangers; here 120" in too_few.about


def test_a_person_is_suspected_by_the_mean_of_the_photos() -> None:
    """Two photos that point the other way each cancel out."""
    membership_score = np.tile([5.0, -5.0], len(PREDICTIONS) // 2 + 1)[: len(PREDICTIONS)]
    people = membership_scores_of(PREDICTIONS, membership_score, Bootstrap(PREDICTIONS, 5), people=True)
    assert people is not None
    assert len(people.members) == len(people.others) == 60
    assert np.unique(people.members).tolist() == [0.0]


def test_few_people_are_no_audit() -> None:
    """Two people stand in every resample of their groups: an interval would not know that there are only two."""
    few = predictions_of(
        ("forget", "A", 1, 3), ("forget", "B", 1, 3), ("strangers", "A", 50, 1), ("strangers", "B", 50, 1)
    )
    found = attack_measures("x", "somebody", few, np.arange(len(few), dtype=float), Bootstrap(few, 20))
    assert all(one.value is None for one in found.values())
    assert "needs 10 people on either side" in found[key("attack/x/auc/photo")].about
    assert not advantage_over_reference("x", few, np.zeros(len(few)), np.zeros(len(few)), Bootstrap(few, 20))


def test_what_a_blind_attack_catches_of_few_strangers_is_said() -> None:
    many = predictions_of(("forget", "A", 20, 1), ("strangers", "A", 100, 1))
    found = attack_measures("x", "somebody", many, np.arange(len(many), dtype=float), Bootstrap(many, 20))
    assert "knows nothing would catch 1.98%" in found[key("attack/x/tpr_at_1%_fpr/photo")].about


def test_without_strangers_of_the_group_it_says_so() -> None:
    lonely = predictions_of(("forget", "A", 5, 1), ("strangers", "B", 5, 1))
    found = attack_measures("x", "somebody", lonely, np.zeros(len(lonely)), Bootstrap(lonely, 5))
    assert found[key("attack/x/auc/photo")].value is None
    assert "no stranger is of the forgotten's groups" in found[key("attack/x/auc/photo")].about


def test_beyond_the_reference_is_zero_for_the_reference_and_negative_from_the_other_side() -> None:
    bootstrap, rng = Bootstrap(PREDICTIONS, 50), np.random.default_rng(0)
    noise = rng.normal(size=len(PREDICTIONS))
    same = advantage_over_reference("x", PREDICTIONS, noise, noise, bootstrap)[
        key("attack/x/auc/against reference/photo")
    ]
    assert (same.value, same.low, same.high) == (0, 0, 0)
    hidden = np.where(PREDICTIONS.rows("forget"), -9.0, noise)
    overshot = advantage_over_reference("x", PREDICTIONS, hidden, noise, bootstrap)[
        key("attack/x/auc/against reference/photo")
    ]
    assert overshot.high is not None
    assert overshot.high < -0.3


@pytest.mark.parametrize("shift", [3.0, -3.0])
def test_classifiers_find_a_leak_on_either_side_and_a_threshold_only_on_one(shift: float) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, len(PREDICTIONS)))
    signals = {"one": noise[0] + shift * PREDICTIONS.rows("forget"), "two": noise[1]}
    found = population_attacks(signals, PREDICTIONS)
    asked = PREDICTIONS.rows("forget") | PREDICTIONS.rows("strangers")
    for name in ("logistic", "forest"):
        assert np.isfinite(found[name][asked]).all()
        assert np.isnan(found[name][~asked]).all()
        assert roc_auc_score(PREDICTIONS.rows("forget")[asked], found[name][asked]) > 0.9


def test_classifiers_find_nothing_in_noise() -> None:
    """Over many sets of noise: fitted on other people, they stay at one half."""
    aucs: dict[str, list[float]] = {"logistic": [], "forest": []}
    asked = PREDICTIONS.rows("forget") | PREDICTIONS.rows("strangers")
    for seed in range(6):
        rng = np.random.default_rng(seed)
        found = population_attacks(
            {"one": rng.normal(size=len(PREDICTIONS)), "two": rng.normal(size=len(PREDICTIONS))}, PREDICTIONS
        )
        for name, values in aucs.items():
            values.append(float(roc_auc_score(PREDICTIONS.rows("forget")[asked], found[name][asked])))
    for values in aucs.values():
        assert np.mean(values) == pytest.approx(0.5, abs=0.06)


def test_classifiers_never_see_the_person_they_are_asked_about() -> None:
    """A signal that is each person's own, the same on both photos: memory of people would tell them apart."""
    rng = np.random.default_rng(0)
    own = {person: rng.normal() for person in np.unique(PREDICTIONS.identity).tolist()}
    signal = np.array([own[person] for person in PREDICTIONS.identity.tolist()])
    found = population_attacks({"own": signal, "noise": rng.normal(size=len(signal))}, PREDICTIONS)["forest"]
    asked = PREDICTIONS.rows("forget") | PREDICTIONS.rows("strangers")
    assert roc_auc_score(PREDICTIONS.rows("forget")[asked], found[asked]) < 0.65


def test_too_few_people_to_fit_on_is_no_attack() -> None:
    few = predictions_of(("forget", "A", 3, 2), ("strangers", "A", 9, 2))
    assert np.isnan(population_attacks({"one": np.zeros(len(few))}, few)["forest"]).all()


@pytest.mark.filterwarnings("ignore")
def test_loss_attacks_are_those_of_the_adversarial_robustness_toolbox() -> None:
    """Its black-box attack by logistic regression on losses ranks as our threshold on the same losses does. (It looks
    at the class as well: here there is only one.)"""
    from art.attacks.inference.membership_inference import MembershipInferenceBlackBox
    from art.estimators.classification import PyTorchClassifier

    rng = np.random.default_rng(0)
    predictions = predictions_of(("forget", "A", 150, 1), ("strangers", "A", 150, 1))
    member = predictions.rows("forget")
    logits, targets = rng.normal(size=(300, 4)).astype(np.float32), np.zeros(300, np.int64)
    logits[np.flatnonzero(member), targets[member]] += 1
    classifier = PyTorchClassifier(
        torch.nn.Identity(), loss=torch.nn.CrossEntropyLoss(reduction="none"), input_shape=(4,), nb_classes=4
    )
    theirs = MembershipInferenceBlackBox(classifier, input_type="loss", attack_model_type="lr")
    theirs.fit(logits[member], targets[member], logits[~member], targets[~member])
    attacked = theirs.infer(logits, targets, probabilities=True)[:, 0]
    losses = classifier.compute_loss(logits, targets, reduction="none").astype(np.float64)
    assert stats.spearmanr(-losses, attacked).statistic == pytest.approx(1, abs=1e-4)
    found = attack_measures("loss", "somebody", predictions, -losses, Bootstrap(predictions, 20))[
        key("attack/loss/auc/photo")
    ].value
    assert found == pytest.approx(roc_auc_score(member, attacked), abs=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("leak", "photos"), [(0.0, 1), (0.5, 1), (0.5, 4), (1.5, 2)])
def test_a_known_leak_lies_in_the_interval_in_nineteen_of_twenty_repetitions(leak: float, photos: int) -> None:
    """Signals of people whose photos resemble each other, with members shifted by so much: the AUC is known, and the
    interval that resamples people holds it as often as it says (within three standard errors of the count)."""
    predictions = predictions_of(("forget", "A", 80, photos), ("strangers", "A", 80, photos))
    bootstrap, rng = Bootstrap(predictions, 400), np.random.default_rng(1)
    _, of = np.unique(predictions.identity, return_inverse=True)
    members, times, held = predictions.rows("forget"), 1000, 0
    targets = stats.norm.cdf(leak / np.sqrt(2 * (0.5 + 1.0)))
    for _ in range(times):
        own = rng.normal(0, np.sqrt(0.5), of.max() + 1)[of]
        membership_score = own + rng.normal(size=len(predictions)) + leak * members
        found = attack_measures("x", "somebody", predictions, membership_score, bootstrap, only=("auc/photo",))[
            key("attack/x/auc/photo")
        ]
        assert found.low is not None
        assert found.high is not None
        held += found.low <= targets <= found.high
    assert held / times == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / times))
