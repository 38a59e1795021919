"""Methods for classes and attributes do what their papers say: each against a naive loop or a fact that must hold."""

import copy
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from conftest import refusal
from efface.data.batches import BatchLoader, batches_of
from efface.data.faces import Faces, Images, MethodData
from efface.methods import METHODS
from efface.methods.blocks import last_blocks
from efface.methods.distillation import teacher_of
from efface.methods.gli import pushed_away
from efface.methods.gradients import mean_gradient, mean_squares, strongest
from efface.methods.matched_public_faces import matched_public
from efface.methods.relabel import mislabelled, other_attributes
from efface.methods.scrub import losses, rewound
from efface.methods.unsir_benchmark import unlike
from efface.methods.unsir_official import hard_noise
from efface.tasks import TASKS
from efface.testing import tiny_problem
from efface.training.environment import deterministic_torch

CPU = torch.device("cpu")
piu_fr, scrub = (import_module(f"efface.methods.{name}") for name in ("piu_fr", "scrub"))
"""The modules, whose names in their package are the functions."""


@pytest.fixture(scope="module")
def problem() -> tuple[MethodData, nn.Module]:
    splits, model = tiny_problem(TASKS["classes"])
    return splits.data, model


def forgotten_by(name: str, problem: tuple[MethodData, nn.Module], seed: int = 1, **settings: Any) -> nn.Module:
    with deterministic_torch(CPU, 1, seed):
        return METHODS[name](
            copy.deepcopy(problem[1]), TASKS["classes"], problem[0], BatchLoader(CPU, seed), **settings
        )


def moved(before: nn.Module, after: nn.Module) -> set[str]:
    """The trainable weights that are not what they were."""
    old = dict(before.named_parameters())
    return {name for name, weight in after.named_parameters() if not torch.equal(weight, old[name])}


def mean_loss(model: nn.Module, faces: Faces) -> float:
    return float(losses(model, TASKS["classes"], faces, BatchLoader(CPU, 0)).mean())


# The last parts of a network


def test_cf_k_moves_the_last_parts_alone(problem: tuple[MethodData, nn.Module]) -> None:
    for k, parts in ((1, ("fc",)), (3, ("layer3", "layer4", "fc"))):
        changed = moved(problem[1], forgotten_by("cf_k", problem, k=k, epochs=1))
        assert {name.split(".")[0] for name in changed} == set(parts)


def test_eu_k_forgets_what_the_last_parts_held(problem: tuple[MethodData, nn.Module]) -> None:
    started = forgotten_by("eu_k", problem, k=1, epochs=1, lr=1e-9)
    assert {name.split(".")[0] for name in moved(problem[1], started)} == {"fc"}
    fresh, trained = (model.get_parameter("fc.weight").flatten() for model in (started, problem[1]))
    apart = functional.cosine_similarity(fresh, trained, 0)
    assert abs(float(apart.detach())) < 0.5


def test_everything_is_trainable_again_afterwards(problem: tuple[MethodData, nn.Module]) -> None:
    assert all(weight.requires_grad for weight in forgotten_by("cf_k", problem, epochs=1).parameters())


def test_more_parts_than_there_are_is_refused(problem: tuple[MethodData, nn.Module]) -> None:
    assert "7 parts" in refusal(last_blocks, problem[1], 8)


# Wrong labels


def test_nobody_keeps_their_own_label(problem: tuple[MethodData, nn.Module]) -> None:
    data = problem[0]
    wrong = mislabelled(data, 0)
    assert (wrong.targets != data.forget.targets).all()
    assert set(wrong.targets.tolist()) <= set(range(int(data.retain.targets.max()) + 1))
    assert len(set(((wrong.targets - data.forget.targets) % 5).tolist())) > 2
    attributes = np.random.default_rng(1).integers(0, 2, (200, 2)).astype(np.float32)
    assert (other_attributes(attributes, np.random.default_rng(0)) != attributes).any(1).all()


def test_salun_leaves_weights_that_do_not_matter_to_the_forgotten(problem: tuple[MethodData, nn.Module]) -> None:
    after = dict(forgotten_by("salun", problem, share=0.2, epochs=1).named_parameters())
    with deterministic_torch(CPU, 1, 1):
        gradient = mean_gradient(
            copy.deepcopy(problem[1]), TASKS["classes"], problem[0].forget, BatchLoader(CPU, 1), 64
        )
    mask = strongest({name: values.abs() for name, values in gradient.items()}, 0.2)
    for name, weight in problem[1].named_parameters():
        assert torch.equal(weight[mask[name] == 0], after[name][mask[name] == 0])
    assert sum(float(one.sum()) for one in mask.values()) == pytest.approx(
        0.2 * sum(one.numel() for one in mask.values()), abs=2
    )


