"""L1-sparse: fine-tune on the retained under a penalty that empties weights, and with them what only they held.

Jia et al., Model Sparsity Can Simplify Machine Unlearning, NeurIPS 2023, arXiv:2304.04934: the penalty's weight falls
from `alpha` to zero over the epochs. Ours also anneals the learning rate.
"""

from __future__ import annotations

import torch
from torch import nn

from efface.data.augment import Augment
from efface.data.batches import Feed, batches_of
from efface.data.faces import Material
from efface.settings import Count, Positive, Strength
from efface.tasks import Task
from efface.training.train import Optimiser, descend, falling, make_optimiser


def l1_sparse(
    model: nn.Module, task: Task, material: Material, feed: Feed, *,
    alpha: Strength = 5e-4, lr: Positive = 0.01, epochs: Count = 10, batch: Count = 64, optimiser: Optimiser = "sgd",
    anneal: bool = True, augment: Augment = "none",
) -> nn.Module:
    """Train on the retained faces with a falling L1 penalty. Needs: retained faces with labels."""
    steps = make_optimiser(optimiser, model, lr, 0.0)
    fall = falling(steps, epochs * batches_of(len(material.retain), batch), anneal)
    weights = list(model.parameters())
    model.train()
    for epoch in range(epochs):
        for faces in feed(material.retain, batch=batch, augment=augment):
            size = torch.stack([weight.abs().sum() for weight in weights]).sum()
            descend(steps, task.loss(model, faces).mean() + alpha * (1 - epoch / epochs) * size)
            fall.step()
    return model
