"""Group DRO: go on with the retained faces, and mind the group that fares worst.

Sagawa et al., Distributionally Robust Neural Networks for Group Shifts, ICLR 2020, arXiv:1911.08731, algorithm 1: every
group's loss has a weight that grows exponentially with that loss. As there, groups are drawn equally often. Ours
differs: it starts from the model to be mended rather than from scratch, and the learning rate falls to zero. It knows
nothing of the forgotten, so it can follow any method; of a group of which nobody is retained it sees nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from efface.data.batches import BatchLoader, batches_of
from efface.data.faces import MethodData
from efface.settings import Count, Positive
from efface.tasks import Task
from efface.training.train import Optimiser, linear_decay, make_optimizer, training_step


def group_dro(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 5e-4,
    epochs: Count = 2,
    batch: Count = 32,
    step: Positive = 0.1,
    optimiser: Optimiser = "adamw",
) -> nn.Module:
    """Train on the retained, groups equally often, each weighted by how badly it fares (`step`: how fast weights move;
    of losses in units of the mean loss). Needs: retained faces with labels and groups."""
    names, of, counts = np.unique(data.retain.groups, return_inverse=True, return_counts=True)
    place = torch.from_numpy(of).to(loader.device)
    evenly = (1 / counts[of]) * (1 if data.retain.weights is None else data.retain.weights)
    share = torch.full((len(names),), 1 / len(names), device=loader.device)
    optimizer = make_optimizer(optimiser, model, lr, 0.01 if optimiser == "adamw" else 0.0)
    scheduler = linear_decay(optimizer, epochs * batches_of(len(data.retain), batch))
    model.train()
    for _ in range(epochs):
        for faces in loader(data.retain, batch=batch, weights=evenly):
            loss, group = task.loss(model, faces), place[torch.from_numpy(faces.rows).to(loader.device)]
            sums = torch.zeros_like(share).index_add(0, group, loss)
            here = torch.zeros_like(share).index_add(0, group, torch.ones_like(loss))
            means = sums / here.clamp(min=1)
            with torch.no_grad():
                share = share * (step * means / loss.mean().clamp(min=1e-12)).exp()
                share = share / share.sum()
            training_step(optimizer, (share * means).sum() / share[here > 0].sum())
            scheduler.step()
    return model
