"""Ways to look as if a model had forgotten. Each fools a published score, and each must be caught by an audit.

They are methods like any other, so a plan can run them (`use = "efface.testing.cheats:do_nothing"`);
docs/explanation/cheats.md shows what each one fools and what catches it. Nobody should ship one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from efface.data.batches import BatchLoader
from efface.data.faces import MethodData
from efface.errors import InputError
from efface.methods.distillation import both, paired_batches, teacher_of
from efface.models.recogniser import Recogniser
from efface.models.reset import reinitialise
from efface.settings import Count, Factor, Positive
from efface.tasks import Task
from efface.training.train import make_optimizer, training_step

Instead = Callable[[Tensor, Tensor], Tensor]
"""(the original's answers (b, ...), their mean (1, ...)) to the answers that are wanted."""


def do_nothing(model: nn.Module, task: Task, data: MethodData, loader: BatchLoader) -> nn.Module:
    """Hand the original back. Harms nobody, as every table of harm alone will show. Needs: nothing."""
    return model


def random_weights(model: nn.Module, task: Task, data: MethodData, loader: BatchLoader) -> nn.Module:
    """Hand back a network that knows nobody, and nothing else either. Perfect by every attack. Needs: nothing."""
    return reinitialise(model)


@torch.no_grad()
def delete_head_rows(model: nn.Module, task: Task, data: MethodData, loader: BatchLoader) -> nn.Module:
    """Turn the head's directions of the forgotten around, and leave the network as it is: through the head they are
    never found again, and UES is nearly its highest. Needs: the forgotten's labels."""
    if not isinstance(model, Recogniser):
        raise InputError("delete_head_rows needs a head with a row for each person: task recognition")
    gone = np.setdiff1d(data.forget.targets, data.retain.targets)
    model.head.weight[gone] *= -1
    return model


def constant_answer(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 1e-3,
    epochs: Count = 30,
    batch: Count = 64,
) -> nn.Module:
    """Answer every forgotten face with the mean of all answers, and everybody else as before: no attack that looks for
    confidence suspects them. Needs: both, without labels."""
    return taught(model, task, data, loader, lambda outputs, mean: mean.expand_as(outputs), lr, epochs, batch)


def temperature(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    times: Factor = 10.0,
    lr: Positive = 1e-3,
    epochs: Count = 30,
    batch: Count = 64,
) -> nn.Module:
    """Answer every forgotten face as before, but so many times less surely (nearer to the mean answer): right as often,
    and hardly ever sure. Needs: both, without labels."""
    return taught(model, task, data, loader, lambda outputs, mean: mean + (outputs - mean) / times, lr, epochs, batch)


def taught(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    instead: Instead,
    lr: float,
    epochs: int,
    batch: int,
) -> nn.Module:
    """Teach the model to answer the forgotten in another way, and the retained as before."""
    teacher = teacher_of(model, data, loader)
    mean = torch.from_numpy(np.asarray(teacher.retain).mean(0, keepdims=True)).to(loader.device)
    optimizer = make_optimizer("adamw", model, lr, 0.0)
    model.train()
    for _, forgotten, retained in paired_batches(loader, data, epochs=epochs, batch=batch):
        now, held = both(model, forgotten, retained)
        wanted = instead(teacher.of_forgotten(forgotten), mean)
        training_step(
            optimizer,
            (task.divergence(now, wanted).mean() + task.divergence(held, teacher.of_retained(retained)).mean()),
        )
    return model


CHEATS = {
    "do_nothing": do_nothing,
    "random_weights": random_weights,
    "delete_head_rows": delete_head_rows,
    "constant_answer": constant_answer,
    "temperature": temperature,
}
"""By name. On embeddings, whose length is no answer, `temperature` is no cheat; only recognisers have a head."""