def test_learning_wrong_labels_raises_the_loss_of_the_forgotten(problem: tuple[MethodData, nn.Module]) -> None:
    before = mean_loss(problem[1], problem[0].forget)
    for name in ("amnesiac", "salun"):
        assert mean_loss(forgotten_by(name, problem, lr=1e-2, epochs=3), problem[0].forget) > before


# Gradients and importances


def test_gradients_are_those_of_a_naive_loop(problem: tuple[MethodData, nn.Module]) -> None:
    faces, model = problem[0].forget[np.arange(12)], copy.deepcopy(problem[1]).eval()
    images, targets = as_tensors(faces)
    functional.cross_entropy(model(images), targets).backward()  # type: ignore[no-untyped-call]
    whole = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    found = mean_gradient(model, TASKS["classes"], faces, BatchLoader(CPU, 0), 5)
    assert all(torch.allclose(found[name], whole[name], atol=1e-5) for name in whole)
    single = {name: torch.zeros_like(value) for name, value in whole.items()}
    for row in range(12):
        model.zero_grad()
        functional.cross_entropy(model(images[row : row + 1]), targets[row : row + 1]).backward()  # type: ignore[no-untyped-call]
        for name, weight in model.named_parameters():
            assert weight.grad is not None
            single[name] += weight.grad.square() / 12
    found = mean_squares(model, TASKS["classes"], faces, BatchLoader(CPU, 0), 1)
    assert all(torch.allclose(found[name], single[name], rtol=1e-3, atol=1e-7) for name in single)


def as_tensors(faces: Faces) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(faces.images[:]).float() / 127.5 - 1, torch.from_numpy(faces.targets)


def test_ssd_scales_as_its_formula_says(problem: tuple[MethodData, nn.Module]) -> None:
    """A weight is the old one, or the old one times strength * importance to all / importance to the forgotten."""
    after = dict(forgotten_by("ssd", problem, alpha=1.2, strength=0.5).named_parameters())
    shrunk = 0
    for name, weight in problem[1].named_parameters():
        ratio = (after[name] / weight).detach()
        changed = (after[name] != weight) & (weight != 0)
        shrunk += int(changed.sum())
        assert (ratio[changed] <= 0.5 / 1.2 + 1e-5).all()
        assert (ratio[changed] >= 0).all()
    assert shrunk > 0


@pytest.mark.parametrize("mixed", [False, True])
def test_by_batches_the_ratio_of_importances_has_no_bound(mixed: bool, problem: tuple[MethodData, nn.Module]) -> None:
    """Every gradient is of one size, and those of the others point the other way: face by face the ratio is 1, and
    where a batch holds everybody they cancel."""

    class Certain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, images: Tensor) -> Tensor:
            return torch.stack([self.weight - 1, torch.zeros(1)], 1).expand(len(images), 2)

    half = len(problem[0].forget)
    forget, retain = (
        replace(faces[np.arange(half)], targets=np.full(half, label, np.int64))
        for label, faces in enumerate((problem[0].forget, problem[0].retain))
    )
    data = replace(problem[0], forget=forget, retain=retain)
    batch = 2 * half if mixed else 1
    model = METHODS["ssd"](Certain(), TASKS["classes"], data, BatchLoader(CPU, 0), alpha=10.0, batch=batch)
    assert float(model.get_parameter("weight").detach()) == pytest.approx(0.0 if mixed else 1.0, abs=1e-5)


def test_l1_sparse_empties_weights(problem: tuple[MethodData, nn.Module]) -> None:
    def size(model: nn.Module) -> float:
        return float(sum(weight.detach().abs().sum() for weight in model.parameters()))

    assert size(forgotten_by("l1_sparse", problem, alpha=1e-2, epochs=3)) < size(
        forgotten_by("l1_sparse", problem, alpha=0.0, epochs=3)
    )


def test_sfr_on_climbs_only_what_is_the_forgottens(problem: tuple[MethodData, nn.Module]) -> None:
    climbed = forgotten_by("sfr_on", problem, epochs=2, ascent=25.0, every=1)
    assert mean_loss(climbed, problem[0].forget) > mean_loss(
        forgotten_by("sfr_on", problem, epochs=2, ascent=0.0), problem[0].forget
    )


