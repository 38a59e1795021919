"""The contract of a method, for methods of this package and of anybody else."""

from __future__ import annotations

import copy
import inspect
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from efface.data.batches import BatchLoader
from efface.data.faces import FaceTable, MethodData, Splits, TeacherModel, together
from efface.data.groups import grouped
from efface.data.split import split_faces
from efface.datasets import GENERATORS
from efface.errors import InputError
from efface.experiment.loading import as_faces, selected
from efface.methods import Method
from efface.models import MODELS
from efface.models.reset import reinitialise
from efface.plan.tables import Forget, Source, Split
from efface.settings import validated
from efface.tasks import Task, task_named
from efface.training.environment import deterministic_torch
from efface.training.train import train

LABELS: dict[str, tuple[str, ...]] = {"none": (), "one": ("age",), "several": ("smile", "glasses")}
"""What is asked of the synthetic faces."""


def check_method(method: Method, task: str | Task = "eyes", **settings: Any) -> None:
    """Raise AssertionError, naming the broken promise, unless `method` keeps the contract on a tiny task.

    The promises: settings are keyword-only, annotated, and have defaults; unknown ones are refused; the same seed
    gives the same weights and another seed others; weights move and stay finite; faces come from the loader; the
    data and the process's random, gradient and determinism state are left as found.
    """
    _check_signature(method)
    _check_unknown_refused(method)
    task = task if isinstance(task, Task) else task_named(task)
    splits, original = tiny_problem(task)
    data = with_teachers(splits, original, task)
    chosen = validated(method, settings, method.__name__)
    before = _bytes_of(splits)
    state = _global_state()
    first, faces_used = _applied(method, original, task, data, 1, chosen)
    _require(_global_state() == state, method, "leaves random, gradient or determinism state of the process changed")
    _require(_bytes_of(splits) == before, method, "changes the faces it was given")
    _require(faces_used > 0, method, "takes no face from the loader, so its bill cannot be made")
    _require(all(torch.isfinite(value).all() for value in first.values()), method, "leaves weights that are not finite")
    moved = any((first[name] != value).any() for name, value in original.state_dict().items())
    _require(moved, method, "moves no weight")
    again, _ = _applied(method, original, task, data, 1, chosen)
    _require(all(torch.equal(first[name], again[name]) for name in first), method, "is not repeatable under one seed")
    other, _ = _applied(method, original, task, data, 2, chosen)
    _require(any((first[name] != other[name]).any() for name in first), method, "ignores the seed")


def tiny_problem(task: Task) -> tuple[Splits, nn.Module]:
    """A few synthetic people divided as a request would, and a model trained on them for a moment.

    Made once for each task; everybody who asks has a copy of their own.
    """
    return copy.deepcopy(_tiny_problem(task))


@cache
def _tiny_problem(task: Task) -> tuple[Splits, nn.Module]:
    name, settings = task.smallest_model
    source = Source(name="synthetic", label=LABELS[task.labels])
    face_table: FaceTable = GENERATORS["synthetic"].make(people=160, photos_per_person=3, size=(24, 24))
    faces = as_faces(face_table, grouped(selected(face_table.table, source), source, face_table), task, source.label)
    splits, names = task.settle(split_faces(faces, Split(), Forget(group="B", share=0.5)), source.label)
    with deterministic_torch(torch.device("cpu"), 1):
        untrained = MODELS[name](faces.shape, len(names), **settings)
        model = train(untrained, task, splits.retain, BatchLoader(torch.device("cpu"), 0), epochs=2)
    return splits, model


def with_teachers(splits: Splits, like: nn.Module, task: Task) -> MethodData:
    """What a method is handed, with a model of each half of the trained people, trained for a moment when asked for."""
    everyone = together(splits.forget, splits.retain)
    names = np.unique(everyone.identities)

    def teacher(half: int) -> TeacherModel:
        mine = np.isin(everyone.identities, names[half::2])

        @cache
        def load() -> nn.Module:
            with deterministic_torch(torch.device("cpu"), 1, half), torch.enable_grad():
                fresh = reinitialise(copy.deepcopy(like).requires_grad_(True))
                loader = BatchLoader(torch.device("cpu"), half)
                trained = train(fresh, task, everyone[np.flatnonzero(mine)], loader, epochs=1)
            return trained.requires_grad_(False).eval()

        return TeacherModel(frozenset(names[half::2].tolist()), load)

    return replace(splits.data, teachers=(teacher(0), teacher(1)))


def _applied(
    method: Method,
    original: nn.Module,
    task: Task,
    data: MethodData,
    seed: int,
    settings: dict[str, Any],
) -> tuple[dict[str, torch.Tensor], int]:
    loader = BatchLoader(torch.device("cpu"), seed)
    data = replace(data, checkpoints={1: copy.deepcopy(original.state_dict())})
    with deterministic_torch(torch.device("cpu"), 1, seed):
        model = method(copy.deepcopy(original), task, data, loader, **settings)
    return model.state_dict(), loader.faces_used


def _check_signature(method: Method) -> None:
    parameters = list(inspect.signature(method).parameters.values())
    positional = [one for one in parameters if one.kind is not one.KEYWORD_ONLY]
    _require(
        [one.name for one in positional] == ["model", "task", "data", "loader"],
        method,
        f"takes {[one.name for one in positional]}: expected model, task, data, loader, then settings after *",
    )
    for one in parameters[len(positional) :]:
        _require(one.default is not one.empty, method, f"has no default for setting '{one.name}'")
        _require(one.annotation is not one.empty, method, f"has no type for setting '{one.name}'")
    _require(bool(inspect.getdoc(method)), method, "has no docstring to list it by")


def _check_unknown_refused(method: Method) -> None:
    try:
        validated(method, {"no_such_setting": 1}, method.__name__)
    except InputError:
        return
    raise AssertionError(f"{method.__name__} accepts settings it does not have: name each, without **")


def _bytes_of(splits: Splits) -> list[bytes]:
    return [
        part.tobytes()
        for _, faces in splits.items()
        for part in (faces.images[:], np.ascontiguousarray(faces.targets), faces.groups, faces.identities)
    ]


def _global_state() -> tuple[Any, ...]:
    legacy = np.random.get_state()[1].tobytes()  # type: ignore[index] # noqa: NPY002
    return (
        torch.random.get_rng_state().numpy().tobytes(),
        legacy,
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_default_dtype(),
    )


def _require(kept: bool, method: Method, broken: str) -> None:
    if not kept:
        raise AssertionError(f"{method.__name__} {broken}")
