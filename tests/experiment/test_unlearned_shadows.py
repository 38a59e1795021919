"""U-LiRA: shadows that were made to forget, held against answers that are known beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conftest import consistent_with, key, plan_with, refusal
from efface.data.batches import BatchLoader
from efface.data.faces import MethodData
from efface.experiment.arm import Arm, set_up
from efface.experiment.knowledge import after_forgetting
from efface.experiment.resolve import resolve
from efface.experiment.run import run
from efface.experiment.shadows import Forgetting, Shadow
from efface.measures.predictions import Predictions
from efface.plan.file import parse_plan
from efface.progress import Progress
from efface.results import ORIGINAL, REFERENCE, Results
from efface.tasks import Task
from efface.training.environment import environment

CPU = torch.device("cpu")
ULIRA, LIRA, CONTROL, PROCEDURE = (
    key(f"attack/{name}/photo")
    for name in ("u-lira/auc", "lira/auc", "u-lira/auc of the reference", "u-lira/auc over shadows")
)


def nothing(model: nn.Module, task: Task, data: MethodData, loader: BatchLoader) -> nn.Module:
    """Forget nobody."""
    return model


def plan(**changes: Any) -> dict[str, Any]:
    """12 of 29 people are forgotten and 36 are strangers, all of one group: a shadow has 24 of these, in two sets."""
    return (
        plan_with(
            data={"name": "synthetic", "people": 72, "photos_per_person": 2, "size": [24, 24], "groups": ["A"]},
            split={"public": 0.0, "val": 0.0, "strangers": 0.5, "test": 0.1},
            forget={"people": 12},
            model={"name": "eyenet", "widths": [8, 12, 16], "hidden": 64},
            train={"epochs": 3},
        )
        | {"seeds": [0]}
        | changes
    )


def arm_of(raw: dict[str, Any], out: Path) -> Arm:
    return set_up("", resolve(parse_plan(raw, "plan"), "plan"), out, CPU, environment(CPU, 1), Progress())


# Who answers for whom


def test_each_face_is_answered_for_by_the_copy_that_forgot_its_person() -> None:
    people = np.array(["gone 1", "gone 2", "kept", "never 1", "never 2", "test"])
    split = np.array(["forget", "strangers", "forget", "forget", "strangers", "test"])
    nobody = np.zeros((6, 1))
    predictions = Predictions(split, people, people, np.full(6, ""), nobody, nobody)
    sets = (
        Forgetting(frozenset(["gone 1"]), frozenset(["never 2"])),
        Forgetting(frozenset(["gone 2"]), frozenset(["never 1"])),
    )
    shadow = Shadow(None, None, frozenset(["gone 1", "gone 2", "kept"]), sets, {})  # type: ignore[arg-type]
    shown = after_forgetting(predictions, [shadow], [np.array([[1.0] * 6, [2.0] * 6])])
    assert shown.included.tolist() == [[True, True, False, False, False, False]]
    assert np.array_equal(shown.signal, [[1, 2, np.nan, 2, 1, 1]], equal_nan=True)


@pytest.mark.parametrize("audit", [{"forget_sets": 2}, {"folds": "own"}])
def test_settings_of_shadows_that_forget_are_refused_where_none_does(audit: dict[str, Any]) -> None:
    assert "name rows in unlearn" in refusal(parse_plan, plan(audit={"shadows": 4} | audit), "plan")


# Ways to forget of which the answer is known


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    methods = {"nothing": {"use": f"{__name__}:nothing"}, "retrain": {}}
    audit = {"shadows": 8, "unlearn": list(methods), "forget_sets": 9, "train": "in turn"}
    raw = plan(methods=methods, audit=audit, train={"epochs": 120, "lr": 3e-3})
    return run({"": parse_plan(raw, "plan")}, tmp_path_factory.mktemp("known"), threads=1)


def of(results: Results, row: str) -> Any:
    return next(one.measures for one in results.summaries if one.method == row)


@pytest.mark.slow
def test_where_nothing_is_done_the_attack_is_lira_of_the_original(results: Results) -> None:
    untouched = of(results, "nothing")[LIRA].span
    assert of(results, "nothing")[ULIRA].span == untouched == of(results, ORIGINAL)[LIRA].span
    assert untouched[1] > 0.6, "else there is nothing to see"
    assert of(results, "nothing")[PROCEDURE].value > 0.6


@pytest.mark.slow
def test_a_model_that_never_saw_them_is_at_one_half_under_every_row_s_attack(results: Results) -> None:
    for row in ("nothing", "retrain"):
        for level in ("photo", "person"):
            found = of(results, row)[key(f"attack/u-lira/auc of the reference/{level}")].span
            assert consistent_with(0.5, found), (row, level, found)
    assert not consistent_with(0.5, of(results, "nothing")[ULIRA].span), "else there is nothing to see"
    assert of(results, "nothing")[CONTROL].span == of(results, REFERENCE)[ULIRA].span, "the first way's, as it was"
    assert CONTROL not in of(results, REFERENCE)


@pytest.mark.slow
def test_retraining_leaves_nothing_to_tell_by(results: Results) -> None:
    assert consistent_with(0.5, of(results, "retrain")[PROCEDURE].span)
    assert not consistent_with(0.5, of(results, "nothing")[PROCEDURE].span), "else there is nothing to see"