def test_msg_restarts_the_share_it_says(problem: tuple[MethodData, nn.Module]) -> None:
    after = dict(forgotten_by("msg", problem, share=0.3, lr=1e-12, epochs=1).named_parameters())
    convolutions = {f"{name}.weight" for name, module in problem[1].named_modules() if isinstance(module, nn.Conv2d)}
    old = dict(problem[1].named_parameters())
    fresh = sum(int(((after[name] - old[name]).abs() > 1e-6).sum()) for name in convolutions)
    assert fresh == pytest.approx(0.3 * sum(old[name].numel() for name in convolutions), rel=0.01)


def test_ct_turns_every_kernel(problem: tuple[MethodData, nn.Module]) -> None:
    after = forgotten_by("ct", problem, lr=1e-12, epochs=1)
    turned, trained = (model.get_parameter("conv1.weight") for model in (after, problem[1]))
    assert torch.allclose(turned, trained.transpose(2, 3), atol=1e-6)


# Pushing and noise


def test_delete_answers_anything_but_the_own_class(problem: tuple[MethodData, nn.Module]) -> None:
    def own(model: nn.Module) -> float:
        images, targets = as_tensors(problem[0].forget)
        return float(model.eval()(images).softmax(1).gather(1, targets[:, None]).mean().detach())

    little, after = (
        forgotten_by("delete", problem, lr=0.01, epochs=epochs, batch=8, optimiser="adamw") for epochs in (5, 30)
    )
    assert own(after) < own(little) < own(problem[1])
    for name, value in problem[1].state_dict().items():
        if "running" in name:
            assert torch.equal(value, after.state_dict()[name])


def test_gli_moves_away_from_the_forgotten_and_stays_a_picture(problem: tuple[MethodData, nn.Module]) -> None:
    loader, model = BatchLoader(CPU, 0), copy.deepcopy(problem[1]).eval()
    retained = loader.fetch(problem[0].retain, np.arange(8))
    forgotten = loader.fetch(problem[0].forget, np.arange(5))
    pushed = pushed_away(model, TASKS["classes"], retained, forgotten, 0.0, 3, 0.02)
    away_from = model(forgotten.images)[torch.arange(8) % 5]

    def apart(images: Tensor) -> float:
        return float((model(images) - away_from).square().mean().detach())

    assert apart(pushed.images) > apart(retained.images)
    assert (pushed.images - retained.images).abs().max() <= 3 * 0.02 + 1e-6
    assert pushed.images.abs().max() <= 1
    held = pushed_away(model, TASKS["classes"], retained, forgotten, 1e6, 3, 0.02)
    assert TASKS["classes"].loss(model, held).mean() < TASKS["classes"].loss(model, retained).mean()


def test_noise_is_hard_or_unlike(problem: tuple[MethodData, nn.Module]) -> None:
    torch.manual_seed(0)
    model = copy.deepcopy(problem[1])
    labels = torch.arange(5).repeat_interleave(4)
    rough, hard = (
        hard_noise(model, TASKS["classes"], labels, problem[0].retain.shape, steps, 0.1, 0.1) for steps in (1, 30)
    )
    model.eval()
    assert functional.cross_entropy(model(hard), labels) > functional.cross_entropy(model(rough), labels) + 0.5
    forgotten = BatchLoader(CPU, 0).fetch(problem[0].forget, np.arange(8))
    noise = unlike(model, forgotten, 5, 0.01)
    assert noise.shape == forgotten.images.shape
    assert noise.abs().max() <= 1


# PIU-FR and SCRUB


def test_public_faces_are_put_in_the_order_of_the_forgottens_classes(problem: tuple[MethodData, nn.Module]) -> None:
    data = problem[0]
    matched = matched_public(data)
    assert (matched.targets == data.forget.targets).all()
    assert set(matched.keys) <= set(data.public.keys)
    lacking = replace(data, public=data.public[data.public.targets != data.forget.targets[0]])
    other = matched_public(lacking)
    same = other.targets == data.forget.targets
    assert not same[0]
    assert same[data.forget.targets != data.forget.targets[0]].all()


