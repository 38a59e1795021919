"""Lookalikes are found by what they look like, answers come from strangers, and the student arrives at them."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import roc_auc_score
from torch import nn

from conftest import key, refusal
from efface.data.batches import BatchLoader, batches_of
from efface.data.faces import Array, Faces, Images, MethodData
from efface.evaluation.memorisation import memorisation
from efface.experiment.run import run
from efface.methods.lookalikes import (
    arrived,
    auc_interval,
    first_scale,
    lookalikes,
    people_to_ask,
    stranger_head,
    strangers_answers,
)
from efface.methods.neighbours import averaged, nearest, seen_by
from efface.models import MODELS
from efface.models.depths import depth, depths, flattened, grafted, tapped
from efface.plan.file import read_plan
from efface.results import read_results
from efface.tasks import TASKS
from efface.testing import tiny_problem
from efface.training.environment import deterministic_torch
from efface.training.train import counting_steps

CPU = torch.device("cpu")
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "eyenet": ("eyes", {"widths": (4, 6, 8), "hidden": 16}),
    "resnet18": ("classes", {"width": 4, "stem": "small"}),
    "iresnet": ("recognition", {"depth": 10, "width": 4, "dimensions": 8}),
    "mobilefacenet": ("recognition", {"width": 8, "dimensions": 8}),
}


# Depths


@pytest.mark.parametrize("name", SMALL)
def test_depths_go_from_early_to_late_and_can_be_read_off(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]((1, 24, 24), 5, **SMALL[name][1]).eval()
    order = [path for path, _ in model.named_modules()]
    parts = depths(model)
    paths = {id(module): path for path, module in model.named_modules()}
    places = [order.index(paths[id(part)]) for part in parts.values()]
    assert places == sorted(places)
    for part in parts.values():
        with tapped(part) as tap, torch.no_grad():
            model(torch.randn(3, 1, 24, 24))
        assert tap.out.shape[0] == 3
        assert flattened(tap.out).ndim == 2
    assert depth(model, "last") is list(parts.values())[-1]
    assert "has " in refusal(depth, model, "nowhere")


@pytest.mark.parametrize("name", SMALL)
def test_above_a_graft_everything_is_new_and_below_nothing(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]((1, 24, 24), 5, **SMALL[name][1]).eval().requires_grad_(False)
    new, kept = grafted(model, "middle")
    images = torch.randn(4, 1, 24, 24)
    seen = {}
    for which, one in (("old", model), ("new", new.eval())):
        with tapped(depth(one, "middle")) as below, tapped(depth(one, "last")) as above, torch.no_grad():
            one(images)
        seen[which] = below.out, above.out
    assert torch.equal(seen["old"][0], seen["new"][0])
    assert not torch.allclose(seen["old"][1], seen["new"][1])
    frozen = {id(weight) for module in kept for weight in module.parameters(recurse=False)}
    assert 0 < len(frozen) < len(list(new.parameters()))
    for path, weight in new.named_parameters():
        if id(weight) in frozen:
            assert not weight.requires_grad
            assert torch.equal(weight, model.get_parameter(path))
    if SMALL[name][0] == "recognition":
        assert torch.equal(new.head.weight, model.head.weight)  # type: ignore[union-attr, arg-type]


class Attentive(nn.Module):
    """Weights that no module of its own holds: positions, and attention's projections."""

    depths = {"first": "first", "second": "second"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True) for _ in range(2))
        self.positions = nn.Parameter(torch.randn(1, 9, 8))
        self.out = nn.Linear(8, 2)

    def reset_parameters(self) -> None:
        for weight in self.parameters():
            nn.init.normal_(weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.out(self.second(self.first(images.reshape(-1, 9, 8) + self.positions)).mean(1))
        return outputs


def test_a_graft_keeps_weights_that_no_leaf_holds() -> None:
    torch.manual_seed(0)
    model = Attentive().eval()
    new, kept = grafted(model, "first")
    images = torch.randn(3, 1, 9, 8)
    with tapped(model.first) as was, tapped(new.eval().get_submodule("first")) as now, torch.no_grad():
        model(images)
        new(images)
    assert torch.allclose(was.out, now.out)
    assert not new.get_parameter("positions").requires_grad
    assert not new.get_parameter("first.self_attn.in_proj_weight").requires_grad
    assert new.get_parameter("second.self_attn.in_proj_weight").requires_grad
    assert kept


def test_a_backbone_of_ones_own_has_its_children_for_depths() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(2 * 16, 4))
    assert list(depths(model)) == ["0", "2"]
    assert "give it `depths`" in refusal(depth, nn.Linear(2, 2), "middle")


