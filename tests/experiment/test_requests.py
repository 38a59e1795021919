"""Requests in rounds, by the first photos, by a column; pretrained starts; and what a reader is warned of."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import faces_of, key, refusal
from efface.data.split import requested, split_faces
from efface.experiment.arm import in_turn
from efface.experiment.request import division, warnings_of
from efface.experiment.run import run
from efface.models.load import read_weights, save_weights
from efface.models.resnet import resnet18
from efface.plan.file import parse_plan, read_plan
from efface.plan.tables import Forget, Plan, Split
from efface.report.markdown import markdown
from efface.results import Results, read_results
from efface.tasks import TASKS

FACES = faces_of({"A": 30, "B": 10})


def test_each_round_adds_people_and_the_last_is_the_whole_request() -> None:
    whole = split_faces(FACES, Split(), Forget(share=0.5))
    rounds = [split_faces(FACES, Split(), Forget(share=0.5, rounds=3, round=number)) for number in (1, 2, 3)]
    asked = [set(one.forget.identities) for one in rounds]
    assert asked[0] < asked[1] < asked[2]
    assert asked[2] == set(whole.forget.identities)
    for one in rounds:
        assert set(one.test.keys) == set(whole.test.keys), "who judges stays"
        assert len(one.forget) + len(one.retain) == len(whole.forget) + len(whole.retain)


def test_a_method_is_handed_only_who_is_new() -> None:
    rounds = [split_faces(FACES, Split(), Forget(share=0.5, rounds=3, round=number)) for number in (1, 2, 3)]
    materials = in_turn(rounds)
    faces_used = [set(data.forget.keys) for data in materials]
    assert not faces_used[0] & faces_used[1]
    assert not (faces_used[0] | faces_used[1]) & faces_used[2]
    assert faces_used[0] | faces_used[1] | faces_used[2] == set(rounds[2].forget.keys)
    for data, splits in zip(materials, rounds, strict=True):
        assert set(data.retain.keys) == set(splits.retain.keys)


def test_more_rounds_than_people_are_refused() -> None:
    assert "cannot come in 9 rounds" in refusal(split_faces, FACES, Split(), Forget(people=4, rounds=9))


def test_the_first_photos_wherever_that_cuts() -> None:
    turn = requested(FACES, Forget(first=7), 0)
    assert np.flatnonzero(turn).tolist() == list(range(7))
    assert FACES.identities[6] == FACES.identities[7], "the fourth person is cut through"
    assert requested(FACES, Forget(first=7, rounds=2), 0)[:8].tolist() == [1, 1, 1, 1, 2, 2, 2, 0]


def test_where_a_column_says_so() -> None:
    marked = np.isin(FACES.identities, ["A1", "B2"])
    turn = requested(FACES, Forget(where={"request": ("forget",)}), 0, marked)
    assert set(FACES.identities[turn > 0]) == {"A1", "B2"}
    nobody = np.zeros(len(FACES), bool)
    assert "no trained face has" in refusal(requested, FACES, Forget(where={"request": ("forget",)}), 0, nobody)


@pytest.mark.parametrize(
    ("forget", "complaint"),
    [
        ({"first": 3, "share": 0.1}, "exactly one of"),
        ({"first": 3, "group": "A"}, "leave out group"),
        ({"where": {"a": ["b"]}, "group": "A"}, "leave out group"),
        ({"quality": "q.csv", "rounds": 2}, "comes at once"),
        ({"share": 0.1, "rounds": 2, "round": 3}, "round 3 of 2"),
    ],
)
def test_requests_that_contradict_themselves(forget: dict[str, Any], complaint: str) -> None:
    assert complaint in refusal(parse_plan, {**PLAN, "forget": forget}, "plan")


PLAN: dict[str, Any] = {
    "task": "classes",
    "goal": "influence removed",
    "seeds": [0],
    "data": {"name": "synthetic", "people": 120, "photos_per_person": 2, "size": [16, 16], "label": "age"},
    "forget": {"share": 0.3},
    "model": {"name": "resnet18", "width": 4, "stem": "small"},
    "train": {"epochs": 2},
    "methods": {"finetune": {"epochs": 1}},
}
TOML = """
task = "classes"
goal = "influence removed"
seeds = [0, 1]
data = { name = "synthetic", people = 120, photos_per_person = 2, size = [16, 16], label = "age" }
forget = { share = 0.3, rounds = 2 }
model = { name = "resnet18", width = 4, stem = "small" }
train = { epochs = 2, augment = "flip" }
[methods.finetune]
epochs = 1
[methods.piu_fr]
epochs = 1
[methods."piu_fr, repaired"]
use = "finetune"
after = "piu_fr"
epochs = 1
[methods."handed the attack's strangers"]
use = "piu_fr"
public = "strangers"
epochs = 1
[methods."and after it"]
use = "finetune"
after = "handed the attack's strangers"
epochs = 1
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rounds")
    (folder / "plan.toml").write_text(TOML)
    run(read_plan(folder / "plan.toml"), folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def results(out: Path) -> Results:
    return read_results(out)


@pytest.mark.slow
def test_a_plan_in_rounds_is_an_arm_per_round(results: Results) -> None:
    assert [request.arm for request in results.requests] == ["round 1", "round 2"]
    assert [request.round for request in results.requests] == [1, 2]
    forgotten = [sum(request.people["forget"].values()) for request in results.requests]
    assert forgotten[0] < forgotten[1]


@pytest.mark.slow
def test_a_method_goes_on_from_its_own_last_round(results: Results, out: Path) -> None:
    last = {one.method: one for one in results.evaluations if one.arm == "round 2" and one.seed == 0}
    assert last["piu_fr"].stages == ["original", "piu_fr"]
    assert last["piu_fr, repaired"].stages == ["original", "piu_fr", "piu_fr"]
    assert last["reference"].stages == []
    first = {one.method: one for one in results.evaluations if one.arm == "round 1" and one.seed == 0}
    assert last["piu_fr"].cost.faces > first["piu_fr"].cost.faces
    originals = list((out / "models").glob("original-seed0-*.safetensors"))
    assert len(originals) == 1, "every round has the same original"
    assert len(list((out / "models").glob("piu-fr-seed0-*.safetensors"))) == 2


@pytest.mark.slow
def test_those_of_the_first_round_are_measured_again_after_the_second(results: Results) -> None:
    """In round 1 they are all there is; in round 2 both rounds' faces together are the forgotten."""
    rows = {(one.arm, one.method): one.measures for one in results.evaluations if one.seed == 0}
    first, then = rows["round 1", "piu_fr"], rows["round 2", "piu_fr"]
    assert first[key("reversal/error/round 1")].value == first[key("error/forget/all")].value
    assert first[key("reversal/auc/round 1")].value == first[key("membership/auc/photo")].value
    assert "reversal/auc/round 2" not in first
    earlier, later, both = (
        then[key(name)].value or 0.0
        for name in ("reversal/error/round 1", "reversal/error/round 2", "error/forget/all")
    )
    assert min(earlier, later) <= both <= max(earlier, later)


@pytest.mark.slow
def test_a_chain_that_was_handed_its_judges_is_marked_to_its_end(results: Results, out: Path) -> None:
    marked = {one.method for one in results.summaries if one.trained_on_nonmembers}
    assert marked == {"handed the attack's strangers", "and after it"}
    assert {one.method for one in results.evaluations if one.trained_on_nonmembers} == marked
    table = markdown(read_results(out))
    lines = [line for line in table.splitlines() if "handed the non-members" in line]
    assert lines
    assert all(any(f"| {name} (" in line for name in marked) for line in lines)


@pytest.mark.slow
def test_the_mix_of_classes_stands_beside_the_sizes(results: Results) -> None:
    for request in results.requests:
        for split, mix in request.class_mix.items():
            assert sum(mix.values()) == sum(request.faces[split].values())
    (line,) = [one for one in division(results.requests[0]) if one.startswith("forget:")]
    assert re.fullmatch(r"forget: \d+ faces of \d+ people; .*\d+%", line)


@pytest.mark.slow
def test_the_report_shows_drift_faces_and_the_warning(out: Path) -> None:
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Successive requests" in page
    assert "error on all forgotten so far" in page
    assert "was trained on the non-members that the attack is scored with" in page
    assert "Losses by class" in page
    assert "is: 20-29" in page


@pytest.mark.slow
def test_rte_is_retrainings_cpu_seconds_over_the_rows(results: Results) -> None:
    for one in results.evaluations:
        if one.method in ("original", "constant prediction"):
            assert one.cost.rte is None
        else:
            assert one.cost.rte is not None
            assert one.cost.cpu_of_retraining is not None
            assert one.cost.rte * one.cost.cpu_of_retraining == pytest.approx(1)


@pytest.mark.slow
def test_every_measure_of_the_benchmark_is_there(results: Results) -> None:
    measures = results.evaluations[0].measures
    assert {
        "benchmark/attack",
        "benchmark/forgetting",
        "benchmark/forgetting floor",
        "benchmark/nomus",
        "benchmark/js",
        "accuracy/forget/all",
        "top2/test/all",
        "loss/strangers/all",
    } <= set(measures)
    assert results.requests[0].classes == ["20-29", "30-39", "40-49", "50-59", "60-69"]


@pytest.mark.slow
def test_training_starts_from_a_pretrained_file_for_both_or_for_the_original_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    lender = resnet18((1, 16, 16), 1000, width=4, stem="small")
    file = tmp_path / "lender.safetensors"
    save_weights(lender, file, {})

    def conv1(method: str, out: Path) -> np.ndarray:
        (found,) = (out / "models").glob(f"{method}-seed0-*.safetensors")
        return read_weights(found)[0]["conv1.weight"].numpy()

    for whom, near in (("both", ("original", "reference")), ("original", ("original",))):
        model = {**PLAN["model"], "pretrained": str(file), "pretrained_for": whom}
        plan = parse_plan({**PLAN, "model": model, "train": {"epochs": 1, "lr": 1e-6}, "methods": {}}, "plan")
        run({"": plan}, tmp_path / whom)
        for method in ("original", "reference"):
            close = np.allclose(conv1(method, tmp_path / whom), lender.conv1.weight.detach().numpy(), atol=1e-3)
            assert close == (method in near)
        assert bool(warnings_of(plan, TASKS[plan.task])) == (whom == "original")


def test_a_reader_is_warned_of_a_cut_person() -> None:
    plan: Plan = parse_plan({**PLAN, "forget": {"first": 10}}, "plan")
    assert "of one person some photos may be retained" in warnings_of(plan, TASKS[plan.task])[0]


def test_weights_and_pretrained_exclude_each_other() -> None:
    model = {**PLAN["model"], "pretrained": "a.pth", "weights": "b.pth"}
    assert "give one" in refusal(parse_plan, {**PLAN, "model": model}, "plan")
