"""NegGrad+: ascent on the forgotten and descent on the retained in the same step.

Kurmanji et al., Towards Unbounded Machine Unlearning, NeurIPS 2023, arXiv:2302.09880 (there alpha = .95, and the
descent also pulls the weights towards the original's). Ours differs: no pull on the weights, and each forgotten
face counts only until its loss reaches `ceiling` times the forgotten's mean loss before (infinity: as published);
the learning rate falls to zero.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from efface.faces import Material
from efface.feed import Feed
from efface.methods.neggrad import mean_loss
from efface.settings import Count, Factor, Positive, Share
from efface.tasks import Task
from efface.train import descend, falling


def neggrad_plus(
    model: nn.Module, task: Task, material: Material, feed: Feed, *,
    lr: Positive = 5e-4, epochs: Count = 2, batch: Count = 32,
    alpha: Share = 0.95, ceiling: Factor = 4.0,
) -> nn.Module:
    """Descend on alpha of the retained loss minus (1 - alpha) of the forgotten's. Needs: both, with labels."""
    limit = ceiling * mean_loss(model, task, material, feed, batch)
    optimiser = torch.optim.AdamW(model.parameters(), lr)
    fall = falling(optimiser, epochs * math.ceil(len(material.retain) / batch))
    model.train()
    for _ in range(epochs):
        forgotten = feed.endless(material.forget, batch=batch)
        for retained, forgets in zip(feed(material.retain, batch=batch), forgotten, strict=False):
            kept = task.loss(model, retained).mean()
            climbed = task.loss(model, forgets).clamp(max=limit).mean()
            descend(optimiser, alpha * kept - (1 - alpha) * climbed)
            fall.step()
    return model
