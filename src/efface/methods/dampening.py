"""Dampening: shrink the weights that matter to the forgotten far more than to the retained. No training.

Selective Synaptic Dampening (Foster et al., AAAI 2024, arXiv:2308.07707) in its label-free form (LFSSD, Foster et al.
2024, arXiv:2402.10098): a weight's importance is the mean size of the gradient of the outputs' squared norm. Ours
differs: gradients are taken per batch of `batch` faces, in evaluation mode; no batch mixes forgotten and retained
faces (theirs do, and gradients that point apart cancel in them), so that the ratio of the two importances is at most
all batches over those of the forgotten, 5 where a fifth is forgotten; and alpha's default is near 1, where theirs is
10.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from efface.data.batches import BatchLoader
from efface.data.faces import Faces, MethodData
from efface.settings import Count, Positive
from efface.tasks import Task


def dampening(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    alpha: Positive = 1.3,
    strength: Positive = 0.5,
    batch: Count = 16,
) -> nn.Module:
    """Scale each weight whose importance to the forgotten is over `alpha` times that to all trained faces by `strength`
    times the ratio of the two (at most 1). Needs: both, once, without labels."""
    model.eval()
    forgotten, count = importance(model, data.forget, loader, batch)
    retained, others = importance(model, data.retain, loader, batch)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name not in forgotten:
                continue
            mine = forgotten[name] / count
            all_of_them = (forgotten[name] + retained[name]) / (count + others)
            factor = (strength * all_of_them / mine.clamp_min(1e-30)).clamp(max=1)
            weight.mul_(torch.where(mine > alpha * all_of_them, factor, 1.0))
    return model


def importance(model: nn.Module, faces: Faces, loader: BatchLoader, batch: int) -> tuple[dict[str, Tensor], int]:
    """Sum over batches of the size of each weight's gradient, and the number of batches."""
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    sums: dict[str, Tensor] = {}
    count = 0
    for some in loader(faces, batch=batch):
        size = model(some.images).flatten(1).square().sum(1).mean()
        gradients = torch.autograd.grad(size, list(weights.values()), allow_unused=True)
        for name, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                sums[name] = sums.get(name, torch.zeros_like(gradient)) + gradient.abs()
        count += 1
    return sums, count
