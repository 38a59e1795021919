"""Every method keeps the contract on every task, and the check notices when one does not."""

import copy
import inspect
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conftest import refusal
from efface.data.batches import BatchLoader
from efface.data.faces import Faces, MethodData
from efface.experiment.resolve import resolve
from efface.methods import METHODS, tasks_of
from efface.plan.file import parse_plan
from efface.tasks import TASKS
from efface.testing import LABELS, check_method, tiny_problem
from efface.training.environment import deterministic_torch
from efface.training.train import training_step

BRIEFLY: dict[str, dict[str, Any]] = {
    "retrain": {"epochs": 2},
    "cure": {"epochs": 3},
    "unsir": {"epochs": 3, "noise_steps": 3},
    "laf": {"epochs": 3, "autoencoder_steps": 20},
    "dampening": {"alpha": 1.0},
    "ssd": {"alpha": 1.0},
    "unsir_official": {"noise_steps": 3, "impair_steps": 3},
    "scrub": {"epochs": 3},
    "bad_teacher": {"epochs": 3},
    "dispersion": {"epochs": 3},
    "miu": {"epochs": 1, "tuning": 3},
    "unsir_benchmark": {"epochs": 1, "noise_steps": 2},
    "piu_fr": {"epochs": 2},
    "out_of_fold": {"steps": 4},
    **{
        name: {"epochs": 1}
        for name in ("salun", "l1_sparse", "amnesiac", "sfr_on", "msg", "eu_k", "cf_k", "ct", "delete")
    },
}
LABEL_FREE = ("cure", "scrub", "bad_teacher", "unsir", "dampening", "jit", "laf", "dispersion")


@pytest.mark.parametrize(("name", "task"), [(name, task) for name in METHODS for task in tasks_of(name)])
def test_every_method_on_every_task_it_works_on(name: str, task: str) -> None:
    check_method(METHODS[name], task, **BRIEFLY.get(name, {}))


@pytest.mark.parametrize(
    ("name", "task"), [(name, task) for name in METHODS for task in TASKS if task not in tasks_of(name)]
)
def test_a_plan_that_asks_it_of_another_task_is_refused(name: str, task: str) -> None:
    data = {"name": "synthetic", "label": list(LABELS[TASKS[task].labels])}
    plan = {
        "task": task,
        "goal": "influence removed",
        "data": data,
        "forget": {"share": 0.2},
        "model": {"name": TASKS[task].models[0]},
        "methods": {name: {}},
    }
    message = refusal(resolve, parse_plan(plan, "plan"), "plan")
    assert f"{name} works on" in message
    assert f"'{task}'" in message


@pytest.mark.parametrize("name", [*LABEL_FREE, "neggrad_plus"])
def test_label_free_methods_never_look_at_who_anybody_is(name: str) -> None:
    splits, original = tiny_problem(TASKS["recognition"])
    settings = {**BRIEFLY.get(name, {}), **({"labels": False} if name == "neggrad_plus" else {})}

    def forgotten_by(data: MethodData) -> dict[str, torch.Tensor]:
        with deterministic_torch(torch.device("cpu"), 1, 1):
            model = METHODS[name](
                copy.deepcopy(original), TASKS["recognition"], data, BatchLoader(torch.device("cpu"), 1), **settings
            )
        return model.state_dict()

    def anonymous(faces: Faces) -> Faces:
        return replace(faces, targets=np.full_like(faces.targets, -1), identities=np.full(len(faces), "nobody"))

    named = forgotten_by(splits.data)
    unnamed = forgotten_by(MethodData(anonymous(splits.forget), anonymous(splits.retain), anonymous(splits.public)))
    assert all(torch.equal(named[name], unnamed[name]) for name in named)


SOURCE = re.compile(
    r"arXiv:\d{4}\.\d{4,5}\b|\b10\.\d{4,9}/\S+|\b[A-Z][A-Za-z]*[&A-Z]\w*( Workshops)? (19|20)\d\d\b|\bOur own\b"
)
"""An arXiv id, a DOI, a venue with its year; or that it is our own."""
DIFFERENCE = re.compile(r"\b([Oo]urs|differs|[Hh]ere|as published|[Aa]s there|Our own)\b")
"""How the docstring of a method sets this implementation off from the paper's."""


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_where_it_comes_from_how_it_differs_and_what_it_needs(name: str) -> None:
    source = " ".join((inspect.getdoc(inspect.getmodule(METHODS[name])) or "").split())
    assert SOURCE.search(source)
    assert DIFFERENCE.search(source)
    does, _, needs = " ".join((inspect.getdoc(METHODS[name]) or "").split()).partition(" Needs: ")
    assert does.endswith(".")
    assert re.match(r"(both|the|forgotten|retained|public|nothing)\b.+\.$", needs)


@pytest.mark.parametrize("text", ["A baseline.", "Of 2024.", "Smith 2024.", "By a paper, version 10.2.", "arXiv, 2024"])
def test_no_source_is_taken_for_none(text: str) -> None:
    assert not SOURCE.search(text)


def does_nothing(model, task, data, loader, *, lr: float = 0.1):  # type: ignore[no-untyped-def]
    """Nothing. Needs: nothing."""
    list(loader(data.forget))
    return model


def takes_anything(model, task, data, loader, *, lr: float = 0.1, **rest):  # type: ignore[no-untyped-def]
    """Anything."""
    return model


def ignores_the_loader(model, task, data, loader, *, lr: float = 0.1):  # type: ignore[no-untyped-def]
    """Shrinks the weights unseen."""
    for parameter in model.parameters():
        parameter.data.mul_(0.5)
    return model


def uses_numpy_global(model, task, data, loader, *, lr: float = 0.1):  # type: ignore[no-untyped-def]
    """Random numbers from nowhere."""
    import numpy as np

    for faces in loader(data.forget):
        optimiser = torch.optim.SGD(model.parameters(), lr * np.random.random())  # noqa: NPY002
        training_step(optimiser, task.loss(model, faces).mean())
    return model


def spoils_the_faces(model, task, data, loader, *, lr: float = 1e-3):  # type: ignore[no-untyped-def]
    """Writes into the data."""
    for faces in loader(data.forget):
        training_step(torch.optim.SGD(model.parameters(), lr), task.loss(model, faces).mean())
    data.forget.targets[:] = 0
    return model


def explodes(model, task, data, loader, *, lr: float = 1.0):  # type: ignore[no-untyped-def]
    """Not a number."""
    list(loader(data.forget))
    nn.init.constant_(next(model.parameters()), float("nan"))
    return model


@pytest.mark.parametrize(
    ("method", "complaint"),
    [
        (does_nothing, "moves no weight"),
        (takes_anything, "expected model, task, data, loader|without"),
        (ignores_the_loader, "no face from the loader"),
        (uses_numpy_global, "changed|repeatable"),
        (spoils_the_faces, "changes the faces"),
        (explodes, "not finite"),
    ],
)
def test_a_broken_promise_is_named(method, complaint: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(AssertionError, match=complaint):
        check_method(method)
