"""Every method keeps the contract on every task, and the check notices when one does not."""

import ast
import inspect

import pytest
import torch
from torch import nn

from efface.methods import METHODS
from efface.tasks import TASKS
from efface.testing import check_method
from efface.train import descend


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_on_every_task(name: str, task: str) -> None:
    check_method(METHODS[name], task)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_where_it_comes_from_and_what_it_needs(name: str) -> None:
    assert "Needs" in (METHODS[name].__doc__ or "")
    assert ast.get_docstring(ast.parse(inspect.getsource(inspect.getmodule(METHODS[name]))))  # type: ignore[arg-type]


def does_nothing(model, task, material, feed, *, lr: float = 0.1):  # type: ignore[no-untyped-def]
    """Nothing. Needs: nothing."""
    list(feed(material.forget))
    return model


def takes_anything(model, task, material, feed, *, lr: float = 0.1, **rest):  # type: ignore[no-untyped-def]
    """Anything."""
    return model


def ignores_the_feed(model, task, material, feed, *, lr: float = 0.1):  # type: ignore[no-untyped-def]
    """Shrinks the weights unseen."""
    for parameter in model.parameters():
        parameter.data.mul_(0.5)
    return model


def uses_numpy_global(model, task, material, feed, *, lr: float = 0.1):  # type: ignore[no-untyped-def]
    """Random numbers from nowhere."""
    import numpy as np

    for faces in feed(material.forget):
        optimiser = torch.optim.SGD(model.parameters(), lr * np.random.random())  # noqa: NPY002
        descend(optimiser, task.loss(model, faces).mean())
    return model


def spoils_the_faces(model, task, material, feed, *, lr: float = 1e-3):  # type: ignore[no-untyped-def]
    """Writes into the data."""
    for faces in feed(material.forget):
        descend(torch.optim.SGD(model.parameters(), lr), task.loss(model, faces).mean())
    material.forget.targets[:] = 0
    return model


def explodes(model, task, material, feed, *, lr: float = 1.0):  # type: ignore[no-untyped-def]
    """Not a number."""
    list(feed(material.forget))
    nn.init.constant_(next(model.parameters()), float("nan"))
    return model


@pytest.mark.parametrize(("method", "complaint"), [
    (does_nothing, "moves no weight"), (takes_anything, "expected model, task, material, feed|without"),
    (ignores_the_feed, "no face from the feed"), (uses_numpy_global, "changed|repeatable"),
    (spoils_the_faces, "changes the faces"), (explodes, "not finite"),
])
def test_a_broken_promise_is_named(method, complaint: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(AssertionError, match=complaint):
        check_method(method)
