"""Shadows: who is in them, that they are made alike however they are made, and what the audit concludes from them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import faces_of, key, refusal
from efface.data.batches import BatchLoader
from efface.data.faces import together
from efface.data.split import split_faces
from efface.errors import InputError
from efface.experiment.arm import Arm, set_up
from efface.experiment.resolve import resolve
from efface.experiment.run import run
from efface.experiment.shadows import (
    all_stages,
    asked_to_forget,
    audited_people,
    forgotten_in_turn,
    halves,
    splits_as_if,
    way_of,
)
from efface.experiment.stacked import train_stacked
from efface.experiment.workers import Order, make_shadows
from efface.models import MODELS
from efface.plan.file import parse_plan, read_plan
from efface.plan.tables import Forget, Split
from efface.progress import Progress
from efface.results import CONSTANT, NONMEMBERS, SECOND_REFERENCE, Results, read_results
from efface.tasks import TASKS
from efface.testing import tiny_problem
from efface.training.environment import deterministic_torch, environment
from efface.training.train import train

AUDITED = """
task = "eyes"
goal = "influence removed"
seeds = [0]
data = { name = "synthetic", people = 120, photos_per_person = 2, size = [24, 24] }
split = { strangers = 0.25, test = 0.2 }
forget = { share = 0.4 }
model = { name = "eyenet", widths = [4, 6, 8], hidden = 16 }
train = { epochs = 3 }
[methods.ascent]
use = "neggrad"
[methods."ascent, stabilised"]
use = "finetune"
after = "ascent"
epochs = 1
[audit]
shadows = 10
unlearn = ["ascent, stabilised"]
relearn = true
[accept]
"attack/lira/auc/photo" = { within = 0.2 }
"normalised_error/test/all" = { at_most = 2.0 }
"""


# Who is in them


def test_each_pair_of_shadows_has_every_person_in_question_once() -> None:
    splits = split_faces(faces_of({"A": 60, "B": 21}), Split(), Forget(share=0.3))
    people = audited_people(splits)
    assert set(people.names) == {*splits.forget.identities, *splits.strangers.identities}
    included = halves(people, 6, 0)
    for pair in range(0, 6, 2):
        assert (included[pair] ^ included[pair + 1]).all()
        for stratum in np.unique(people.strata):
            inside = included[pair, people.strata == stratum]
            assert abs(inside.sum() - (~inside).sum()) <= 1
    assert (included[0] != included[2]).any()
    assert np.array_equal(halves(people, 2, 0), included[:2])


def test_a_shadow_is_divided_as_if_its_people_were_the_forgotten() -> None:
    splits = split_faces(faces_of({"A": 60}), Split(), Forget(share=0.3))
    chosen = frozenset([splits.forget.identities[0], splits.strangers.identities[0]])
    mine = splits_as_if(splits, chosen)
    assert set(mine.forget.identities) == chosen
    assert not chosen & set(mine.strangers.identities)
    assert set(together(mine.forget, mine.strangers).keys) == {*splits.forget.keys, *splits.strangers.keys}
    assert np.array_equal(mine.retain.keys, splits.retain.keys)
    assert not len(mine.test)


def test_a_shadow_forgets_no_more_people_than_the_original() -> None:
    splits = split_faces(faces_of({"A": 100}), Split(strangers=0.4), Forget(people=5))
    people = audited_people(splits)
    mine = splits_as_if(splits, frozenset(people.names[halves(people, 2, 0)[0]].tolist()))
    gone = forgotten_in_turn(np.unique(mine.forget.identities), np.array(["x"]), 5, 1, 7)[0].gone
    asked = asked_to_forget(mine, gone)
    assert set(asked.forget.identities) == gone
    assert len(gone) == 5
    kept = set(mine.forget.identities) - gone
    assert kept
    assert set(asked.retain.identities) == kept | set(splits.retain.identities)
    (everybody,) = forgotten_in_turn(np.unique(mine.forget.identities), np.array(["x"]), 10_000, 3, 7)
    assert np.array_equal(asked_to_forget(mine, everybody.gone).retain.keys, splits.retain.keys)


def test_a_shadow_forgets_several_sets_and_nobody_twice() -> None:
    mine, others = np.array([f"in {one}" for one in range(17)]), np.array([f"out {one}" for one in range(18)])
    sets = forgotten_in_turn(mine, others, 5, 4, 7)
    assert [len(one.gone) for one in sets] == [5, 5, 5], "a fourth set would be smaller than the forgotten"
    assert len(frozenset.union(*(one.gone for one in sets))) == 15
    assert sorted(name for one in sets for name in one.never) == sorted(others), "each beside one set"
    assert {len(one.never) for one in sets} == {6}
    assert forgotten_in_turn(mine, others, 5, 1, 7)[0].gone == sets[0].gone, "more sets leave the first as it was"


def test_the_way_is_chosen_by_what_is_fastest() -> None:
    assert way_of("auto", TASKS["eyes"], "cpu", 2) == "processes"
    assert way_of("auto", TASKS["eyes"], "cpu", 1) == "in turn"
    assert way_of("auto", TASKS["eyes"], "cuda", 2) == "stacked"
    assert way_of("auto", TASKS["recognition"], "cuda", 2) == "in turn"
    assert "does not work on task 'recognition'" in refusal(way_of, "stacked", TASKS["recognition"], "cpu", 2)


# How they are made


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.stackable])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_stack_trains_each_network_as_it_would_train_alone(name: str, accumulate: int) -> None:
    task = TASKS[name]
    model, settings = task.smallest_model
    splits, _ = tiny_problem(task)
    faces = splits.retain[np.arange(48)]
    classes = int(splits.retain.targets.max()) + 1 if name == "classes" else 2
    recipe: dict[str, Any] = {
        "epochs": 1,
        "lr": 1e-3,
        "batch": 16,
        "weight_decay": 0.0,
        "optimiser": "sgd",
        "milestones": (),
        "augment": "none",
        "accumulate": accumulate,
    }

    def untrained(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return MODELS[model](faces.shape, classes, **settings)

    with deterministic_torch(torch.device("cpu"), 1):
        stack = [untrained(seed) for seed in range(3)]
        train_stacked(stack, task, [faces] * 3, [BatchLoader(torch.device("cpu"), seed) for seed in range(3)], **recipe)
        alone = train(untrained(1), task, faces, BatchLoader(torch.device("cpu"), 1), **recipe)
    for ours, theirs in zip(stack[1].state_dict().values(), alone.state_dict().values(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)


def arm_of(out: Path, **audit: Any) -> tuple[Arm, dict[str, Any]]:
    plan = parse_plan(tomllib.loads(AUDITED) | {"audit": {"shadows": 4, **audit}}, "plan")
    device = torch.device("cpu")
    machine = environment(device, 2)
    order = Order({"": plan}, out, device, machine)
    return set_up("", resolve(plan, "plan"), out, device, machine, Progress()), {"order": order, "progress": Progress()}


@pytest.mark.slow
def test_processes_make_what_one_after_the_other_makes(tmp_path: Path) -> None:
    weights = {}
    for way in ("processes", "alone"):
        arm, rest = arm_of(tmp_path / way, train="processes")
        with deterministic_torch(torch.device("cpu"), 1):
            if way == "processes":
                make_shadows([arm], **rest)
            else:
                for stage in all_stages(arm.shadows):
                    arm.store.make(stage)
        weights[way] = [arm.store.weights(stage) for stage in all_stages(arm.shadows)]
    for ours, theirs in zip(weights["processes"], weights["alone"], strict=True):
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert any((weights["alone"][0][name] != weights["alone"][1][name]).any() for name in weights["alone"][0])


def test_a_stack_stands_on_the_shelf_like_any_other(tmp_path: Path) -> None:
    arm, rest = arm_of(tmp_path, train="stacked")
    with deterministic_torch(torch.device("cpu"), 1):
        make_shadows([arm], **rest)
    assert all(arm.store.has(shadow.stage) and arm.store.bill(shadow.stage)["faces"] > 0 for shadow in arm.shadows)


def test_a_process_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arm, rest = arm_of(tmp_path)
    wrong = rest["order"].plans[""].model_copy(update={"task": "no such task"})
    rest["order"] = replace(rest["order"], plans={"": wrong})
    with pytest.raises(InputError, match="no such task"):
        make_shadows([arm], **rest)


# What is concluded


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audited")
    (folder / "plan.toml").write_text(AUDITED)
    run(read_plan(folder / "plan.toml"), folder / "out")
    return folder


@pytest.fixture(scope="module")
def results(audited: Path) -> Results:
    return read_results(audited / "out")


@pytest.mark.slow
def test_every_attack_is_made_on_every_row_and_on_the_reference(results: Results) -> None:
    attacks = {"loss", "worse eye", "eye distance", "logistic", "forest", "rmia", "lira"}
    for one in (row for row in results.summaries if row.method != "constant prediction"):
        for name in attacks:
            for question in ("auc", "balanced_accuracy", "tpr_at_1%_fpr", "tpr_at_0.1%_fpr", "auc/against reference"):
                for level in ("photo", "person"):
                    assert f"attack/{name}/{question}/{level}" in one.measures, (one.method, name, question)
        assert ("attack/u-lira/auc/photo" in one.measures) == (one.method != "ascent"), "and on the controls"
        assert ("epsilon/mean" in one.measures) == (one.method in ("original", "ascent, stabilised"))
        assert {"completeness", "distance/tow", "distance/nearer", "relearn/steps"} <= set(one.measures)
    assert SECOND_REFERENCE in {one.method for one in results.summaries}, "one seed, and yet there is a floor"


@pytest.mark.slow
def test_the_original_knows_the_forgotten_at_once(results: Results) -> None:
    rows = {one.method: one.measures for one in results.summaries}
    assert rows["original"][key("relearn/steps")].value == 0
    assert rows["reference"][key("relearn/ain")].value == 1


@pytest.mark.slow
def test_verdicts_stand_beside_their_controls(results: Results) -> None:
    found = {one.method: one.must for one in results.verdicts}
    assert found == {
        "original": "fail",
        SECOND_REFERENCE: "pass",
        NONMEMBERS: "pass",
        CONSTANT: "fail",
        "ascent": None,
        "ascent, stabilised": None,
    }
    assert results.thresholds is not None
    assert results.thresholds.sha256 == results.thresholds.first_sha256


@pytest.mark.slow
def test_the_report_shows_them(audited: Path) -> None:
    page = (audited / "out" / "report.html").read_text(encoding="utf-8")
    for heading in (
        "Acceptance criteria",
        "Membership attacks and distances",
        "ROC of the strongest attack",
        "Exposure of single people",
    ):
        assert heading in page
    assert "negative control: non-members" in page
    assert "but these are not the thresholds" not in page


@pytest.mark.slow
def test_the_same_again_does_no_work(audited: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (audited / "out").rglob("*.safetensors")}
    assert sum("shadow" in path.name for path in before) == 10
    run(read_plan(audited / "plan.toml"), audited / "out")
    assert {path: path.stat().st_mtime_ns for path in (audited / "out").rglob("*.safetensors")} == before


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_thresholds_that_are_moved_afterwards_are_shown(audited: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(AUDITED.replace("within = 0.2", "within = 0.9"))
    out = audited / "out"
    kept = (out / "results.json").read_bytes(), (out / "report.html").read_bytes()
    moved = run(read_plan(tmp_path / "plan.toml"), out)
    assert moved.thresholds is not None
    assert moved.thresholds.sha256 != moved.thresholds.first_sha256
    assert "but these are not the thresholds" in (out / "report.html").read_text(encoding="utf-8")
    (out / "results.json").write_bytes(kept[0])
    (out / "report.html").write_bytes(kept[1])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_run_leaves_no_process_and_goes_on(audited: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "efface", "run", str(audited / "plan.toml"), "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not list(out.glob("models/shadow*")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    again = run(read_plan(audited / "plan.toml"), out)
    assert [one.measures for one in again.summaries] == [
        one.measures for one in read_results(audited / "out").summaries
    ]


# Confusion of two classes


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_classes_confused_before_training_stay_confused_in_the_original_alone(tmp_path: Path) -> None:
    plan = {
        "task": "classes",
        "goal": "influence removed",
        "seeds": [0],
        "data": {"name": "synthetic", "people": 300, "photos_per_person": 1, "size": [24, 24], "label": "glasses"},
        "forget": {"share": 0.3, "confuse": ["0", "1"]},
        "train": {"epochs": 14, "lr": 3e-3},
        "model": {"name": "resnet18", "width": 4, "stem": "small"},
        "methods": {},
    }
    names = [
        str(name)
        for name in run({"": parse_plan(plan | {"forget": {"share": 0.3}}, "plan")}, tmp_path / "plain")
        .requests[0]
        .classes
    ]
    plan["forget"] = {"share": 0.3, "confuse": names}
    rows = {one.method: one.measures for one in run({"": parse_plan(plan, "plan")}, tmp_path / "out").evaluations}
    held = {name: rows[name][key("confusion/forget")].value for name in ("original", "reference")}
    assert held["original"] is not None
    assert held["reference"] is not None
    assert held["original"] > held["reference"]
    message = refusal(
        run, {"": parse_plan(plan | {"forget": {"share": 0.3, "confuse": ["x", names[0]]}}, "plan")}, tmp_path / "out"
    )
    assert "nobody who is to be forgotten has the class 'x'" in message