def test_piu_fr_leaves_the_original_on_the_forgotten_and_less_so_on_public_faces(
    problem: tuple[MethodData, nn.Module],
) -> None:
    after = forgotten_by("piu_fr", problem, lr=3e-3, epochs=20, repair_epochs=0, ceiling=1.0)

    def left(faces: Faces) -> float:
        images, _ = as_tensors(faces)
        with torch.no_grad():
            return float(TASKS["classes"].divergence(after.eval()(images), problem[1].eval()(images)).mean())

    assert left(problem[0].forget) > 2 * left(problem[0].public) > 0


def test_the_forgotten_of_a_class_are_to_lose_what_public_faces_of_it_lose_rank_by_rank(
    problem: tuple[MethodData, nn.Module],
) -> None:
    """Of as many public faces of a class as forgotten ones, the bound is the difference of the sorted losses."""
    data = problem[0]
    public, forget = (faces[np.flatnonzero(faces.targets == 1)[:4]] for faces in (data.public, data.retain))
    loader = BatchLoader(CPU, 0)
    mine, theirs = (piu_fr.losses(problem[1], TASKS["classes"], faces, loader) for faces in (forget, public))
    images, targets = as_tensors(forget)
    with torch.no_grad():
        alone = functional.cross_entropy(problem[1].eval()(images), targets, reduction="none").tolist()
    assert mine == pytest.approx(alone, abs=1e-5)
    found = piu_fr.ceilings(problem[1], TASKS["classes"], forget, public, loader)
    for row in range(4):
        rank = sum(mine < mine[row])
        assert found[row] == pytest.approx(max(0, np.quantile(theirs, (rank + 0.5) / 4) - mine[row]), abs=1e-5)
    other = piu_fr.ceilings(problem[1], TASKS["classes"], forget, data.public[data.public.targets != 1], loader)
    assert other.max() > 0, "without a public face of their class, any"


@pytest.mark.slow
def test_piu_fr_brings_back_who_went_too_far(problem: tuple[MethodData, nn.Module]) -> None:
    def away(ceiling: float, epochs: int) -> float:
        after = forgotten_by("piu_fr", problem, lr=3e-3, epochs=epochs, repair_epochs=0, ceiling=ceiling, clip=10.0)
        images, _ = as_tensors(problem[0].forget)
        with torch.no_grad():
            return float(TASKS["classes"].divergence(after.eval()(images), problem[1].eval()(images)).mean())

    assert away(0.2, 40) < 0.4 < away(float("inf"), 40)


def test_piu_fr_without_a_push_would_not_move_at_all(problem: tuple[MethodData, nn.Module]) -> None:
    """The published trap: where student and teacher answer alike, the divergence has no gradient."""
    images, _ = as_tensors(problem[0].forget)
    model = copy.deepcopy(problem[1]).eval()
    TASKS["classes"].divergence(model(images), model(images).detach()).mean().backward()  # type: ignore[no-untyped-call]
    assert max(float(weight.grad.abs().max()) for weight in model.parameters() if weight.grad is not None) < 1e-6


def test_piu_fr_says_what_it_lacks(problem: tuple[MethodData, nn.Module]) -> None:
    data = replace(problem[0], public=problem[0].public[np.arange(0)])
    message = refusal(METHODS["piu_fr"], copy.deepcopy(problem[1]), TASKS["classes"], data, BatchLoader(CPU, 0))
    assert "split.public" in message
    message = refusal(
        METHODS["scrub"], copy.deepcopy(problem[1]), TASKS["classes"], data, BatchLoader(CPU, 0), rewind=True
    )
    assert "split.public" in message


def test_rewinding_goes_to_the_model_nearest_to_held_out_faces(problem: tuple[MethodData, nn.Module]) -> None:
    passed = [forgotten_by("finetune", problem, epochs=count, lr=5e-3) for count in (1, 4, 8)]
    chosen = rewound(passed, TASKS["classes"], problem[0], BatchLoader(CPU, 0))
    goal = mean_loss(passed[-1], matched_public(problem[0]))
    gaps = [abs(mean_loss(one, problem[0].forget) - goal) for one in passed]
    assert chosen is passed[int(np.argmin(gaps))]