# Neighbours


def test_the_nearest_agree_with_a_naive_search_and_stay_in_the_group() -> None:
    rng = np.random.default_rng(0)
    ours, others = rng.normal(size=(7, 5)), rng.normal(size=(40, 5)) * [1, 10, 1, 1, 1]
    groups, other_groups = rng.choice(["A", "B"], 7), rng.choice(["A", "B"], 40)
    found = nearest(ours, others, 3, groups, other_groups)
    scale = others.std(0) + 1e-6
    for row in range(7):
        apart = [
            (float((((ours[row] - others[place]) / scale) ** 2).sum()), place)
            for place in range(40)
            if other_groups[place] == groups[row]
        ]
        assert found[row].tolist() == [place for _, place in sorted(apart)[:3]]


def test_a_group_without_enough_strangers_takes_anybodys() -> None:
    others = np.arange(6.0)[:, None]
    found = nearest(np.array([[0.0]]), others, 3, np.array(["A"]), np.array(["A", "B", "B", "B", "A", "B"]))
    assert found.tolist() == [[0, 1, 2]]
    assert nearest(np.array([[0.0]]), others, 9).shape == (1, 6)


def test_classes_are_averaged_as_probabilities() -> None:
    outputs = np.random.default_rng(0).normal(size=(5, 3))
    near = np.array([[0, 1], [2, 4]])
    found = averaged(TASKS["classes"], outputs, near)
    assert softmax(found, axis=1) == pytest.approx(softmax(outputs, axis=1)[near].mean(1), abs=1e-5)


# Answers


