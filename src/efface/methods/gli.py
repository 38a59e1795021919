"""GLI: train on retained faces that were pushed away, in what the model answers, from the forgotten.

Guided Loss Increasing, CVPR Workshops 2024 (Dasol Choi et al.). Each retained batch is changed by `pushes` signed steps
that keep its own loss low (weighted by `hold`, which rises from its first to its second value over the training) and
its answers far from those of a batch of the forgotten; then the model learns it. Published numbers keep the best of all
batches *by the test set*; ours keeps the last. On MUFAC both sides are changed at random first (`augment =
"benchmark"`).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from efface.data.augment import Augment
from efface.data.batches import Batch, BatchLoader, batches_of
from efface.data.faces import MethodData
from efface.settings import Count, Positive
from efface.tasks import Task
from efface.training.train import Optimiser, linear_decay, make_optimizer, training_step


def gli(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 1e-3,
    epochs: Count = 1,
    batch: Count = 64,
    optimiser: Optimiser = "plain_sgd",
    anneal: bool = False,
    pushes: Count = 2,
    push: Positive = 0.01,
    hold: tuple[Positive, Positive] = (200.0, 1000.0),
    augment: Augment = "none",
) -> nn.Module:
    """Train on retained faces pushed away from the forgotten; `push` is in units of the whole range of a pixel. Needs:
    both, labels of the retained."""
    length = epochs * batches_of(len(data.retain), batch)
    optimizer = make_optimizer(optimiser, model, lr, 0.0)
    scheduler = linear_decay(optimizer, length, anneal)
    forgotten = loader.endless(data.forget, batch=batch, augment=augment)
    model.train()
    for step, retained in zip(range(length), loader.endless(data.retain, batch=batch, augment=augment), strict=False):
        kept = hold[0] + (hold[1] - hold[0]) * step / max(length - 1, 1)
        pushed = pushed_away(model, task, retained, next(forgotten), kept, pushes, 2 * push)
        training_step(optimizer, task.loss(model, pushed).mean())
        scheduler.step()
    return model


def pushed_away(
    model: nn.Module,
    task: Task,
    retained: Batch,
    forgotten: Batch,
    kept: float,
    pushes: int,
    push: float,
) -> Batch:
    """The retained batch after so many steps of `push` on every pixel (of -1 to 1)."""
    with torch.no_grad():
        outputs = model(forgotten.images)
    away_from = outputs[torch.arange(len(retained.rows), device=outputs.device) % len(outputs)]
    moved = torch.zeros_like(retained.images)
    for _ in range(pushes):
        moved.requires_grad_(True)
        now = replace(retained, images=retained.images + moved)
        apart = (model(now.images) - away_from).square().mean()
        (uphill,) = torch.autograd.grad(apart - kept * task.loss(model, now).mean(), moved)
        moved = moved.detach() + push * uphill.sign()
    images = (retained.images + moved).clamp(-1, 1)
    return replace(retained, images=images.contiguous(memory_format=torch.channels_last))
