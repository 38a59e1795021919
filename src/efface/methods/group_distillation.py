"""Group distillation: keep what the original could do for each group, by strangers of that group.

Our own answer to a question that the literature leaves open: when a whole group is forgotten no retained face of it is
left, so nothing can be reweighted, and the group pays most. But public faces of it, of people nobody trained on, can be
asked of the original: its answers say how the group is to be served, and nothing of those who are forgotten beyond what
the original says of anybody. No label of a public face is used. The teacher is the original, also after other stages,
and each group's public faces are drawn as often as the group stood in the training set.

It repairs and does not forget, so it follows a method that does; or, with `fresh`, it starts from random weights, which
costs what retraining costs and never saw the forgotten but through the teacher's answers about others.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from efface.data.batches import BatchLoader, batches_of
from efface.data.faces import Array, MethodData
from efface.errors import InputError
from efface.models.reset import reinitialise
from efface.settings import Count, Positive, Strength
from efface.tasks import Task
from efface.training.train import Optimiser, linear_decay, make_optimizer, training_step


def group_distillation(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 5e-4,
    epochs: Count = 1,
    batch: Count = 32,
    weight: Strength = 1.0,
    fresh: bool = False,
    optimiser: Optimiser = "adamw",
) -> nn.Module:
    """Follow the original on public faces, `weight` times, beside the loss on the retained; an epoch passes over the
    retained. Needs: retained faces with labels, public faces with groups, no label of these."""
    if not len(data.public):
        raise InputError("group_distillation asks the original about public faces: there are none; set split.public")
    teacher = data.original if data.original is not None else copy.deepcopy(model)
    told = torch.from_numpy(loader.outputs(teacher, data.public)).to(loader.device)
    if fresh:
        reinitialise(model)
    public = loader.endless(replace(data.public, weights=as_trained(data)), batch=batch)
    optimizer = make_optimizer(optimiser, model, lr, 0.01 if optimiser == "adamw" else 0.0)
    scheduler = linear_decay(optimizer, epochs * batches_of(len(data.retain), batch))
    model.train()
    for _ in range(epochs):
        for retained in loader(data.retain, batch=batch):
            stranger = next(public)
            followed = task.divergence(model(stranger.images), told[stranger.rows]).mean()
            training_step(optimizer, task.loss(model, retained).mean() + weight * followed)
            scheduler.step()
    return model


def as_trained(data: MethodData) -> Array:
    """(n,) how often each public face is drawn: trained faces of its group over public faces of its group."""
    trained = np.concatenate([data.gone.groups, data.retain.groups])
    names, of, counts = np.unique(data.public.groups, return_inverse=True, return_counts=True)
    before = np.array([max(1, (trained == name).sum()) for name in names])
    return (before / counts)[of]
