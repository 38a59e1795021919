"""The MUFAC benchmark's UNSIR: noise whose answers are unlike the forgotten's is learned as if it were the retained.

Choi and Na, arXiv:2311.02240, whose code differs from UNSIR's (`unsir_official`): noise starts from N(0, 1), is moved
by a few steps of Adam so that the model answers it unlike a batch of the forgotten, is cut to the range of pixels, and
is then trained on under a retained batch's labels, beside that batch. An epoch is as many pairs of whole batches as the
shorter side has; both sides are changed at random there (`augment = "benchmark"`). Its stage 2 is one epoch of
`finetune`, which a plan writes `after` it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from efface.data.augment import Augment
from efface.data.batches import Batch, BatchLoader
from efface.data.faces import MethodData
from efface.settings import Count, Positive
from efface.tasks import Task
from efface.training.train import Optimiser, make_optimizer, training_step


def unsir_benchmark(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 1e-3,
    epochs: Count = 2,
    batch: Count = 64,
    optimiser: Optimiser = "plain_sgd",
    noise_steps: Count = 5,
    noise_lr: Positive = 0.01,
    augment: Augment = "none",
) -> nn.Module:
    """Learn retained labels on noise unlike the forgotten, beside the retained. Needs: both, labels of the retained."""
    optimizer = make_optimizer(optimiser, model, lr, 0.0)
    size = min(batch, len(data.forget), len(data.retain))
    model.train()
    for _ in range(epochs):
        for retained, forgotten in zip(
            loader(data.retain, batch=size, augment=augment),
            loader(data.forget, batch=size, augment=augment),
            strict=False,
        ):
            if len(retained.rows) == len(forgotten.rows) == size:
                noise = unlike(model, forgotten, noise_steps, noise_lr)
                as_retained = Batch(noise, retained.targets, retained.rows)
                training_step(optimizer, task.loss(model, as_retained).mean() + task.loss(model, retained).mean())
    return model


def unlike(model: nn.Module, forgotten: Batch, steps: int, lr: float) -> Tensor:
    """(b, c, h, w) noise, a pixel in 0 to 1 while it is learned, that the model answers unlike the forgotten."""
    with torch.no_grad():
        outputs = model(forgotten.images)
    noise = torch.randn_like(forgotten.images).requires_grad_(True)
    learner = torch.optim.Adam([noise], lr)
    for _ in range(steps):
        alike = -(model(2 * noise - 1) - outputs).square().mean()
        (noise.grad,) = torch.autograd.grad(alike, noise)
        learner.step()
    return (2 * noise.detach().clamp(0, 1) - 1).contiguous(memory_format=torch.channels_last)
