"""Models of folds: who is in which, made once for every request, refused where they serve nobody, and billed apart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import plan_with, refusal
from efface.experiment.arm import Arm, set_up
from efface.experiment.folds import dealt
from efface.experiment.resolve import resolve
from efface.experiment.run import run
from efface.experiment.shadows import all_stages
from efface.plan.file import parse_plan
from efface.progress import Progress
from efface.training.environment import environment

CPU = torch.device("cpu")
DATA = {"name": "synthetic", "people": 80, "photos_per_person": 3, "size": [24, 24]}


def plan(**changes: Any) -> dict[str, Any]:
    right = plan_with(
        data=DATA,
        forget={"people": 6},
        model={"name": "eyenet", "widths": [4, 6, 8], "hidden": 16},
        train={"epochs": 3},
        folds={"count": 2},
        methods={"out_of_fold": {"steps": 4}},
    )
    return right | changes


def recognising(**changes: Any) -> dict[str, Any]:
    model = {"name": "iresnet", "depth": 10, "width": 4, "dimensions": 8, "scale": 16.0}
    return plan(task="recognition", model=model, train={"epochs": 1}, **changes)


def arm_of(raw: dict[str, Any], out: Path) -> Arm:
    return set_up("", resolve(parse_plan(raw, "plan"), "plan"), out, CPU, environment(CPU, 1), Progress())


def names_of(arm: Arm) -> list[str]:
    return [one.name for one in arm.teachers]


# Who is in which


def test_folds_are_equal_and_keep_groups_in_proportion() -> None:
    groups = np.array(["A"] * 50 + ["B"] * 21 + [""] * 12)
    of = dealt(groups, 4, [0, 4, 0])
    for group in ("A", "B", ""):
        counts = np.bincount(of[groups == group], minlength=4)
        assert counts.max() - counts.min() <= 1
    assert np.ptp(np.bincount(of)) <= 1
    assert np.array_equal(of, dealt(groups, 4, [0, 4, 0]))
    assert (of != dealt(groups, 4, [0, 4, 1])).any()


@pytest.mark.parametrize(
    "raw", [pytest.param(plan(), marks=pytest.mark.slow), recognising()], ids=["eyes", "recognition"]
)
def test_each_person_is_a_stranger_to_all_models_but_one_of_each_repeat(raw: dict[str, Any], tmp_path: Path) -> None:
    arm = arm_of(raw | {"folds": {"count": 3, "repeats": 2}}, tmp_path)
    trained = {*arm.splits.forget.identities.tolist(), *arm.splits.retain.identities.tolist()}
    stage = arm.stage("out_of_fold", 0)
    assert len(stage.teachers) == 6
    assert names_of(arm)[3] == "fold 1 of 3, repeat 2"
    assert len({one.signature for one in stage.teachers}) == 6
    if raw["task"] == "recognition":
        classes = [one.network.about["classes"] for one in stage.teachers]
        assert sum(classes) == 2 * len(trained), "each has a head for its own people alone"


# Made once


def test_requests_share_them_and_shadows_do_not(tmp_path: Path) -> None:
    audited = {"audit": {"shadows": 4, "unlearn": ["out_of_fold"]}}
    arms = [arm_of(raw, tmp_path) for raw in (plan(**audited), plan(forget={"share": 0.2}), recognising())]
    mine, same, others = ({one.signature for one in arm.teachers} for arm in arms)
    assert mine == same
    assert not mine & others
    assert not mine & {one.signature for one in arms[0].models}
    shadows = all_stages(arms[0].shadows)
    assert not mine & {one.signature for one in shadows}
    taught = [one for one in shadows if one.name == "out_of_fold"]
    assert all({teacher.signature for teacher in one.teachers} == mine for one in taught)
    assert len(taught) == 4


@pytest.mark.parametrize("make", [plan, recognising], ids=["eyes", "recognition"])
def test_a_shadow_can_learn_from_models_of_its_own_folds(make: Any, tmp_path: Path) -> None:
    audit = {"shadows": 4, "unlearn": ["out_of_fold"], "forget_sets": 2, "folds": "own"}
    raw = make(audit=audit, forget={"people": 3})
    arm = arm_of(raw, tmp_path)
    runs = {one.signature for one in arm.teachers}
    for number, shadow in enumerate(arm.shadows):
        own = [f"shadow {number}, fold {fold} of 2" for fold in (1, 2)]
        assert [one.name for one in shadow.teachers] == own
        assert not runs & {one.signature for one in shadow.teachers}
        lines = shadow.unlearned["out_of_fold"]
        assert len(lines) == len(shadow.forgetting) == 2
        assert all(line[-1].teachers == shadow.teachers for line in lines)
        if raw["task"] == "recognition":
            heads = sum(one.network.about["classes"] for one in shadow.teachers)
            assert heads == shadow.stage.network.about["classes"], "its own people, each in one fold"
    made = all_stages(arm.shadows)
    assert len({one.signature for one in made}) == len(made) == 4 * (1 + 2 + 2)
    again = all_stages(arm_of(raw, tmp_path).shadows)
    assert [one.signature for one in again] == [one.signature for one in made]


@pytest.mark.slow
def test_shadows_with_folds_of_their_own_are_made_once_and_billed(tmp_path: Path) -> None:
    audit = {"shadows": 4, "unlearn": ["out_of_fold"], "forget_sets": 2, "folds": "own"}
    raw = plan(audit=audit)
    results = run({"": parse_plan(raw, "plan")}, tmp_path, threads=1)
    measured = next(one.measures for one in results.summaries if one.method == "out_of_fold")
    assert "attack/u-lira/auc/photo" in measured
    arm = arm_of(raw, tmp_path)
    assert all(arm.store.has(one) and arm.store.bill(one)["faces"] for one in all_stages(arm.shadows))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    (tmp_path / "results.json").unlink()
    run({"": parse_plan(raw, "plan")}, tmp_path, threads=1)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == before


def test_seeds_have_their_own_and_settings_are_laid_over(tmp_path: Path) -> None:
    arm = arm_of(plan(seeds=[0, 1]), tmp_path)
    assert [(one.name, one.seed) for one in arm.teachers] == [
        (f"fold {fold} of 2", seed) for seed in (0, 1) for fold in (1, 2)
    ]
    narrow = arm_of(plan(folds={"count": 2, "model": {"hidden": 4}, "train": {"epochs": 1}}), tmp_path)
    assert narrow.teachers[0].settings["epochs"] == 1
    assert narrow.teachers[0].network.about["model_settings"]["hidden"] == 4
    assert narrow.stage("original", 0).settings["epochs"] == 3
    assert narrow.stage("original", 0).network.about["model_settings"]["hidden"] == 16
    assert narrow.resolved.filled()["folds"]["train"]["epochs"] == 1
    one, other = arm.stage("out_of_fold", 0), narrow.stage("out_of_fold", 0)
    assert one.signature != other.signature, "what it learned from is another model"
    assert arm.stage("original", 0).signature == narrow.stage("original", 0).signature


def test_the_upper_bound_learns_from_the_reference_of_another_seed(tmp_path: Path) -> None:
    methods = {"upper bound": {"use": "out_of_fold", "teacher": "reference", "steps": 2}}
    raw = {name: part for name, part in plan(seeds=[0, 1], methods=methods).items() if name != "folds"}
    arm = arm_of(raw, tmp_path)
    assert arm.stage("upper bound", 0).teachers[0].signature == arm.stage("reference", 1).signature
    assert arm.stage("upper bound", 1).teachers[0].signature == arm.stage("reference", 0).signature
    alone = arm_of(raw | {"seeds": [5]}, tmp_path)
    assert [(one.name, one.seed) for one in alone.teachers] == [("reference", 6)]


@pytest.mark.parametrize("raw", [plan(), recognising()], ids=["eyes", "recognition"])
def test_a_run_bills_them_apart_and_makes_none_twice(raw: dict[str, Any], tmp_path: Path) -> None:
    raw["methods"] = raw["methods"] | {"finetune": {"epochs": 1}}
    results = run({"": parse_plan(raw, "plan")}, tmp_path, threads=1)
    costs = {one.method: one.cost for one in results.evaluations}
    trained = costs["original"].faces
    assert costs["out_of_fold"].folds_faces == pytest.approx(trained, rel=0.05), "two halves are one whole"
    assert costs["out_of_fold"].folds_of_retraining == costs["out_of_fold"].folds_faces / costs["reference"].faces  # type: ignore[operator]
    assert costs["finetune"].folds_faces is None
    folds = sorted((tmp_path / "models").glob("fold-*.safetensors"))
    assert len(folds) == 2
    times = [one.stat().st_mtime_ns for one in folds]
    another = raw | {"forget": {"people": 9}}
    run({"": parse_plan(another, "plan")}, tmp_path, threads=1)
    assert sorted((tmp_path / "models").glob("fold-*.safetensors")) == folds
    assert [one.stat().st_mtime_ns for one in folds] == times


# What is refused


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"folds": None}, "methods.out_of_fold learns from models of folds, and the plan has no [folds]"),
        ({"methods": {"finetune": {}}}, "no method of this plan learns from"),
        ({"folds": {"train": {"epocs": 1}}}, "folds.train: unknown setting 'epocs'"),
        ({"folds": {"model": {"hiden": 1}}}, "unknown setting 'hiden'"),
        ({"methods": {"out_of_fold": {"search": {"teacher": ["folds", "public"]}}}}, "teacher cannot be searched"),
    ],
)
def test_folds_that_cannot_serve_are_refused(changes: dict[str, Any], said: str) -> None:
    raw = {name: part for name, part in plan(**changes).items() if part is not None}
    assert said in refusal(resolve, parse_plan(raw, "plan"), "plan")


def test_one_fold_and_more_folds_than_pairs_of_people_are_refused(tmp_path: Path) -> None:
    assert "folds.count" in refusal(parse_plan, plan(folds={"count": 1}), "plan")
    assert "give at most" in refusal(arm_of, plan(folds={"count": 30}), tmp_path)
