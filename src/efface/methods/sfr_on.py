"""SFR-on: now and then a bounded step up on the forgotten, by the weights that are theirs, between steps down on the
retained.

Huang et al., Unified Gradient-Based Machine Unlearning with Remain Geometry Enhancement, NeurIPS 2024,
arXiv:2409.19732. Every `every`th step climbs the forgotten's losses, each weighted by 1 / loss^power so that what is
forgotten already counts little, times a strength that falls from `ascent` to zero along a cosine, through weights whose
Fisher information is larger on the forgotten than on the retained. Ours counts passes over the retained instead of
1,500 steps and anneals the learning rate; the running mean of weights, which has no effect in the published settings,
is left out.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from efface.data.augment import Augment
from efface.data.batches import BatchLoader, batches_of
from efface.data.faces import MethodData
from efface.methods.gradients import mean_squares
from efface.settings import Count, Limit, Positive, Strength
from efface.tasks import Task
from efface.training.train import Optimiser, linear_decay, make_optimizer, training_step


def sfr_on(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 0.01,
    epochs: Count = 5,
    batch: Count = 64,
    optimiser: Optimiser = "sgd",
    weight_decay: Strength = 5e-4,
    anneal: bool = True,
    every: Count = 5,
    ascent: Strength = 25.0,
    power: Strength = 0.5,
    clip: Limit = 7.0,
    augment: Augment = "none",
) -> nn.Module:
    """Train on the retained, and every few steps climb the forgotten's loss through the weights that are theirs. Needs:
    both, with labels."""
    theirs = mean_squares(model, task, data.forget, loader, batch)
    others = mean_squares(model, task, data.retain, loader, batch)
    owned = {name: theirs[name] >= others[name] for name in theirs}
    length = epochs * batches_of(len(data.retain), batch)
    optimizer = make_optimizer(optimiser, model, lr, weight_decay)
    scheduler = linear_decay(optimizer, length, anneal)
    forgotten = loader.endless(data.forget, batch=batch, augment=augment)
    model.train()
    for step, retained in zip(range(length), loader.endless(data.retain, batch=batch, augment=augment), strict=False):
        if step % every == 0:
            loss = task.loss(model, next(forgotten))
            share = (-power * loss.detach().clamp_min(1e-6).log()).softmax(0)
            strength = ascent * (1 + math.cos(math.pi * step / length)) / 2
            climb(model, (share * loss).sum(), strength, float(scheduler.get_last_lr()[0]), clip, owned)
            loader.steps += 1
        training_step(optimizer, task.loss(model, retained).mean())
        scheduler.step()
    return model


def climb(
    model: nn.Module,
    loss: torch.Tensor,
    strength: float,
    lr: float,
    clip: float,
    mask: dict[str, torch.Tensor],
) -> None:
    """A plain step up the loss by the masked weights, its gradient no longer than `clip`."""
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    gradients = torch.autograd.grad(strength * loss, list(weights.values()), allow_unused=True)
    masked = {
        name: gradient * mask[name] for (name, gradient) in zip(weights, gradients, strict=True) if gradient is not None
    }
    norm = float(torch.stack([gradient.square().sum() for gradient in masked.values()]).sum().sqrt())
    with torch.no_grad():
        for name, gradient in masked.items():
            weights[name].add_(gradient, alpha=lr * min(1.0, clip / max(norm, 1e-12)))
