"""Targets from models that never met whom they answer for: rotated, calibrated, averaged, and never a label."""

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import faces_of, refusal
from efface.data.batches import BatchLoader
from efface.data.faces import Array, Faces, MethodData, TeacherModel
from efface.data.vectors import units
from efface.methods import METHODS
from efface.methods.out_of_fold import (
    WEIGHTS,
    calibrated,
    lengths,
    log_length_error,
    out_of_fold,
    rotation,
    targets_of,
    trained_on_public,
)
from efface.tasks import TASKS, Task
from efface.testing import tiny_problem, with_teachers
from efface.training.environment import deterministic_torch

CPU = torch.device("cpu")


class Answer(nn.Module):
    """Answers each image with a function of its pixels."""

    def __init__(self, of: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.of = of

    def forward(self, images: Tensor) -> Tensor:
        return self.of(images)


def knows(people: set[str], of: Callable[[Tensor], Tensor]) -> TeacherModel:
    return TeacherModel(frozenset(people), lambda: Answer(of))


def constant(*outputs: float) -> Callable[[Tensor], Tensor]:
    return lambda images: torch.tensor([outputs]).repeat(len(images), 1)


def data_of(forget: Faces) -> MethodData:
    return MethodData(forget, forget, forget)


def targets(task: Task, teachers: list[TeacherModel], data: MethodData, original: nn.Module | None = None) -> Array:
    return targets_of(original or nn.Identity(), teachers, task, data, BatchLoader(CPU, 0))


def test_procrustes_finds_a_rotation_and_a_part_of_one() -> None:
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    seen = rng.normal(size=(40, 5))
    assert np.allclose(rotation(seen, seen @ turn), turn, atol=1e-5)
    narrow = seen[:, :3]
    found = rotation(narrow, narrow @ turn[:3])
    assert found.shape == (3, 5)
    assert np.allclose(found, turn[:3], atol=1e-5)
    assert np.allclose(rotation(seen, narrow).T @ rotation(seen, narrow), np.eye(3), atol=1e-5)


def test_lengths_are_brought_to_another_mean_and_spread_of_logarithms() -> None:
    of, to = np.exp([0.0, 1.0, 2.0]), np.exp([5.0, 8.0, 11.0])
    assert np.allclose(calibrated(np.exp([0.0, 1.0, 3.0]), of, to), np.exp([5.0, 8.0, 14.0]))
    assert np.allclose(lengths(np.array([[3.0, 4.0], [0.0, 2.0]])), [5, 2])


def test_the_error_of_a_length_is_of_its_logarithm() -> None:
    one, other = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[0.0, 5.0], [0.0, np.e**2]])
    assert log_length_error(one, other).tolist() == pytest.approx([0, 4])


def test_points_and_logits_are_the_mean_of_all_who_never_met_the_person() -> None:
    faces = faces_of({"A": 3})
    teachers = [knows({"A0"}, constant(0.0, 9.0)), knows({"A1"}, constant(3.0, 0.0)), knows({"A2"}, constant(6.0, 3.0))]
    found = targets(TASKS["classes"], teachers, data_of(faces))
    wanted = {"A0": [4.5, 1.5], "A1": [3.0, 6.0], "A2": [1.5, 4.5]}
    assert np.allclose(found, [wanted[person] for person in faces.identities])


@pytest.mark.parametrize("task", ["eyes", "classes"])
def test_a_spread_is_of_embeddings_alone(task: str) -> None:
    splits, original = tiny_problem(TASKS[task])
    data = with_teachers(splits, original, TASKS[task])
    message = refusal(out_of_fold, original, TASKS[task], data, BatchLoader(CPU, 0), spread="original")
    assert "spread = 'original' is of embeddings" in message


@pytest.mark.parametrize("task", TASKS)
def test_the_forgotten_weigh_what_is_given_and_what_suits_the_answers_otherwise(task: str) -> None:
    splits, original = tiny_problem(TASKS[task])
    data = with_teachers(splits, original, TASKS[task])
    usual = WEIGHTS[TASKS[task].outputs]
    made = [weights_after(data, original, task, forget=one) for one in (None, usual, 2 * usual)]
    same = [all(torch.equal(one, made[0][name]) for name, one in other.items()) for other in made[1:]]
    assert same == [True, False]


def test_embeddings_are_of_one_model_turned_into_the_space_of_the_original() -> None:
    faces = faces_of({"A": 20}, shape=(1, 2, 2))
    turn = torch.from_numpy(np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0].astype(np.float32))
    half = set(faces.identities[:20])

    def flat(images: Tensor) -> Tensor:
        return images.flatten(1)

    teachers = [knows(half, lambda images: 3 * flat(images) @ turn), knows(set(faces.identities) - half, flat)]
    found = targets(TASKS["recognition"], teachers, data_of(faces), Answer(flat))
    embeddings = BatchLoader(CPU, 0).outputs(Answer(flat), faces)
    assert np.allclose(units(found), units(embeddings), atol=1e-4)
    assert np.allclose(lengths(found), lengths(embeddings), rtol=1e-3)


