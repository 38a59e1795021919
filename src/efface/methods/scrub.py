"""SCRUB: away from the original on the forgotten, back to it on the retained, in turns.

Kurmanji et al., Towards Unbounded Machine Unlearning, NeurIPS 2023, arXiv:2302.09880. Ours differs: outputs are
compared as the task compares them; a pass over the retained is as long as one over the forgotten (`epoch_of =
"retain"`: all of them, as published); the learning rate falls to zero; the gradient of a step away is clipped, since
not every divergence is bounded; and `gamma`, the weight of the labelled loss on the retained (published: 1), is 0, so
that no label is used. The MUFAC benchmark returns first and leaves second (`order = "retain first"`), at temperature 4.

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

from efface.data.batches import Feed, batches_of, derive
from efface.data.faces import Faces, Material
from efface.errors import InputError
from efface.methods.matching import like_the_forgotten
from efface.methods.teaching import EpochOf, nudge, teacher_of
from efface.settings import Bound, Count, Positive, Strength
from efface.tasks import Task
from efface.training.train import Optimiser, descend, falling, make_optimiser


def scrub(
    model: nn.Module, task: Task, material: Material, feed: Feed, *,
    lr: Positive = 1e-3, epochs: Count = 15, max_epochs: Count = 10, batch: Count = 64, optimiser: Optimiser = "adamw",
    alpha: Strength = 1.0, gamma: Strength = 0.0, temperature: Positive = 1.0, clip: Bound = 10.0,
    order: Literal["forget first", "retain first"] = "forget first", epoch_of: EpochOf = "forget", anneal: bool = True,
    rewind: bool = False,
) -> nn.Module:
    """In each of the first `max_epochs` epochs leave the original on the forgotten, and in every epoch return to it on
    the retained. Needs: both, without labels (with gamma > 0: labels of the retained; with rewind: labels of the
    forgotten and of public faces)."""
    if rewind and not len(material.public):
        raise InputError("scrub: rewind compares with public faces, and there are none: set split.public, or "
                         "rewind = false")
    teacher = teacher_of(model, material, feed)
    away_steps, back_steps = (batches_of(len(faces), batch)
                              for faces in (material.forget, getattr(material, epoch_of)))
    steps = make_optimiser(optimiser, model, lr, 0.0)
    fall = falling(steps, back_steps * epochs + away_steps * min(max_epochs, epochs), anneal)
    retained = feed.endless(material.retain, batch=batch)
    passed: list[nn.Module] = []

    def leave() -> None:
        for faces in feed(material.forget, batch=batch):
            out = model(faces.images) / temperature
            away = temperature**2 * task.divergence(out, teacher.of_forgotten(faces) / temperature)
            descend(steps, -away.mean(), clip)
            fall.step()

    def come_back() -> None:
        for faces in itertools.islice(retained, back_steps):
            out = model(faces.images) / temperature
            loss = alpha * temperature**2 * task.divergence(out, teacher.of_retained(faces) / temperature).mean()
            if gamma:
                loss = loss + gamma * task.loss(model, faces).mean()
            descend(steps, loss)
            fall.step()

    nudge(model, derive(feed.seed, "nudge"))
    for epoch in range(epochs):
        model.train()
        leaving = [leave] if epoch < max_epochs else []
        for part in [*leaving, come_back] if order == "forget first" else [come_back, *leaving]:
            part()
        if rewind:
            passed.append(copy.deepcopy(model))
    return rewound(passed, task, material, feed) if rewind else model


def rewound(passed: list[nn.Module], task: Task, material: Material, feed: Feed) -> nn.Module:
    """The model among those passed through whose loss on the forgotten is nearest to the last one's on public faces."""
    held_out = like_the_forgotten(material)
    goal = float(losses(passed[-1], task, held_out, feed).mean())
    return min(passed, key=lambda one: abs(float(losses(one, task, material.forget, feed).mean()) - goal))


@torch.no_grad()
def losses(model: nn.Module, task: Task, faces: Faces, feed: Feed) -> torch.Tensor:
    """(n,) what a model in evaluation mode loses on each face."""
    model.eval()
    return torch.cat([task.loss(model, one) for one in feed(faces, batch=256)])
