"""SCRUB: away from the original on the forgotten, back to it on the retained, in turns.

Kurmanji et al., Towards Unbounded Machine Unlearning, NeurIPS 2023, arXiv:2302.09880. Ours differs: outputs are
compared as the task compares them; a pass over the retained is as long as one over the forgotten (`epoch_of =
"retain"`: all of them, as published); the learning rate falls to zero along a line (published: to a tenth at epochs 5,
8 and 9 of ten, `milestones = [5, 8, 9]`); the gradient of a step away is clipped, since not every divergence is
bounded; and `gamma`, the weight of the labelled loss on the retained (published: about 1), is 0, so that no label is
used: a row of a plan that leaves it so is named "scrub, gamma 0". The MUFAC benchmark returns first and leaves second
(`order = "retain first"`), at temperature 4, on faces changed at random (`augment = "benchmark"`: the original answers
the same changed faces).

`rewind` is SCRUB+R: of the models after each epoch, the one is kept whose loss on the forgotten is nearest to what the
last one loses on public faces in the same mix of labels. The paper goes by the error rate on held-out faces of the
forgotten's classes; the loss also serves coordinates.
"""

from __future__ import annotations

import copy
import itertools
from typing import Literal

import torch
from torch import nn

from efface.data.augment import Augment
from efface.data.batches import BatchLoader, batches_of, derive
from efface.data.faces import Faces, MethodData
from efface.errors import InputError
from efface.methods.distillation import EpochOf, loss_of, perturb, teacher_of
from efface.methods.matched_public_faces import matched_public
from efface.settings import Count, Limit, Positive, Strength
from efface.tasks import Task
from efface.training.train import Optimiser, linear_decay, make_optimizer, step_decay, training_step


def scrub(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 1e-3,
    epochs: Count = 15,
    max_epochs: Count = 10,
    batch: Count = 64,
    optimiser: Optimiser = "adamw",
    alpha: Strength = 1.0,
    gamma: Strength = 0.0,
    temperature: Positive = 1.0,
    clip: Limit = 10.0,
    order: Literal["forget first", "retain first"] = "forget first",
    epoch_of: EpochOf = "forget",
    anneal: bool = True,
    milestones: tuple[Count, ...] = (),
    rewind: bool = False,
    augment: Augment = "none",
) -> nn.Module:
    """In each of the first `max_epochs` epochs leave the original on the forgotten, and in every epoch return to it on
    the retained. Needs: both, without labels (with gamma > 0: labels of the retained; with rewind: labels of the
    forgotten and of public faces)."""
    if rewind and not len(data.public):
        raise InputError(
            "scrub: rewind compares with public faces, and there are none: set split.public, or rewind = false"
        )
    teacher = teacher_of(model, data, loader, augment)
    away_steps, back_steps = (batches_of(len(faces), batch) for faces in (data.forget, getattr(data, epoch_of)))
    optimizer = make_optimizer(optimiser, model, lr, 0.0)

    def steps_until(epoch: int) -> int:
        return back_steps * epoch + away_steps * min(max_epochs, epoch)

    scheduler = (
        step_decay(optimizer, [steps_until(one) for one in milestones])
        if milestones
        else linear_decay(optimizer, steps_until(epochs), anneal)
    )
    retained = loader.endless(data.retain, batch=batch, augment=augment)
    passed: list[nn.Module] = []

    def leave() -> None:
        for faces in loader(data.forget, batch=batch, augment=augment):
            out = model(faces.images) / temperature
            away = temperature**2 * task.divergence(out, teacher.of_forgotten(faces) / temperature)
            training_step(optimizer, -away.mean(), clip)
            scheduler.step()

    def come_back() -> None:
        for faces in itertools.islice(retained, back_steps):
            answers = model(faces.images)
            held = task.divergence(answers / temperature, teacher.of_retained(faces) / temperature)
            loss = alpha * temperature**2 * held.mean()
            if gamma:
                loss = loss + gamma * loss_of(model, task, faces, answers).mean()
            training_step(optimizer, loss)
            scheduler.step()

    perturb(model, derive(loader.seed, "nudge"))
    for epoch in range(epochs):
        model.train()
        leaving = [leave] if epoch < max_epochs else []
        for part in [*leaving, come_back] if order == "forget first" else [come_back, *leaving]:
            part()
        if rewind:
            passed.append(copy.deepcopy(model))
    return rewound(passed, task, data, loader) if rewind else model


def rewound(passed: list[nn.Module], task: Task, data: MethodData, loader: BatchLoader) -> nn.Module:
    """The model among those passed through whose loss on the forgotten is nearest to the last one's on public faces."""
    held_out = matched_public(data)
    goal = float(losses(passed[-1], task, held_out, loader).mean())
    return min(passed, key=lambda one: abs(float(losses(one, task, data.forget, loader).mean()) - goal))


@torch.no_grad()
def losses(model: nn.Module, task: Task, faces: Faces, loader: BatchLoader) -> torch.Tensor:
    """(n,) what a model in evaluation mode loses on each face."""
    model.eval()
    return torch.cat([task.loss(model, one) for one in loader(faces, batch=256)])
