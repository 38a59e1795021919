"""Just in time: smooth the model around the forgotten, with nothing but the forgotten.

Foster et al. 2024, arXiv:2402.01401: lower the ratio by which noise on a forgotten face moves the output. No label and
no retained face is needed. Ours keeps the statistics of batch normalisation as they are: noisy faces would spoil them.
"""

from __future__ import annotations

import torch
from torch import nn

from efface.data.batches import BatchLoader, derive
from efface.data.faces import MethodData
from efface.settings import Count, Positive
from efface.tasks import Task
from efface.training.train import training_step


def jit(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 0.03,
    epochs: Count = 2,
    batch: Count = 32,
    samples: Count = 5,
    sigma: Positive = 0.1,
) -> nn.Module:
    """Descend on ||f(x) - f(x + noise)|| / ||noise|| over forgotten faces, `samples` noises each. Needs: the forgotten
    alone, without labels."""
    model.eval()
    steps = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr)
    rng = torch.Generator(loader.device).manual_seed(derive(loader.seed, "noise"))
    for _ in range(epochs):
        for faces in loader(data.forget, batch=batch):
            images = faces.images.repeat(samples, 1, 1, 1)
            noise = sigma * torch.randn(images.shape, generator=rng, device=loader.device)
            noisy = (images + noise).contiguous(memory_format=torch.channels_last)
            moved = model(noisy).flatten(1) - model(faces.images).flatten(1).repeat(samples, 1)
            training_step(steps, (moved.norm(dim=1) / noise.flatten(1).norm(dim=1)).mean())
    return model
