"""What several methods ask of the gradient: its mean over faces, and the mean of its squares."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from efface.data.batches import BatchLoader
from efface.data.faces import Faces
from efface.tasks import Task

Gradients = dict[str, Tensor]
"""One tensor of its shape for each trainable weight."""


def mean_gradient(model: nn.Module, task: Task, faces: Faces, loader: BatchLoader, batch: int) -> Gradients:
    """Gradient of the mean loss over these faces, in evaluation mode."""
    return accumulated(model, task, faces, loader, batch, squared=False)


def mean_squares(model: nn.Module, task: Task, faces: Faces, loader: BatchLoader, batch: int) -> Gradients:
    """Mean over batches of the squared gradient of a batch's mean loss: the diagonal of Fisher's information, as the
    field computes it."""
    return accumulated(model, task, faces, loader, batch, squared=True)


def accumulated(
    model: nn.Module, task: Task, faces: Faces, loader: BatchLoader, batch: int, *, squared: bool
) -> Gradients:
    """Mean over batches, each weighted by its size, of the gradient or its square."""
    model.eval()
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    seen = 0
    for some in loader(faces, batch=batch):
        gradients = torch.autograd.grad(task.loss(model, some).mean(), list(weights.values()), allow_unused=True)
        for name, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                sums[name] += len(some.rows) * (gradient.square() if squared else gradient)
        seen += len(some.rows)
    return {name: total / seen for name, total in sums.items()}


def strongest(sizes: Gradients, share: float) -> Gradients:
    """A mask per weight, 1.0 for the `share` of all weights with the largest sizes and 0.0 for the others."""
    every = torch.cat([size.flatten() for size in sizes.values()])
    threshold = every.kthvalue(max(1, min(len(every), round((1 - share) * len(every)) + 1))).values
    return {name: (size >= threshold).float() for name, size in sizes.items()}
