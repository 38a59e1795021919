"""Forgetting without harming a group: what REWEIGHT draws, how groups are found, what a skew asks, what a search keeps,
and whether each method does what it is for."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from conftest import faces_of, loaded, packed, plan_with, refusal
from efface.data.batches import BatchLoader
from efface.data.faces import Faces, Images, MethodData
from efface.data.split import split_faces
from efface.experiment.arm import in_turn
from efface.experiment.run import run
from efface.experiment.search import best_of, candidate_of
from efface.methods.group_distillation import as_trained, group_distillation
from efface.methods.group_dro import group_dro
from efface.methods.miu import Estimator, miu
from efface.methods.rebalance import rebalance
from efface.models.depths import Tap
from efface.plan.file import parse_plan, read_plan
from efface.plan.tables import Forget, Split
from efface.report.markdown import markdown
from efface.results import Candidate, read_results
from efface.tasks import TASKS
from efface.testing import tiny_problem
from efface.training.environment import deterministic_torch
from efface.training.reweight import cells, reweighted

CPU = torch.device("cpu")
EYES, CLASSES = TASKS["eyes"], TASKS["classes"]


def divided(**forget: Any) -> tuple[Faces, Faces]:
    """(forget, retain) of forty people of A and twenty of B."""
    splits = split_faces(faces_of({"A": 40, "B": 20}), Split(), Forget(**forget))
    return splits.forget, splits.retain


# REWEIGHT


def test_each_retained_face_counts_for_the_trained_of_its_group() -> None:
    forget, retain = divided(group="B", share=0.5)
    weights = reweighted(retain, forget, EYES).weights
    assert weights is not None
    for group in "AB":
        trained = (forget.groups == group).sum() + (retain.groups == group).sum()
        assert weights[retain.groups == group].sum() == pytest.approx(trained)


def test_where_classes_are_answered_a_group_is_one_of_a_class() -> None:
    forget, retain = divided(group="B", share=0.5)
    labelled = [replace(faces, targets=np.arange(len(faces)) % 3) for faces in (forget, retain)]
    weights = reweighted(labelled[1], labelled[0], CLASSES).weights
    assert weights is not None
    gone, left = (cells(faces, CLASSES) for faces in labelled)
    for cell in np.unique(left):
        assert weights[left == cell].sum() == pytest.approx((gone == cell).sum() + (left == cell).sum())


def test_a_pass_over_reweighted_faces_draws_groups_as_before_the_forgetting() -> None:
    forget, retain = divided(group="B", share=0.8)
    faces = reweighted(retain, forget, EYES)
    before = Counter([*forget.groups.tolist(), *retain.groups.tolist()])
    drawn: Counter[str] = Counter()
    loader = BatchLoader(CPU, 0)
    for _ in range(200):
        for batch in loader(faces, batch=8):
            drawn.update(faces.groups[batch.rows].tolist())
    assert drawn["B"] / sum(drawn.values()) == pytest.approx(before["B"] / sum(before.values()), abs=0.03)


def test_weights_stay_with_their_faces() -> None:
    forget, retain = divided(group="B", share=0.5)
    faces = reweighted(retain, forget, EYES)
    some = faces[np.array([3, 1])]
    assert faces.weights is not None
    assert some.weights is not None
    assert some.weights.tolist() == faces.weights[[3, 1]].tolist()


def test_one_group_alone_has_no_mix_to_keep() -> None:
    forget, retain = divided(share=0.5)
    alone = [replace(faces, groups=np.full(len(faces), "")) for faces in (forget, retain)]
    assert "data.group_by" in refusal(reweighted, alone[1], alone[0], EYES)


# Groups that nobody knows, and requests that lean to one


def test_groups_predicted_elsewhere_are_called_predicted(tmp_path: Path) -> None:
    source = {"name": "packed", "path": packed(tmp_path / "packed")}
    table = pd.DataFrame({"key": ["a1", "a2", "b1", "b2", "c1", "c2"], "group": list("xxyyxy")})
    table.to_csv(tmp_path / "groups.csv", index=False)
    found = loaded(source | {"group_file": tmp_path / "groups.csv"})
    assert found.faces.groups.tolist() == [
        f"predicted {table.set_index('key').loc[key, 'group']}" for key in found.faces.keys
    ]
    table[1:].to_csv(tmp_path / "fewer.csv", index=False)
    assert "'a1'" in refusal(loaded, source | {"group_file": tmp_path / "fewer.csv"})
    (tmp_path / "bad.csv").write_text("key,colour\na1,x\n")
    assert "'group'" in refusal(loaded, source | {"group_file": tmp_path / "bad.csv"})
    assert "does not exist" in refusal(loaded, source | {"group_file": tmp_path / "none.csv"})


def test_a_group_of_some_and_everyone_else(tmp_path: Path) -> None:
    source = {"name": "packed", "path": packed(tmp_path / "packed")}
    found = loaded(source | {"group_where": {"race": ["White"], "age": ["40"]}})
    assert found.faces.groups.tolist() == ["everyone else"] * 2 + ["White, 40"] + ["everyone else"] * 3
    assert "no face has 'Whit'" in refusal(loaded, source | {"group_where": {"race": ["Whit"]}})


def test_traits_stand_beside_groups(tmp_path: Path) -> None:
    source = {"name": "packed", "path": packed(tmp_path / "packed")}
    found = loaded(source | {"group_by": "race", "also_by": ["age", "person"]})
    assert found.faces.traits is not None
    assert found.faces.traits[2].tolist() == ["age 40", "person Bob"]
    assert "no column 'ago'" in refusal(loaded, source | {"also_by": ["ago"]})


def test_clusters_find_pictures_that_look_alike_and_keep_people_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(40), 2)
    dark = people % 2
    images = np.where(dark[:, None, None, None], 40, 200) + rng.integers(-20, 20, (80, 1, 12, 12))
    from efface.preparation.packed import write_packed

    table = pd.DataFrame(
        {
            "key": [f"k{row}" for row in range(80)],
            "person": [f"p{one}" for one in people],
            **dict.fromkeys(("left_x", "left_y"), 6.0),
            **dict.fromkeys(("right_x", "right_y"), 3.0),
        }
    )
    write_packed(
        tmp_path / "packed",
        [images.astype(np.uint8)],
        table,
        shape=(1, 12, 12),
        about={"name": "test", "title": "", "licence": "", "home": ""},
    )
    found = loaded({"name": "packed", "path": tmp_path / "packed", "group_clusters": 2}).faces
    assert set(found.groups) == {"cluster 1", "cluster 2"}
    assert {len(set(found.groups[dark == one])) for one in (0, 1)} == {1}
    source = {"name": "packed", "path": tmp_path / "packed", "group_clusters": 5}
    assert "at most 4" in refusal(loaded, source)


def test_two_ways_to_group_exclude_each_other() -> None:
    data = {"name": "synthetic", "group": "x", "group_clusters": 2}
    assert "exclude each other" in refusal(parse_plan, plan_with(data=data), "plan")


@pytest.mark.parametrize("skew", [0.0, 0.25, 0.5, 1.0])
def test_a_skew_says_how_many_of_the_forgotten_are_of_the_group(skew: float) -> None:
    forget, _ = divided(group="B", people=8, skew=skew, whole_group=True)
    people = dict(zip(forget.identities.tolist(), forget.groups.tolist(), strict=True))
    assert Counter(people.values()) == Counter({"B": round(8 * skew), "A": 8 - round(8 * skew)})


def test_a_higher_skew_keeps_those_of_a_lower_one() -> None:
    low, high = (set(divided(group="B", people=8, skew=skew, whole_group=True)[0].identities) for skew in (0.25, 0.75))
    assert {one for one in low if one.startswith("B")} <= high
    assert {one for one in high if one.startswith("A")} <= low


@pytest.mark.parametrize(
    ("forget", "said"),
    [
        ({"people": 4, "skew": 0.5}, "give group, people"),
        ({"group": "B", "share": 0.5, "skew": 0.5}, "give group, people"),
        ({"group": "B", "people": 4, "skew": 1.5}, "no share"),
        ({"group": "B", "people": 4, "skew": []}, "a skew or more"),
    ],
)
def test_a_skew_that_cannot_be_meant_is_refused(forget: dict[str, Any], said: str) -> None:
    assert said in refusal(parse_plan, plan_with(forget=forget), "plan")


def test_more_of_the_group_than_there_are_is_refused() -> None:
    faces = faces_of({"A": 40, "B": 20})
    message = refusal(split_faces, faces, Split(), Forget(group="B", people=14, skew=1.0))
    assert "takes 14 of group 'B', and 8 of these" in message


def test_several_skews_are_an_arm_each(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text("""
task = "eyes"
goal = "influence removed"
data = { name = "synthetic" }
forget = { group = "B", people = 8, skew = [0.1, 0.9] }
model = { name = "eyenet" }
""")
    plans = read_plan(tmp_path / "plan.toml")
    assert {name: plan.forget.skew for name, plan in plans.items()} == {"skew 10%": 0.1, "skew 90%": 0.9}


def test_some_of_those_that_where_means() -> None:
    faces = faces_of({"A": 40, "B": 20})
    marked = np.char.startswith(faces.identities, "A")
    splits = split_faces(faces, Split(), Forget(where={"x": ("1",)}, share=0.5), marked=marked)
    assert set(splits.forget.groups) == {"A"}
    assert len(np.unique(splits.forget.identities)) == 8


# Methods


class Constant(nn.Module):
    """Answers every class alike with weights of its own per group, told apart by the first pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(2, 2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits[(images[:, 0, 0, 0] > 0).long()]


def bright_and_dark(bright: int, dark: int, wrong: int) -> Faces:
    """Faces of class 1; of the dark group so many are labelled 0."""
    images = np.zeros((bright + dark, 1, 8, 8), np.uint8)
    images[:bright] = 255
    targets = np.ones(bright + dark, np.int64)
    targets[bright : bright + wrong] = 0
    names = np.arange(bright + dark).astype(str)
    return Faces(
        Images(images, np.arange(bright + dark)), targets, names, np.array(["bright"] * bright + ["dark"] * dark), names
    )


def test_group_dro_serves_a_small_group_that_plain_training_neglects() -> None:
    retain = bright_and_dark(bright=190, dark=10, wrong=0)
    shared = replace(retain, targets=np.where(retain.groups == "dark", 0, 1))

    class Shared(nn.Module):
        """One answer for all: serving one group costs the other."""

        def __init__(self) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.zeros(2))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.logits.expand(len(images), 2)

    data = MethodData(shared[:0], shared, shared[:0])
    worst = {}
    for name, method in (("plain", rebalance), ("dro", group_dro)):
        torch.manual_seed(0)
        settings: dict[str, Any] = {"weight": 1.0} if name == "plain" else {}
        given = replace(data, forget=shared[:1]) if name == "plain" else data
        model = method(Shared(), CLASSES, given, BatchLoader(CPU, 0), lr=0.05, epochs=10, batch=20, **settings)
        losses = (
            nn.functional.cross_entropy(
                model(torch.zeros(200, 1, 8, 8)), torch.from_numpy(shared.targets), reduction="none"
            )
            .detach()
            .numpy()
        )
        worst[name] = max(losses[shared.groups == group].mean() for group in ("bright", "dark"))
    assert worst["dro"] < 0.8 < 1.5 < worst["plain"]


