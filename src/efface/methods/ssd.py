"""SSD: shrink the weights that matter to the forgotten far more than to everybody, by labels. No training.

Foster et al., Selective Synaptic Dampening, AAAI 2024, arXiv:2308.07707; `dampening` is the form without labels. A
weight's importance is the mean square of the loss's gradient, by batches as in their code. Published alpha is 10, which
can never be reached where over a tenth of the trained faces is forgotten, since everybody includes them: the default
here is 1.5.
"""

from __future__ import annotations

import torch
from torch import nn

from efface.data.batches import BatchLoader
from efface.data.faces import MethodData, together
from efface.methods.gradients import mean_squares
from efface.settings import Count, Positive
from efface.tasks import Task


def ssd(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    alpha: Positive = 1.5,
    strength: Positive = 1.0,
    batch: Count = 16,
) -> nn.Module:
    """Scale each weight whose importance to the forgotten is over `alpha` times that to all trained faces by `strength`
    times the ratio of the two (at most 1). Needs: both, once, with labels."""
    forgotten = mean_squares(model, task, data.forget, loader, batch)
    everybody = mean_squares(model, task, together(data.forget, data.retain), loader, batch)
    with torch.no_grad():
        weights = dict(model.named_parameters())
        for name, mine in forgotten.items():
            all_of_them = everybody[name]
            factor = (strength * all_of_them / mine.clamp_min(1e-30)).clamp(max=1)
            weights[name].mul_(torch.where(mine > alpha * all_of_them, factor, 1.0))
    return model
