"""UNSIR without labels: impair with noise that stands for the forgotten, then repair.

Tarun et al., Fast Yet Effective Machine Unlearning, TNNLS 2023, arXiv:2111.08947: noise images that maximise the loss
of the class to forget are learned and trained on as that class. How CURE's paper removed the labels is not known. Ours:
k-means clusters of the forgotten's embeddings take the place of classes; for each, noise images are learned whose
embeddings lie as far as possible from its centroid; impairing pulls the embeddings of that noise onto the centroid, so
that the place of the forgotten is taken by what is not a face; repairing returns to the original on the retained.
Unlike the published method it looks at forgotten faces, to find their clusters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from efface.data.batches import BatchLoader, derive
from efface.data.faces import MethodData
from efface.methods.clusters import cluster
from efface.methods.distillation import steps_of, teacher_of
from efface.settings import Count, Positive, Strength
from efface.tasks import Task
from efface.training.train import Optimiser, linear_decay, make_optimizer, training_step


def unsir(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 2e-3,
    epochs: Count = 15,
    batch: Count = 64,
    optimiser: Optimiser = "adamw",
    clusters: Count = 10,
    noises: Count = 8,
    noise_steps: Count = 40,
    noise_lr: Positive = 0.1,
    weight: Strength = 0.1,
    repair: Strength = 0.5,
) -> nn.Module:
    """Learn noise far from each cluster of the forgotten, pull it there, then repair for a `repair` share of the
    epochs. Needs: both, without labels."""
    teacher = teacher_of(model, data, loader)
    _, centroids = cluster(teacher.forget, "kmeans", clusters, derive(loader.seed, "clusters"))
    centre = functional.normalize(torch.from_numpy(centroids).to(loader.device)).repeat_interleave(noises, 0)
    noise = far_noise(model, centre, data.forget.shape, noise_steps, noise_lr, weight)
    total = steps_of(data, epochs=epochs, batch=batch)
    optimizer = make_optimizer(optimiser, model, lr, 0.0)
    scheduler = linear_decay(optimizer, total)
    rng = torch.Generator().manual_seed(loader.seed)
    model.train()
    for step, retained in zip(range(total), loader.endless(data.retain, batch=batch), strict=False):
        if step < (1 - repair) * total:
            some = torch.randperm(len(noise), generator=rng)[:batch].to(loader.device)
            out = model(torch.cat([noise[some], retained.images]).contiguous(memory_format=torch.channels_last))
            impaired = (1 - functional.cosine_similarity(out[: len(some)], centre[some])).mean()
            held = out[len(some) :]
        else:
            held, impaired = model(retained.images), torch.zeros((), device=loader.device)
        training_step(optimizer, impaired + task.divergence(held, teacher.of_retained(retained)).mean())
        scheduler.step()
    return model


def far_noise(
    model: nn.Module,
    centre: Tensor,
    shape: tuple[int, int, int],
    steps: int,
    lr: float,
    weight: float,
) -> Tensor:
    """(n, c, h, w) images whose embeddings lie far from their centre (n, d), from N(0, 1); the model stays as it is."""
    model.eval()
    noise = torch.randn(len(centre), *shape, device=centre.device, requires_grad=True)
    learner = torch.optim.Adam([noise], lr)
    for _ in range(steps):
        alike = functional.cosine_similarity(model(noise.contiguous(memory_format=torch.channels_last)), centre)
        (grown,) = torch.autograd.grad((alike + weight * noise.square().mean((1, 2, 3))).sum(), noise)
        noise.grad = grown
        learner.step()
    return noise.detach()
