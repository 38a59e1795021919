"""Dispersion: scatter the photos of a forgotten person over the sphere.

After Zakharov 2025, arXiv:2512.13317, whose equations are not known to us. Ours: within each cluster of the forgotten
that k-means finds in the original's embeddings (their identities are not used), the logarithm of the mean of
exp(2 cos) over pairs falls, which is the uniformity of Wang and Isola (ICML 2020); retained embeddings are held by
their cosine to the original's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from efface.data.batches import BatchLoader, derive
from efface.data.faces import MethodData
from efface.methods.clusters import cluster
from efface.methods.distillation import both, paired_batches, steps_of, teacher_of
from efface.settings import Count, Positive, Strength
from efface.tasks import Task
from efface.training.train import Optimiser, linear_decay, make_optimizer, training_step


def dispersion(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 4e-3,
    epochs: Count = 15,
    batch: Count = 64,
    optimiser: Optimiser = "adamw",
    clusters: Count = 10,
    sharpness: Positive = 2.0,
    hold: Strength = 1.0,
) -> nn.Module:
    """Spread each cluster of the forgotten and hold the retained (`hold`). Needs: both, without labels."""
    teacher = teacher_of(model, data, loader)
    labels, _ = cluster(teacher.forget, "kmeans", clusters, derive(loader.seed, "clusters"))
    who = torch.from_numpy(labels).to(loader.device)
    optimizer = make_optimizer(optimiser, model, lr, 0.0)
    scheduler = linear_decay(optimizer, steps_of(data, epochs=epochs, batch=batch))
    model.train()
    for _, forgotten, retained in paired_batches(loader, data, epochs=epochs, batch=batch):
        now, held = both(model, forgotten, retained)
        kept = task.divergence(held, teacher.of_retained(retained)).mean()
        training_step(optimizer, crowded(now, who[forgotten.rows], sharpness) + hold * kept)
        scheduler.step()
    return model


def crowded(embeddings: Tensor, clusters: Tensor, sharpness: float) -> Tensor:
    """Log of the mean of exp(sharpness * cos) over all pairs within a cluster; 0 where no cluster has two."""
    unit = functional.normalize(embeddings)
    pairs = (clusters[:, None] == clusters[None]).triu(1)
    if not pairs.any():
        return 0 * unit.sum()
    return (sharpness * (unit @ unit.T)[pairs]).exp().mean().log()
