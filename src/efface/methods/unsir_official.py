"""UNSIR with labels: noise that the model finds hardest stands for the forgotten's classes; impair with it, then
repair.

Tarun et al., Fast Yet Effective Machine Unlearning, TNNLS 2023, arXiv:2111.08947. Noise images are learned that
maximise the loss of a class, under a penalty on their size, and trained on as that class beside retained faces; then
retained faces alone repair. Made for forgetting whole classes without seeing a face of them; here every class that a
forgotten face has gets noise, and noise of each class carries its own label (their code labels all of it 0). Published
with Adam (`optimiser = "adam"`; without weight decay, as here, AdamW takes the same steps). `augment` changes the
retained faces, never the noise.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn

from efface.data.augment import Augment
from efface.data.batches import Batch, BatchLoader, batches_of
from efface.data.faces import Array, MethodData
from efface.settings import Count, Number, Positive, Strength
from efface.tasks import Task
from efface.training.train import Optimiser, make_optimizer, training_step


def unsir_official(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    noises: Count = 32,
    noise_steps: Count = 40,
    noise_lr: Positive = 0.1,
    weight: Strength = 0.1,
    impair_lr: Positive = 0.02,
    impair_steps: Count = 20,
    repair_lr: Positive = 0.01,
    repair_epochs: Number = 1,
    batch: Count = 64,
    optimiser: Optimiser = "adamw",
    augment: Augment = "none",
) -> nn.Module:
    """Learn hard noise for the classes of the forgotten, train on it beside retained faces, then repair on those.
    Needs: the classes of the forgotten (no face of them), retained faces with labels."""
    classes = np.unique(data.forget.targets, axis=0).repeat(noises, 0)
    labels = torch.from_numpy(classes).to(loader.device)
    noise = hard_noise(model, task, labels, data.retain.shape, noise_steps, noise_lr, weight)
    rng = np.random.default_rng(loader.seed)
    retained = loader.endless(data.retain, batch=batch, augment=augment)
    optimizer = make_optimizer(optimiser, model, impair_lr, 0.0)
    model.train()
    for faces in itertools.islice(retained, impair_steps):
        some = rng.permutation(len(classes))[:batch]
        images = torch.cat([noise[some], faces.images]).contiguous(memory_format=torch.channels_last)
        training_step(
            optimizer, task.loss(model, Batch(images, torch.cat([labels[some], faces.targets]), faces.rows)).mean()
        )
    optimizer = make_optimizer(optimiser, model, repair_lr, 0.0)
    for faces in itertools.islice(retained, repair_epochs * batches_of(len(data.retain), batch)):
        training_step(optimizer, task.loss(model, faces).mean())
    return model


def hard_noise(
    model: nn.Module,
    task: Task,
    labels: Tensor,
    shape: tuple[int, int, int],
    steps: int,
    lr: float,
    weight: float,
) -> Tensor:
    """(n, c, h, w) images from N(0, 1) that the model, as it is, finds hard to take for their labels (n, ...)."""
    model.eval()
    noise = torch.randn(len(labels), *shape, device=labels.device, requires_grad=True)
    learner = torch.optim.Adam([noise], lr)
    nobody: Array = np.arange(len(labels))
    for _ in range(steps):
        loss = task.loss(model, Batch(noise.contiguous(memory_format=torch.channels_last), labels, nobody))
        (uphill,) = torch.autograd.grad((weight * noise.square().mean((1, 2, 3)) - loss).sum(), noise)
        noise.grad = uphill
        learner.step()
    return noise.detach()