@pytest.mark.slow
def test_mine_finds_what_features_tell_of_groups() -> None:
    group = torch.arange(400) % 4

    class Says(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images

    def told(features: torch.Tensor) -> float:
        torch.manual_seed(0)
        tap = Tap(features)
        one = Estimator(Says(), tap, 4, 64, 0.05, 0)
        batch = type("Batch", (), {"images": features, "rows": np.arange(400)})()
        one.tune([batch] * 300, group)
        return float(torch.stack([one.told(group).detach() for _ in range(20)]).mean())

    rng = torch.Generator().manual_seed(0)
    assert told(nn.functional.one_hot(group, 4).float()) == pytest.approx(np.log(4), abs=0.15)
    assert told(torch.randn(400, 4, generator=rng)) < 0.35


def test_public_faces_are_drawn_as_often_as_their_group_was_trained_on() -> None:
    splits = split_faces(
        faces_of({"A": 40, "B": 20}), Split(public=0.2), Forget(group="B", share=1.0, whole_group=True)
    )
    weights = as_trained(splits.data)
    for group in "AB":
        trained = (splits.forget.groups == group).sum() + (splits.retain.groups == group).sum()
        assert weights[splits.public.groups == group].sum() == pytest.approx(trained)


def test_group_distillation_keeps_a_group_of_which_nobody_is_left() -> None:
    """What was lost on the dark group comes back from public dark faces, though no retained face is dark."""
    everyone = bright_and_dark(bright=100, dark=100, wrong=100)
    original = Constant()
    with torch.no_grad():
        original.logits.copy_(torch.tensor([[3.0, -3.0], [-3.0, 3.0]]))
    dark, bright = (np.flatnonzero(everyone.groups == group) for group in ("dark", "bright"))
    data = MethodData(
        everyone[dark[:60]],
        everyone[bright[:60]],
        everyone[np.concatenate([dark[60:], bright[60:]])],
        original=original,
    )
    spoiled = Constant()
    mended = group_distillation(spoiled, CLASSES, data, BatchLoader(CPU, 0), lr=0.1, epochs=20, batch=16)
    with torch.no_grad():
        chances = mended(torch.tensor([-1.0]).view(1, 1, 1, 1)).softmax(1)
    assert float(chances[0, 0]) > 0.9
    no_public = replace(data, public=everyone[:0])
    assert "split.public" in refusal(group_distillation, Constant(), CLASSES, no_public, BatchLoader(CPU, 0))


def test_after_another_stage_the_teacher_is_the_original() -> None:
    splits, original = tiny_problem(EYES)
    moved = copy.deepcopy(original)
    with torch.no_grad():
        for weight in moved.parameters():
            weight.add_(0.3 * weight.abs().mean())

    def apart(model: nn.Module) -> float:
        loader = BatchLoader(CPU, 0)
        return float(np.square(loader.outputs(model, splits.public) - loader.outputs(original, splits.public)).mean())

    before = apart(moved)
    data = replace(splits.data, original=original)
    with deterministic_torch(CPU, 1):
        mended = group_distillation(moved, EYES, data, BatchLoader(CPU, 1), lr=1e-3, epochs=5, weight=10.0)
    assert apart(mended) < 0.5 * before


def test_miu_and_reweight_need_groups() -> None:
    splits, original = tiny_problem(EYES)
    forget, retain, public = (
        replace(faces, groups=np.full(len(faces), "")) for faces in (splits.forget, splits.retain, splits.public)
    )
    alone = MethodData(forget, retain, public)
    assert "data.group_by" in refusal(miu, original, EYES, alone, BatchLoader(CPU, 0))


# Search


def candidate(worst: float, attack: float, kept: bool) -> Candidate:
    return Candidate(
        settings={},
        worst_group="A",
        worst_error=worst,
        attack=attack,
        attack_low=attack - 0.01,
        attack_high=attack + 0.01,
        faces=1,
        seconds=1.0,
        kept=kept,
    )


def test_of_those_that_keep_the_verdict_the_best_for_the_worst_group() -> None:
    tried = [candidate(0.1, 0.7, False), candidate(0.3, 0.5, True), candidate(0.2, 0.52, True)]
    assert best_of(tried) == 2
    assert best_of([tried[0], candidate(0.9, 0.6, False)]) == 1
    lost = tried[0].model_copy(update={"attack": None, "worst_error": None})
    assert best_of([lost, tried[0]]) == 1
    assert "lower rates" in refusal(best_of, [lost, lost])


def test_a_candidate_that_diverged_is_not_kept_and_stops_nothing() -> None:
    splits, original = tiny_problem(EYES)
    broken = copy.deepcopy(original)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    for model, known in ((broken, False), (original, True)):
        one = candidate_of(model, splits, EYES, {}, BatchLoader(CPU, 0), (1.0, 1.0), 0.5)
        assert (one.attack is not None) == known == one.kept


def test_a_searched_way_cannot_be_made_of_shadows() -> None:
    methods = {"rebalance": {"search": {"weight": [1.0]}}, "after it": {"use": "finetune", "after": "rebalance"}}
    plan = plan_with(methods=methods, audit={"shadows": 4, "unlearn": ["after it"]})
    assert "'rebalance' is searched" in refusal(parse_plan, plan, "plan")


def test_in_rounds_the_mix_is_that_of_everybody_who_was_trained_on() -> None:
    faces = faces_of({"A": 40, "B": 40})
    rounds = [
        split_faces(faces, Split(), Forget(group="B", share=0.75, rounds=3, round=number)) for number in (1, 2, 3)
    ]
    first, _, last = in_turn(rounds)
    assert first.earlier is None
    assert set(last.gone.keys) == set(rounds[-1].forget.keys)
    assert set(last.forget.keys) < set(last.gone.keys)
    weights = reweighted(last.retain, last.gone, EYES).weights
    assert weights is not None
    assert np.unique(weights[last.retain.groups == "B"]).tolist() == [4.0]


SEARCHED = """
task = "eyes"
goal = "influence removed"
data = { name = "synthetic", people = 80, photos_per_person = 2, size = [24, 24], group_where = { group = ["B"] } }
forget = { group = "B", people = 6, skew = [0.5, 1.0] }
model = { name = "eyenet", widths = [4, 6, 8], hidden = 16 }
train = { epochs = 2 }
[reference]
reweight = true
[methods.finetune]
epochs = 1
reweight = true
[methods.balanced]
use = "rebalance"
epochs = 1
search = { weight = [1, 8], lr = [1e-4, 1e-2] }
[methods."one of them"]
use = "rebalance"
epochs = 1
weight = 8
lr = 1e-2
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose `balanced` was searched."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "plan.toml").write_text(SEARCHED)
    run(read_plan(folder / "plan.toml"), folder / "out", threads=1)
    return folder / "out"


def test_every_combination_is_tried_and_the_best_is_kept(searched: Path) -> None:
    results = read_results(searched)
    assert [(one.arm, one.method) for one in results.searches] == [("skew 50%", "balanced"), ("skew 100%", "balanced")]
    for one in results.searches:
        assert [tried.settings for tried in one.tried] == [
            {"weight": weight, "lr": lr} for weight in (1, 8) for lr in (1e-4, 1e-2)
        ]
        assert [tried.chosen for tried in one.tried].index(True) == best_of(one.tried)
    bills = {(row.arm, row.method): row.cost.faces for row in results.evaluations}
    for one in results.searches:
        assert bills[one.arm, "balanced"] == sum(tried.faces for tried in one.tried)
        assert bills[one.arm, "balanced"] == 4 * bills[one.arm, "one of them"]


def test_a_search_judges_by_the_forgotten_and_validation_people_alone() -> None:
    splits, original = tiny_problem(EYES)
    rng = np.random.default_rng(0)

    def spoiled(faces: Faces) -> Faces:
        return replace(faces, targets=rng.uniform(0, 24, faces.targets.shape).astype(np.float32))

    told = candidate_of(original, splits, EYES, {}, BatchLoader(CPU, 0), (1.0, 1.0), 0.05)
    others = {name: spoiled(getattr(splits, name)) for name in ("strangers", "test", "retain", "public")}
    assert candidate_of(original, replace(splits, **others), EYES, {}, BatchLoader(CPU, 0), (1.0, 1.0), 0.05) == told
    for name in ("val", "forget"):
        changed = replace(splits, **{name: spoiled(getattr(splits, name))})
        assert candidate_of(original, changed, EYES, {}, BatchLoader(CPU, 0), (1.0, 1.0), 0.05) != told


def test_the_page_shows_the_search_the_skew_and_the_groups(searched: Path) -> None:
    page = (searched / "report.html").read_text()
    for said in (
        "Hyperparameter search",
        "Cost by group as requests concentrate on one group",
        "Differences between groups",
        "reweighted (REWEIGHT)",
        "6 of them of group B",
    ):
        assert said in page
    told = markdown(read_results(searched))
    assert "**by skew**" in told
    assert "points beyond everyone else, 50%" in told
    table = pd.read_csv(next((searched / "groups").glob("skew-50-*.csv")))
    assert set(table["model"]) == {"original", "reference", "finetune", "balanced", "one of them"}
    assert {"people", "small", "normalised_error"} <= set(table.columns)


def test_what_is_searched_is_not_also_set() -> None:
    methods = {"rebalance": {"weight": 2.0, "search": {"weight": [1.0]}}}
    from efface.experiment.resolve import resolve

    assert "both set and searched" in refusal(resolve, parse_plan(plan_with(methods=methods), "plan"), "plan")
    wrong = {"rebalance": {"search": {"wait": [1.0]}}}
    assert "weight" in refusal(resolve, parse_plan(plan_with(methods=wrong), "plan"), "plan")