@pytest.mark.parametrize("task", TASKS)
def test_no_model_answers_for_anybody_it_met(task: str) -> None:
    splits, original = tiny_problem(TASKS[task])
    asked: list[tuple[TeacherModel, Faces]] = []

    class Watched(BatchLoader):
        def outputs(self, model: nn.Module, faces: Faces) -> Array:
            asked.extend((one, faces) for one, network in loaded if network is model)
            return super().outputs(model, faces)

    loaded: list[tuple[TeacherModel, nn.Module]] = []

    def watched(one: TeacherModel) -> TeacherModel:
        def load() -> nn.Module:
            loaded.append((one, one.load()))
            return loaded[-1][1]

        return replace(one, load=load)

    data = with_teachers(splits, original, TASKS[task])
    with deterministic_torch(CPU, 1):
        targets_of(original, [watched(one) for one in data.teachers], TASKS[task], data, Watched(CPU, 0))
    answered = [key for one, faces in asked for key in faces.keys.tolist() if key in set(data.forget.keys.tolist())]
    assert set(answered) == set(data.forget.keys.tolist())
    assert not any(one.people & set(faces.identities.tolist()) for one, faces in asked)


def test_who_was_met_by_every_model_is_refused_and_so_are_no_models_and_nobody_to_turn_by() -> None:
    faces = faces_of({"A": 2})
    everybody = [knows({"A0", "A1"}, constant(0.0, 1.0))]
    assert "trained on 'A0'" in refusal(targets, TASKS["classes"], everybody, data_of(faces))
    stranger = [knows(set(), constant(0.0, 1.0))]
    alone = replace(data_of(faces), public=faces[np.zeros(0, int)])
    assert "split.public" in refusal(targets, TASKS["recognition"], stranger, alone)
    splits, original = tiny_problem(TASKS["eyes"])
    message = refusal(out_of_fold, original, TASKS["eyes"], splits.data, BatchLoader(CPU, 0))
    assert "add [folds]" in message
    nobody = replace(splits.data, public=splits.public[np.zeros(0, int)])
    message = refusal(out_of_fold, original, TASKS["eyes"], nobody, BatchLoader(CPU, 0), teacher="public")
    assert "split.public" in message


def weights_after(data: MethodData, original: nn.Module, task: str, **settings: object) -> dict[str, Tensor]:
    with deterministic_torch(CPU, 1, 1):
        model = METHODS["out_of_fold"](
            copy.deepcopy(original), TASKS[task], data, BatchLoader(CPU, 1), steps=3, **settings
        )
    return model.state_dict()


def test_labels_and_groups_are_never_looked_at() -> None:
    splits, original = tiny_problem(TASKS["recognition"])
    data = with_teachers(splits, original, TASKS["recognition"])

    def unlabelled(faces: Faces) -> Faces:
        return replace(faces, targets=np.full_like(faces.targets, -1), groups=np.full(len(faces), ""))

    hidden = replace(
        data, forget=unlabelled(data.forget), retain=unlabelled(data.retain), public=unlabelled(data.public)
    )
    one, other = (weights_after(each, original, "recognition") for each in (data, hidden))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_student_comes_nearer_to_its_targets() -> None:
    task = TASKS["eyes"]
    splits, original = tiny_problem(task)
    data = with_teachers(splits, original, task)
    with deterministic_torch(CPU, 1):
        wanted = torch.from_numpy(targets_of(original, data.teachers, task, data, BatchLoader(CPU, 0)))
        student = out_of_fold(copy.deepcopy(original), task, data, BatchLoader(CPU, 0))

        def distance(model: nn.Module) -> float:
            outputs = torch.from_numpy(BatchLoader(CPU, 0).outputs(model, data.forget)[:])
            return float(task.divergence(outputs, wanted).mean())

        before, after = distance(original), distance(student)
    assert after < before / 2


def test_its_bill_counts_public_training_and_does_not_grow_with_the_retained() -> None:
    splits, original = tiny_problem(TASKS["recognition"])
    data = with_teachers(splits, original, TASKS["recognition"])
    small = replace(data, retain=data.retain[np.arange(len(data.retain) // 2)])

    def bill(data: MethodData, **settings: object) -> int:
        loader = BatchLoader(CPU, 0)
        with deterministic_torch(CPU, 1):
            METHODS["out_of_fold"](
                copy.deepcopy(original),
                TASKS["recognition"],
                data,
                loader,
                steps=2,
                batch_forget=16,
                batch_retain=16,
                **settings,
            )
        return loader.faces_used

    teaching = 2 * (16 + 16)
    answering = 3 * len(data.public) + len(data.forget)
    assert bill(data) == bill(small) == teaching + answering
    public = bill(data, teacher="public", public_epochs=3, public_lr=0.01)
    assert public == teaching + 2 * len(data.public) + len(data.forget) + 3 * len(data.public)


@pytest.mark.parametrize("task", TASKS)
def test_a_network_of_public_people_alone(task: str) -> None:
    splits, original = tiny_problem(TASKS[task])
    before = {name: value.clone() for name, value in original.state_dict().items()}
    data = replace(splits.data, teachers=())
    with deterministic_torch(CPU, 1):
        loader = BatchLoader(CPU, 0)
        trained = trained_on_public(original, TASKS[task], data.public, loader, epochs=1, lr=1e-3, optimiser="adamw")
        out_of_fold(
            copy.deepcopy(original),
            TASKS[task],
            data,
            loader,
            teacher="public",
            steps=2,
            public_epochs=1,
            public_lr=1e-3,
            public_optimiser="adamw",
        )
    assert not any(weight.requires_grad for weight in trained.parameters())
    assert all(torch.equal(before[name], value) for name, value in original.state_dict().items())