class Memory(nn.Module):
    """Answers by two features: how bright a face is (early), and whether it has the mark of the memorised (late)."""

    depths = {"bright": "early", "marked": "late"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.early, self.late = nn.Identity(), nn.Identity()
        self.out = nn.Linear(1, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.early(images[:, 0, 1:, 1:].mean((1, 2))[:, None])
        outputs: torch.Tensor = self.out(self.late(images[:, 0, :1, 0]))
        return outputs


def bright(values: Array, marked: Array, groups: Array | None = None) -> Faces:
    """Faces of these brightnesses (0 to 255), with a white first pixel where they are marked."""
    images = np.broadcast_to(np.asarray(values, np.uint8)[:, None, None, None], (len(values), 1, 8, 8)).copy()
    images[:, 0, 0, 0] = np.where(marked, 255, 0)
    names = np.arange(len(values)).astype(str)
    return Faces(
        Images(images, np.arange(len(values))),
        np.zeros(len(values), np.int64),
        names,
        np.full(len(values), "") if groups is None else groups,
        names,
    )


def test_by_an_early_layer_the_strangers_are_those_who_look_alike() -> None:
    teacher = Memory().eval()
    forget, public = bright(np.array([20, 200]), np.array([1, 1])), bright(np.arange(0, 250, 5), np.arange(50) == 40)
    outputs = strangers_answers(
        teacher, TASKS["classes"], forget, public, BatchLoader(CPU, 0), "neighbours", "bright", 1, True, 8, 1, 1e-3
    )
    said = BatchLoader(CPU, 0).outputs(teacher, public)
    assert softmax(outputs, 1) == pytest.approx(softmax(np.stack([said[4], said[40]]), 1), abs=1e-4)


@pytest.mark.parametrize("way", ["strangers", "random"])
def test_towards_strangers_every_photo_goes_to_one_of_them(way: Any) -> None:
    task = TASKS["recognition"]
    splits, original = tiny_problem(task)
    outputs = strangers_answers(
        original, task, splits.forget, splits.public, BatchLoader(CPU, 0), way, "middle", 5, True, 8, 1, 1e-3
    )
    said = BatchLoader(CPU, 0).outputs(original, splits.public)
    assert (np.abs(outputs[:, None] - said[None]).max(2).min(1) < 1e-5).all()


def test_errors_of_strangers_are_put_upon_the_truth() -> None:
    task = TASKS["eyes"]
    splits, original = tiny_problem(task)
    outputs = strangers_answers(
        original, task, splits.forget, splits.public, BatchLoader(CPU, 0), "errors", "middle", 5, True, 8, 1, 1e-3
    )
    off = BatchLoader(CPU, 0).outputs(original, splits.public) - splits.public.targets
    mine = outputs - splits.forget.targets
    assert (np.abs(mine[:, None] - off[None]).max((2, 3)).min(1) < 1e-4).all()
    wrong = refusal(
        strangers_answers,
        tiny_problem(TASKS["recognition"])[1],
        TASKS["recognition"],
        splits.forget,
        splits.public,
        BatchLoader(CPU, 0),
        "errors",
        "middle",
        5,
        True,
        8,
        1,
        1e-3,
    )
    assert "for coordinates" in wrong


def test_a_stranger_head_follows_the_original_on_strangers() -> None:
    task = TASKS["eyes"]
    splits, original = tiny_problem(task)

    def headed(seed: int, epochs: int) -> nn.Module:
        torch.manual_seed(seed)
        return stranger_head(original, task, splits.public, BatchLoader(CPU, 0), "middle", epochs, 3e-3, 8)

    def apart(model: nn.Module) -> float:
        loader = BatchLoader(CPU, 0)
        return float(np.square(loader.outputs(model, splits.public) - loader.outputs(original, splits.public)).mean())

    with deterministic_torch(CPU, 1):
        before, after = (np.median([apart(headed(seed, epochs)) for seed in range(3)]) for epochs in (1, 30))
    assert after < 0.1 * before


# The student


@pytest.mark.slow
@pytest.mark.parametrize("task", ["eyes", "classes", "recognition"])
def test_the_student_arrives_at_the_strangers_answers(task: str) -> None:
    splits, original = tiny_problem(TASKS[task])
    data = replace(splits.data, original=original)

    def apart(epochs: int) -> float:
        with deterministic_torch(CPU, 1):
            model = lookalikes(
                copy.deepcopy(original),
                TASKS[task],
                data,
                BatchLoader(CPU, 3),
                epochs=epochs,
                epoch_of="forget",
                lr=3e-3,
                forget=5.0,
                keep=0.0,
                labels=0.0,
                stop=0.0,
            )
            asked, _ = people_to_ask(data, "public", 400, False, BatchLoader(CPU, 3))
            way: Any = "neighbours" if TASKS[task].outputs == "logits" else "stranger head"
            torch.manual_seed(0)
            goal = strangers_answers(
                original, TASKS[task], splits.forget, asked, BatchLoader(CPU, 3), way, "middle", 15, True, 64, 2, 3e-3
            )
        said = torch.from_numpy(BatchLoader(CPU, 0).outputs(model, splits.forget).copy())
        return float(TASKS[task].divergence(said, torch.from_numpy(goal.copy())).mean())

    assert apart(30) < apart(1)


def test_a_group_that_is_equivalent_to_strangers_is_taught_no_more_and_the_rate_falls_to_the_end() -> None:
    task = TASKS["eyes"]
    splits, original = tiny_problem(task)
    known = replace(splits.public, targets=splits.public.targets + 100)
    assert arrived(original, task, splits.forget, splits.public, BatchLoader(CPU, 0), 1.0) == ["B"]
    assert arrived(original, task, splits.forget, known, BatchLoader(CPU, 0), 0.4) == []
    few = splits.public[np.isin(splits.public.identities, np.unique(splits.public.identities)[:3])]
    assert arrived(original, task, splits.forget, few, BatchLoader(CPU, 0), 0.2) == [], "too few to say is no arrival"
    data = replace(splits.data, original=original)
    made = {}
    for stop in (0.0, 0.5):
        loader = BatchLoader(CPU, 1)
        loader.watch(data.retain)
        with counting_steps(loader), deterministic_torch(CPU, 1, 1):
            lookalikes(copy.deepcopy(original), task, data, loader, epochs=2, stop=stop, keep_mix=False, looks=3)
        made[stop] = loader
    assert made[0.5].steps == made[0.0].steps
    assert made[0.5].passes_over_watched == made[0.0].passes_over_watched
    assert made[0.5].faces_used < made[0.0].faces_used


def test_as_many_epochs_are_as_many_steps_on_the_retained_as_fine_tuning_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = TASKS["classes"]
    splits, original = tiny_problem(task)
    rates: list[float] = []

    def recorded(optimiser: torch.optim.Optimizer, _: torch.Tensor) -> None:
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()

    monkeypatch.setattr(sys.modules["efface.methods.lookalikes"], "training_step", recorded)
    lookalikes(original, task, splits.data, BatchLoader(CPU, 1), epochs=2, batch=32, lr=1.0)
    steps = 2 * batches_of(len(splits.retain), 32)
    assert rates == pytest.approx([1 - step / steps for step in range(steps)])
    rates.clear()
    lookalikes(original, task, splits.data, BatchLoader(CPU, 1), epochs=2, batch=32, lr=1.0, epoch_of="forget")
    assert len(rates) == 2 * batches_of(len(splits.forget), 32)


@pytest.mark.parametrize(("stop", "looks"), [(0.0, 3), (0.1, 3), (0.1, 1)])
def test_it_is_looked_as_often_as_is_said_whether_a_group_has_arrived(
    stop: float, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits, original = tiny_problem(TASKS["eyes"])
    margins: list[float] = []

    def nobody(*arguments: Any) -> list[str]:
        margins.append(arguments[-1])
        return []

    monkeypatch.setattr(sys.modules["efface.methods.lookalikes"], "arrived", nobody)
    lookalikes(original, TASKS["eyes"], splits.data, BatchLoader(CPU, 0), epochs=1, batch=16, stop=stop, looks=looks)
    assert margins == [stop] * (looks if stop else 0)


def test_the_label_term_is_never_scaled_up_by_what_is_known_by_heart() -> None:
    apart, by_heart, unknown = torch.tensor([0.5, 1.5]), torch.tensor([1e-7]), torch.tensor([4.0])
    assert first_scale(apart, by_heart) == (1.0, 1.0)
    assert first_scale(apart, unknown) == (1.0, 4.0)
    assert first_scale(torch.zeros(2), torch.zeros(1)) == (1e-9, 1e-9)


def test_the_interval_of_an_auc_is_delongs_and_covers() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=30), rng.normal(0.7, 1, size=20)
    low, high = auc_interval(ours, theirs)
    wins = [[float(y > x) for y in theirs] for x in ours]
    parts = [np.mean(row) for row in wins], [np.mean(column) for column in zip(*wins, strict=True)]
    spread = 1.645 * np.sqrt(np.var(parts[0], ddof=1) / 30 + np.var(parts[1], ddof=1) / 20)
    assert (low, high) == pytest.approx((np.mean(wins) - spread, np.mean(wins) + spread))
    assert (low + high) / 2 == pytest.approx(roc_auc_score([0] * 30 + [1] * 20, [*ours, *theirs]))
    intervals = np.array([auc_interval(rng.normal(size=40), rng.normal(size=40)) for _ in range(500)])
    assert ((intervals[:, 0] <= 0.5) & (intervals[:, 1] >= 0.5)).mean() == pytest.approx(0.9, abs=0.04)
    assert auc_interval(ours[:1], theirs) == (0.0, 1.0)


def test_those_who_test_are_never_asked() -> None:
    splits, _ = tiny_problem(TASKS["eyes"])
    asked, held_back = people_to_ask(splits.data, "public", 400, True, BatchLoader(CPU, 0))
    assert not set(asked.identities) & set(held_back.identities)
    assert len(asked) + len(held_back) == len(splits.public)
    few, _ = people_to_ask(splits.data, "public", 3, True, BatchLoader(CPU, 0))
    assert len(few) == 3


def test_without_public_faces_it_says_what_to_do_and_augmented_ones_stand_in() -> None:
    splits, original = tiny_problem(TASKS["classes"])
    alone = replace(splits.data, public=splits.public[:0])
    message = refusal(lookalikes, copy.deepcopy(original), TASKS["classes"], alone, BatchLoader(CPU, 0))
    assert "split.public" in message
    assert "augmented" in message
    asked, _ = people_to_ask(alone, "augmented", 20, True, BatchLoader(CPU, 0))
    assert len(asked) == 20
    assert set(asked.keys) <= set(splits.retain.keys)
    own = splits.retain[np.flatnonzero(np.isin(splits.retain.keys, asked.keys))]
    assert not np.array_equal(asked.images[:], own.images[:])
    assert isinstance(
        lookalikes(
            copy.deepcopy(original), TASKS["classes"], alone, BatchLoader(CPU, 0), strangers="augmented", stop=0.0
        ),
        nn.Module,
    )


@pytest.mark.slow
def test_unrecognisable_photos_of_a_person_lie_no_closer_than_strangers() -> None:
    """What the promise asks: after it, a person's own photos match no better than before, by far."""
    task = TASKS["recognition"]
    splits, original = tiny_problem(task)
    with deterministic_torch(CPU, 1):
        model = lookalikes(
            copy.deepcopy(original),
            task,
            splits.data,
            BatchLoader(CPU, 0),
            way="strangers",
            epochs=40,
            epoch_of="forget",
            lr=3e-3,
            forget=10.0,
            stop=0.0,
        )

    def own_beyond_others(one: nn.Module) -> float:
        outputs = BatchLoader(CPU, 0).outputs(one, splits.forget)
        unit = outputs / np.linalg.norm(outputs, axis=1, keepdims=True)
        alike = unit @ unit.T
        same = splits.forget.identities[:, None] == splits.forget.identities[None]
        np.fill_diagonal(alike, np.nan)
        return float(np.nanmean(alike[same]) - np.nanmean(alike[~same]))

    assert own_beyond_others(model) < 0.6 * own_beyond_others(original)


# Where memorisation begins


def test_the_layer_that_has_learned_the_forgotten_is_found() -> None:
    """A face in twenty public ones has the mark; of these and of the forgotten the model is sure, by its late layer."""
    rng = np.random.default_rng(0)
    splits, _ = tiny_problem(TASKS["classes"])
    model = Memory().eval()
    with torch.no_grad():
        model.out.weight.copy_(torch.tensor([[3.0], [-3.0]]))
        model.out.bias.zero_()
    made = {
        name: bright(rng.integers(40, 200, len(marked)), marked)
        for name, marked in (("forget", np.ones(60)), ("val", np.zeros(80)), ("public", np.arange(400) % 20 == 0))
    }
    found = memorisation(model, replace(splits, **made), TASKS["classes"], BatchLoader(CPU, 0))
    early, late = found[key("memorisation/bright")], found[key("memorisation/marked")]
    assert early.low is not None
    assert early.high is not None
    assert late.low is not None
    assert early.low <= 0.5 <= early.high
    assert late.low > 0.9
    assert (
        memorisation(
            model, replace(splits, **made | {"public": made["public"][:3]}), TASKS["classes"], BatchLoader(CPU, 0)
        )
        == {}
    )


def test_seen_by_answers_as_the_model_does() -> None:
    splits, original = tiny_problem(TASKS["classes"])
    seen = seen_by(original, depths(original), splits.forget, BatchLoader(CPU, 0))
    assert seen.outputs == pytest.approx(BatchLoader(CPU, 0).outputs(original, splits.forget), abs=1e-5)
    assert set(seen.features) == set(depths(original))


def test_a_report_shows_where_memorisation_begins(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text("""
task = "eyes"
goal = "influence removed"
data = { name = "synthetic", people = 120, photos_per_person = 2, size = [24, 24] }
forget = { group = "B", share = 0.5 }
split = { public = 0.2 }
model = { name = "eyenet", widths = [4, 6, 8], hidden = 16 }
train = { epochs = 2 }
methods = { lookalikes = {} }
""")
    run(read_plan(tmp_path / "plan.toml"), tmp_path / "out", threads=1)
    rows = {one.method: one.measures for one in read_results(tmp_path / "out").evaluations}
    for model in ("original", "reference"):
        assert {"memorisation/block 1", "memorisation/hidden"} <= set(rows[model])
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Memorisation by layer" in page
    assert "Membership attacks and distances to the retrained reference" in page


def test_material_is_never_changed() -> None:
    splits, original = tiny_problem(TASKS["classes"])
    data = MethodData(splits.forget, splits.retain, splits.public)
    before = data.retain.images[:].copy()
    lookalikes(original, TASKS["classes"], data, BatchLoader(CPU, 0), strangers="augmented", epochs=1)
    assert np.array_equal(data.retain.images[:], before)
    assert data.retain.weights is None
