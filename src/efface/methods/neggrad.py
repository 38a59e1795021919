"""NegGrad: gradient ascent on the forgotten.

Named and used as a baseline by Golatkar et al., CVPR 2020, arXiv:1911.04933. Ours differs: the ascent is bounded. Each
face counts only until its loss has reached `ceiling` times what the forgotten lost on average before (infinity:
unbounded, as published), and the gradient's norm is clipped, since a squared error has no upper bound and plain ascent
destroys a regressor in a few steps. The defaults were chosen on synthetic faces. The MUFAC benchmark repeats the
forgotten for as many steps as a pass over the retained has (`epoch_of = "retain"`), unbounded, by plain SGD.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn

from efface.data.augment import Augment
from efface.data.batches import BatchLoader, batches_of
from efface.data.faces import MethodData
from efface.methods.distillation import EpochOf
from efface.settings import Count, Factor, Limit, Positive
from efface.tasks import Task
from efface.training.train import Optimiser, make_optimizer, training_step


def neggrad(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 2e-5,
    epochs: Count = 1,
    batch: Count = 32,
    optimiser: Optimiser = "adamw",
    ceiling: Factor = 4.0,
    clip: Limit = 1.0,
    epoch_of: EpochOf = "forget",
    augment: Augment = "none",
) -> nn.Module:
    """Climb the loss of the forgotten faces. Needs: forgotten faces with labels; no retained face."""
    limit = ceiling * mean_loss(model, task, data, loader, batch)
    optimizer = make_optimizer(optimiser, model, lr, 0.01 if optimiser == "adamw" else 0.0)
    length = epochs * batches_of(len(getattr(data, epoch_of)), batch)
    model.train()
    for faces in itertools.islice(loader.endless(data.forget, batch=batch, augment=augment), length):
        training_step(optimizer, -task.loss(model, faces).clamp(max=limit).mean(), clip)
    return model


@torch.no_grad()
def mean_loss(model: nn.Module, task: Task, data: MethodData, loader: BatchLoader, batch: int) -> float:
    """What the model loses on the forgotten faces, on average."""
    model.eval()
    losses = [task.loss(model, faces) for faces in loader(data.forget, batch=batch)]
    return float(torch.cat(losses).mean())
