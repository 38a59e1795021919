"""NegGrad: gradient ascent on the forgotten.

Named and used as a baseline by Golatkar et al., CVPR 2020, arXiv:1911.04933. Ours differs: the ascent is bounded.
Each face counts only until its loss has reached `ceiling` times what the forgotten lost on average before
(infinity: unbounded, as published), and the gradient's norm is clipped, since a squared error has no upper bound
and plain ascent destroys a regressor in a few steps. The defaults were chosen on synthetic faces.
"""

from __future__ import annotations

import torch
from torch import nn

from efface.faces import Material
from efface.feed import Feed
from efface.settings import Count, Factor, Positive
from efface.tasks import Task
from efface.train import descend


def neggrad(
    model: nn.Module, task: Task, material: Material, feed: Feed, *,
    lr: Positive = 2e-5, epochs: Count = 1, batch: Count = 32,
    ceiling: Factor = 4.0, clip: Positive = 1.0,
) -> nn.Module:
    """Climb the loss of the forgotten faces. Needs: forgotten faces with labels; no retained face."""
    limit = ceiling * mean_loss(model, task, material, feed, batch)
    optimiser = torch.optim.AdamW(model.parameters(), lr)
    model.train()
    for _ in range(epochs):
        for faces in feed(material.forget, batch=batch):
            loss = task.loss(model, faces)
            descend(optimiser, -loss.clamp(max=limit).mean(), clip)
    return model


@torch.no_grad()
def mean_loss(model: nn.Module, task: Task, material: Material, feed: Feed, batch: int) -> float:
    """What the model loses on the forgotten faces, on average."""
    model.eval()
    losses = [task.loss(model, faces) for faces in feed(material.forget, batch=batch)]
    return float(torch.cat(losses).mean())
