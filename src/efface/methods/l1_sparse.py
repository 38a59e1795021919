"""L1-sparse: fine-tune on the retained under a penalty that empties weights, and with them what only they held.

Jia et al., Model Sparsity Can Simplify Machine Unlearning, NeurIPS 2023, arXiv:2304.04934: the penalty's weight falls
from `alpha` to zero over the epochs. Ours also anneals the learning rate.
"""

from __future__ import annotations

import torch
from torch import nn

from efface.data.augment import Augment
from efface.data.batches import BatchLoader, batches_of
from efface.data.faces import MethodData
from efface.settings import Count, Positive, Strength
from efface.tasks import Task
from efface.training.train import Optimiser, linear_decay, make_optimizer, training_step


def l1_sparse(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    alpha: Strength = 5e-4,
    lr: Positive = 0.01,
    epochs: Count = 10,
    batch: Count = 64,
    optimiser: Optimiser = "sgd",
    anneal: bool = True,
    augment: Augment = "none",
) -> nn.Module:
    """Train on the retained faces with a falling L1 penalty. Needs: retained faces with labels."""
    optimizer = make_optimizer(optimiser, model, lr, 0.0)
    scheduler = linear_decay(optimizer, epochs * batches_of(len(data.retain), batch), anneal)
    weights = list(model.parameters())
    model.train()
    for epoch in range(epochs):
        for faces in loader(data.retain, batch=batch, augment=augment):
            size = torch.stack([weight.abs().sum() for weight in weights]).sum()
            training_step(optimizer, task.loss(model, faces).mean() + alpha * (1 - epoch / epochs) * size)
            scheduler.step()
    return model
