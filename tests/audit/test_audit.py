"""What an audit is put together from: signals, likelihoods, controls, relearning, and how a page words it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special
from torch import nn

from conftest import answered, faces_of, key, predictions_of, recognised, refusal
from efface.audit.attacks import (
    Knowledge,
    attack_model,
    attacks_on,
    audit,
    nonmember_control,
    strongest,
    swapped_at_random,
)
from efface.audit.relearn import loss_on, steps_to_relearn
from efface.data.batches import BatchLoader
from efface.evaluation.evaluate import Scored, score_faces
from efface.evaluation.evidence import choose, exposure, most_exposed
from efface.experiment.knowledge import first_known
from efface.measures.bootstrap import Bootstrap
from efface.measures.closed_set import softmax_through, through_the_head
from efface.measures.confusion import interclass_confusion
from efface.measures.likelihood_ratios import ShadowSignals, lira
from efface.measures.predictions import Predictions
from efface.plan.file import parse_plan
from efface.report.audit import far, matrix
from efface.results import MeasureRecord, Summary
from efface.tasks import TASKS
from efface.tasks.attributes import attribute_chances, entropy, modified_entropy, unsure_of_itself

RNG = np.random.default_rng(0)
EYES = TASKS["eyes"]
PREDICTIONS = predictions_of(
    ("forget", "A", 20, 2), ("retain", "A", 5, 2), ("strangers", "A", 24, 2), ("test", "A", 6, 2)
)


# What an attacker sees


def test_entropies_are_their_formulas_face_by_face() -> None:
    chances, targets = special.softmax(RNG.normal(size=(6, 1, 4)), axis=2), RNG.integers(0, 4, (6, 1))
    for face in range(6):
        p, own = chances[face, 0], targets[face, 0]
        mentr = -(1 - p[own]) * math.log(p[own]) - sum(p[c] * math.log(1 - p[c]) for c in range(4) if c != own)
        assert modified_entropy(chances, targets)[face] == pytest.approx(mentr)
        assert entropy(chances)[face] == pytest.approx(-(p * np.log(p)).sum())
        assert unsure_of_itself(chances)[face] == pytest.approx(1 - p.max())


def test_modified_entropy_is_small_only_for_sure_and_right() -> None:
    sure = np.array([[[0.999, 0.001]], [[0.999, 0.001]], [[0.5, 0.5]]])
    right, wrong, unsure = modified_entropy(sure, np.array([[0], [1], [0]]))
    assert right < unsure < wrong
    assert np.isfinite(modified_entropy(np.array([[[1.0, 0.0]]]), np.array([[1]]))).all()


def test_attributes_are_pairs_of_chances() -> None:
    predictions = answered(np.array([[0.0, 2.0]]), np.array([[1.0, 0.0]]))
    assert attribute_chances(predictions)[0, :, 1] == pytest.approx([0.5, special.expit(2.0)])


def test_what_a_head_says_is_its_softmax() -> None:
    predictions = recognised()
    confidence, spread = through_the_head(predictions)
    softmax = softmax_through(predictions.centres, predictions.outputs)
    assert confidence == pytest.approx(softmax.max(1))
    assert spread == pytest.approx(-(softmax * np.log(softmax)).sum(1), rel=1e-4)
    assert np.isnan(through_the_head(replace(predictions, centres=np.zeros((0, 0), np.float32)))[0]).all()


@pytest.mark.parametrize(
    ("task", "predictions"),
    [
        ("eyes", PREDICTIONS),
        ("classes", answered(RNG.normal(size=(30, 4)), RNG.integers(0, 4, 30))),
        ("attributes", answered(RNG.normal(size=(30, 2)), RNG.integers(0, 2, (30, 2)).astype(np.float32))),
        ("recognition", recognised()),
    ],
)
def test_every_likelihood_lies_between_zero_and_one_and_falls_with_the_signal(
    task: str, predictions: Predictions
) -> None:
    likelihood, signal = TASKS[task].likelihood(predictions), TASKS[task].signal.of(predictions)
    assert ((likelihood >= 0) & (likelihood <= 1)).all()
    assert np.corrcoef(likelihood, signal)[0, 1] < -0.3
    for difference in TASKS[task].differences.values():
        same = difference.of(predictions, predictions)
        assert np.isin(np.round(same[np.isfinite(same)], 9), [0, 1]).all()


# What it concludes


def scored(leak: float = 0.0, seed: int = 0) -> Scored:
    """Eyes found up to noise, nearer by a factor on the forgotten."""
    rng = np.random.default_rng(seed)
    nearer = np.where(PREDICTIONS.rows("forget"), math.exp(-leak), 1.0)[:, None, None]
    outputs = PREDICTIONS.targets + rng.normal(size=PREDICTIONS.targets.shape) * nearer
    return score_faces(replace(PREDICTIONS, outputs=outputs), EYES)


def shadow_signals(leak: float, models: int = 12) -> ShadowSignals:
    """Shadows in which being trained on a face lowers its signal."""
    rng = np.random.default_rng(9)
    asked = PREDICTIONS.rows("forget") | PREDICTIONS.rows("strangers")
    included = np.stack([(rng.permutation(len(PREDICTIONS)) % 2 == 0) & asked for _ in range(models)])
    usual = scored().signal
    signal = usual + rng.normal(0, 0.7, included.shape) - 2 * leak * included
    return ShadowSignals(included, signal)


def test_every_attack_is_asked_of_model_and_reference_alike() -> None:
    known = Knowledge(np.stack([scored(seed=5).likelihood]), shadow_signals(1.0), {"mine": shadow_signals(0.5)})
    bootstrap = Bootstrap(PREDICTIONS, 30)
    model, reference = attack_model(scored(1.0, 1), known, EYES), attack_model(scored(0.0, 2), known, EYES)
    found = audit(model, reference, known, bootstrap, "mine")
    attacks = {"loss", "worse eye", "eye distance", "logistic", "forest", "rmia", "lira", "u-lira"}
    assert set(attacks_on(model, known, "mine")) == attacks
    assert {name.split("/")[1] for name in found if name.startswith("attack/")} == attacks
    assert "u-lira" not in attacks_on(model, known, "another")
    leaks = found[key("attack/loss/auc/against reference/photo")]
    assert leaks.low is not None
    assert leaks.low > 0
    assert strongest(model, known, "mine")[0] == "u-lira"
    assert strongest(model, known, "another")[0] == "lira"
    assert (
        strongest(
            attack_model(scored(), Knowledge(np.zeros((0, 0)), None), EYES), Knowledge(np.zeros((0, 0)), None), "mine"
        )[0]
        == "loss"
    )
    assert np.array_equal(
        known.ratio(model.scored.signal, shadow_signals(1.0)),
        lira(model.scored.signal, shadow_signals(1.0)),
        equal_nan=True,
    )


def test_the_negative_control_puts_half_of_the_strangers_in_the_place_of_the_forgotten() -> None:
    control = nonmember_control(scored(3.0)).predictions
    played, rest = (set(control.identity[control.rows(split)]) for split in ("forget", "strangers"))
    strangers = set(PREDICTIONS.identity[PREDICTIONS.rows("strangers")])
    assert played | rest == strangers
    assert not played & rest
    assert len(played) == len(strangers) // 2
    assert not control.rows("test")[PREDICTIONS.rows("forget")].any(), "nobody trained on stands among the population"


def test_models_mixed_at_random_are_as_many_as_before() -> None:
    included = shadow_signals(0.0).included
    mixed = swapped_at_random(included)
    assert np.array_equal(mixed.sum(0), included.sum(0))
    assert (mixed != included).any()


def test_the_first_known_values_of_each_column_are_kept() -> None:
    values = np.array([[np.nan, 1.0], [2.0, np.nan], [3.0, 4.0]])
    assert first_known(values, 2) == pytest.approx(np.array([[2.0, 1.0], [3.0, 4.0]]))
    assert first_known(values, 0).shape == (0, 2)
    assert len(first_known(np.array([]), 4)) == 0


def test_who_stands_out_is_measured_against_strangers() -> None:
    split = np.array(["strangers"] * 4 + ["forget"] * 3)
    seen = replace(
        PREDICTIONS,
        **{name: getattr(PREDICTIONS, name)[:7] for name in ("key", "group", "outputs", "targets")},
        split=split,
        identity=np.array([*"abcd", "x", "x", "y"]),
    )
    membership_score = np.array([1.0, 2.0, 3.0, 4.0, 9.0, 2.5, 2.0])
    assert exposure(membership_score, seen)[4:] == pytest.approx([1.0, 0.5, 0.375])
    assert most_exposed(seen, np.stack([membership_score]), 5).tolist() == [4, 6], "one photo of a person"


# Relearning


class Dial(nn.Module):
    """Answers both eyes at one place, which is learned."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.full((2, 2), at))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.at.expand(len(images), 2, 2)


