"""LAF: make the forgotten look like what the retained are made of, judged by two autoencoders of embeddings.

Shen et al., Label-Agnostic Forgetting, ICLR 2024, arXiv:2404.00506. One variational autoencoder learns the embeddings
of the retained, another those of the forgotten; the network then moves forgotten embeddings to where the first can
rebuild them and the second cannot, in turns with a contrastive alignment of retained embeddings to the original's. No
label is used; the published repair of the head, which needs labels, is left out. Ours differs further: the first
autoencoder sees the retained only (published: all trained faces), the alignment has one temperature above and below
the fraction (published: below only), and the learning rate falls to zero. Embeddings are taken as they come: the
autoencoders tell the two parts apart only where a dimension varies by about one, as behind a last normalisation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from efface.data.batches import BatchLoader, derive
from efface.data.faces import Array, MethodData
from efface.methods.distillation import paired_batches, steps_of, teacher_of
from efface.settings import Count, Positive
from efface.tasks import Task
from efface.training.train import Optimiser, linear_decay, make_optimizer, training_step


def laf(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 4e-3,
    epochs: Count = 15,
    batch: Count = 64,
    optimiser: Optimiser = "adamw",
    hidden: Count = 64,
    latent: Count = 16,
    autoencoder_steps: Count = 300,
    autoencoder_lr: Positive = 1e-3,
    temperature: Positive = 0.1,
) -> nn.Module:
    """Move forgotten embeddings from one autoencoder to the other, and hold the retained. Needs: both, without
    labels."""
    teacher = teacher_of(model, data, loader)
    of_retained, of_forgotten = (
        fitted(
            Autoencoder(seen.shape[1], hidden, latent).to(loader.device),
            seen,
            autoencoder_steps,
            autoencoder_lr,
            derive(loader.seed, name),
        )
        for name, seen in (("retain", teacher.retain), ("forget", teacher.forget))
    )
    optimizer = make_optimizer(optimiser, model, lr, 0.0)
    scheduler = linear_decay(optimizer, steps_of(data, epochs=epochs, batch=batch))
    model.train()
    for _, forgotten, retained in paired_batches(loader, data, epochs=epochs, batch=batch):
        now = model(forgotten.images)
        training_step(optimizer, (bounded(of_retained, now).exp() - bounded(of_forgotten, now).exp()).mean())
        training_step(optimizer, aligned(model(retained.images), teacher.of_retained(retained), temperature))
        scheduler.step()
    return model


class Autoencoder(nn.Module):
    """A variational autoencoder of embeddings (n, d)."""

    def __init__(self, width: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.latent = latent
        self.inwards = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.outwards = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, embeddings: Tensor) -> Tensor:
        """What it rebuilds from the middle of the code."""
        rebuilt: Tensor = self.outwards(self.inwards(embeddings).chunk(2, 1)[0])
        return rebuilt

    def loss(self, embeddings: Tensor, noise: Tensor) -> Tensor:
        """Squared error of the rebuilt, plus the divergence of the code from N(0, 1), both per dimension."""
        middle, spread = self.inwards(embeddings).chunk(2, 1)
        rebuilt = self.outwards(middle + noise * (spread / 2).exp())
        divergence = 0.5 * (middle.square() + spread.exp() - 1 - spread).sum(1)
        loss: Tensor = ((rebuilt - embeddings).square().sum(1) + divergence).mean() / embeddings.shape[1]
        return loss


def fitted(autoencoder: Autoencoder, embeddings: Array, steps: int, lr: float, seed: int) -> Autoencoder:
    """The autoencoder after some steps on batches of 128 embeddings, then left as it is."""
    seen = torch.from_numpy(embeddings[:])
    optimiser = torch.optim.Adam(autoencoder.parameters(), lr)
    rng = torch.Generator().manual_seed(seed)
    device = next(autoencoder.parameters()).device
    for _ in range(steps):
        some = seen[torch.randint(len(seen), (128,), generator=rng)].to(device)
        training_step(optimiser, autoencoder.loss(some, torch.randn(128, autoencoder.latent, generator=rng).to(device)))
    return autoencoder.requires_grad_(False)


def bounded(autoencoder: Autoencoder, embeddings: Tensor) -> Tensor:
    """(n,) how badly each embedding is rebuilt, squeezed to [0, 1): e / (e + 1) of the mean squared error."""
    error: Tensor = (autoencoder(embeddings) - embeddings).square().mean(1)
    return error / (error + 1)


def aligned(now: Tensor, was: Tensor, temperature: float) -> Tensor:
    """Contrastive loss: each embedding is to be nearer to what it was than to what the others in the batch were."""
    alike = functional.normalize(now) @ functional.normalize(was).T / temperature
    return functional.cross_entropy(alike, torch.arange(len(now), device=now.device))