def test_the_benchmarks_scrub_passes_over_all_retained_and_returns_first(problem: tuple[MethodData, nn.Module]) -> None:
    class Watched(BatchLoader):
        seen: list[str]

        def count(self, faces: Faces, rows: Any) -> None:
            self.seen = [*getattr(self, "seen", []), "forget" if len(faces) == len(problem[0].forget) else "retain"]
            super().count(faces, rows)

    loader = Watched(CPU, 0)
    METHODS["scrub"](
        copy.deepcopy(problem[1]),
        TASKS["classes"],
        problem[0],
        loader,
        epochs=1,
        max_epochs=1,
        batch=32,
        order="retain first",
        epoch_of="retain",
    )
    forget, retain = (-(-len(faces) // 32) for faces in (problem[0].forget, problem[0].retain))
    trained = loader.seen[-(forget + retain) :]
    assert trained == ["retain"] * retain + ["forget"] * forget


def test_the_benchmarks_neggrad_repeats_the_forgotten_for_a_pass_over_the_retained(
    problem: tuple[MethodData, nn.Module],
) -> None:
    loader, count = BatchLoader(CPU, 0), len(problem[0].forget)
    METHODS["neggrad"](
        copy.deepcopy(problem[1]),
        TASKS["classes"],
        problem[0],
        loader,
        batch=count,
        epochs=2,
        epoch_of="retain",
        ceiling=float("inf"),
        clip=float("inf"),
        optimiser="plain_sgd",
    )
    asked_before, steps = 1, 2 * batches_of(len(problem[0].retain), count)
    assert loader.faces_used == (asked_before + steps) * count


@pytest.mark.parametrize(
    "name",
    [
        *("scrub", "unsir_benchmark", "gli", "salun", "piu_fr", "neggrad_plus"),
        pytest.param("unsir_official", marks=pytest.mark.slow),
    ],
)
def test_faces_are_changed_at_random_while_unlearning(name: str, problem: tuple[MethodData, nn.Module]) -> None:
    """On faces that look the same in a mirror, mirroring changes nothing; on others it does."""
    settings: dict[str, Any] = {"epochs": 1, "batch": 32} if name != "unsir_official" else {"noise_steps": 2}
    settings |= {"labels": False} if name == "neggrad_plus" else {"repair_epochs": 1} if name == "piu_fr" else {}
    store = problem[0].retain.images.store
    symmetric = np.maximum(store, store[..., ::-1])

    def shown(images: np.ndarray) -> tuple[MethodData, nn.Module]:
        forget, retain, public = (
            replace(one, images=Images(images, one.images.rows))
            for one in (problem[0].forget, problem[0].retain, problem[0].public)
        )
        return MethodData(forget, retain, public), problem[1]

    def far(images: np.ndarray) -> float:
        plain, mirrored = (
            forgotten_by(name, shown(images), augment=augment, **settings).state_dict() for augment in ("none", "flip")
        )
        return max(float((plain[key].float() - mirrored[key].float()).abs().max()) for key in plain)

    assert far(symmetric) < 1e-3 * far(store)


def test_the_teacher_answers_the_very_pictures_that_are_shown(problem: tuple[MethodData, nn.Module]) -> None:
    loader, data = BatchLoader(CPU, 0), problem[0]
    student = copy.deepcopy(problem[1])
    teacher = teacher_of(student, data, loader, "flip")
    assert loader.faces_used == 0
    nn.init.zeros_(student.get_parameter("fc.weight"))
    shown = next(loader(data.forget, batch=16, augment="flip"))
    with torch.no_grad():
        assert torch.allclose(teacher.of_forgotten(shown), problem[1].eval()(shown.images), atol=1e-5)
    known = teacher_of(problem[1], data, loader)
    assert not torch.allclose(known.of_forgotten(shown), teacher.of_forgotten(shown), atol=1e-3)
    plain = loader.fetch(data.retain, np.arange(8))
    assert torch.allclose(known.of_retained(plain), teacher.of_retained(plain), atol=1e-5)


def test_scrubs_rate_falls_at_its_milestones(problem: tuple[MethodData, nn.Module], monkeypatch: Any) -> None:
    rates: list[float] = []

    def recorded(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()

    monkeypatch.setattr(scrub, "training_step", recorded)
    batch = len(problem[0].forget)
    forgotten_by("scrub", problem, epochs=3, max_epochs=2, batch=batch, lr=1.0, milestones=(1, 2))
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_temperature_leaves_distances_of_coordinates_as_they_are() -> None:
    """T² times the divergence of answers over T is the divergence, where that is a squared distance."""
    splits, original = tiny_problem(TASKS["eyes"])
    models = []
    for temperature in (1.0, 4.0):
        with deterministic_torch(CPU, 1, 1):
            models.append(
                METHODS["scrub"](
                    copy.deepcopy(original),
                    TASKS["eyes"],
                    splits.data,
                    BatchLoader(CPU, 1),
                    epochs=1,
                    temperature=temperature,
                )
            )
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-4)