def test_relearning_takes_longer_from_farther_and_gives_up_at_last() -> None:
    faces = faces_of({"A": 8})
    faces = replace(faces, targets=np.zeros_like(faces.targets))

    def steps(at: float, **settings: Any) -> int | None:
        return steps_to_relearn(Dial(at), EYES, faces, BatchLoader(torch.device("cpu"), 0), 0.01, lr=0.05, **settings)

    assert loss_on(Dial(0.3), EYES, faces, BatchLoader(torch.device("cpu"), 0)) == pytest.approx(0.09)
    assert steps(0.05) == 0
    near, far_off = steps(0.5), steps(1.5)
    assert near is not None
    assert far_off is not None
    assert 0 < near < far_off < 200
    assert steps(9.0, most=10) is None


# Confusion


def test_confusion_counts_who_believes_the_wrong_label() -> None:
    split = np.array(["forget"] * 4 + ["test"] * 4)
    targets, guess = np.array([0, 0, 1, 2, 0, 1, 1, 2]), np.array([0, 1, 1, 2, 1, 1, 0, 0])
    people = np.arange(8).astype(str)
    predictions = Predictions(split, people, people, np.full(8, "A"), np.eye(3)[guess], targets)
    found = interclass_confusion(predictions, (0, 1), Bootstrap(predictions, 10))
    assert found[key("confusion/forget")].value == pytest.approx(2 / 3), "of the three of these classes"
    assert found[key("confusion/test")].value == pytest.approx(2 / 3)


# On the page


def record(value: float, half: float) -> MeasureRecord:
    return MeasureRecord(value=value, low=value - half, high=value + half, aim="low", about="")


def test_two_values_are_apart_beyond_their_joined_intervals() -> None:
    assert far(record(1.0, 0.3), record(1.6, 0.4)) is True
    assert far(record(1.0, 0.5), record(1.6, 0.4)) is False


def test_the_matrix_says_what_can_be_told_apart() -> None:
    def row(name: str, attack: float, distance: float) -> Summary:
        measures = {"attack/loss/auc/photo": record(attack, 0.02), "distance/tow": record(distance, 0.02)}
        return Summary(arm="", method=name, seeds=[0], measures=measures)

    summaries = {
        one.method: one
        for one in (
            row("original", 0.8, 0.5),
            row("reference", 0.5, 1.0),
            row("mine", 0.51, 0.92),
            row("second reference", 0.5, 0.93),
        )
    }
    found = matrix(summaries, {})
    assert found is not None
    cells = dict(found.rows)
    assert [cell.told for cell in cells["original"]] == [True, True]
    assert [cell.told for cell in cells["mine"]] == [False, False]
    assert cells["reference"][1].value == "–", "its distance to itself says nothing"
    assert found.head == [("loss", "1 of 2 differ"), ("ToW", "1 of 2 differ")]
    assert matrix({"original": Summary(arm="", method="original", seeds=[0], measures={})}, {}) is None

    without = matrix(summaries, {key("attack/loss/auc/photo"): 8.0, key("distance/tow"): 2.9})
    assert without is not None
    assert dict(without.rows)["original"][1].told is False, "by so little headroom nothing can be told apart"
    assert without.head == [
        ("loss", "headroom 8.0; 1 of 2 differ"),
        ("ToW", "headroom 2.9: this measure cannot separate methods here"),
    ]


# What a plan may ask


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"audit": {"shadows": 7}}, "shadows = 7 is odd"),
        ({"audit": {"unlearn": ["finetun"]}}, "did you mean 'finetune'"),
        ({"audit": {"shadows": 2, "unlearn": ["finetune"]}}, "needs shadows to make forget"),
        ({"audit": {"unlearn": ["finetune"]}, "forget": {"share": 0.4, "rounds": 2}}, "at once, not in rounds"),
        ({"audit": {"shadow": 8}}, "unknown setting 'audit.shadow'; did you mean 'shadows'"),
        ({"accept": {"distance/tow": {"withn": 1}}}, "'accept.distance/tow.withn'; did you mean 'within'"),
        ({"accept": {"epsilon/mean": {"at_most": 1.0}}}, "would have no controls"),
        ({"accept": {"distance/tow": {}}}, "exactly one of within, at_most, at_least"),
    ],
)
def test_a_plan_that_asks_the_impossible_is_refused(asked: dict[str, Any], complaint: str) -> None:
    plan = {
        "task": "eyes",
        "goal": "influence removed",
        "data": {"name": "synthetic"},
        "forget": {"share": 0.2},
        "model": {"name": "eyenet"},
        "methods": {"finetune": {}},
    }
    assert complaint in refusal(parse_plan, plan | asked, "plan")


def test_where_no_photo_is_held_back_there_is_none_to_picture() -> None:
    """A recogniser's report pictures held-back photos; a plan may hold none back."""
    predictions = predictions_of(("forget", "A", 3, 1), ("strangers", "A", 3, 1))
    rows, why = choose(predictions, ("forget_unseen",), np.ones((3, len(predictions))), 3, 2, np.random.default_rng(0))
    assert len(rows) == len(why) == 0
    assert predictions.key[rows].shape == (0,)
