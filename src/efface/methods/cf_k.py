"""CF-k: fine-tune the last k parts of the network on the retained and leave the rest as it is.

Goel et al., Towards Adversarial Evaluations for Inexact Machine Unlearning, 2022, arXiv:2201.06640 (catastrophic
forgetting of the last k layers). The MUFAC benchmark's CF-3 trains layer3, layer4 and fc of a ResNet. As there, running
statistics of batch normalisation move in all of the network.
"""

from __future__ import annotations

from torch import nn

from efface.data.augment import Augment
from efface.data.batches import BatchLoader
from efface.data.faces import MethodData
from efface.methods.blocks import last_blocks, only
from efface.settings import Count, Positive
from efface.tasks import Task
from efface.training.train import Optimiser, fit


def cf_k(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    k: Count = 1,
    lr: Positive = 5e-4,
    epochs: Count = 2,
    batch: Count = 32,
    optimiser: Optimiser = "adamw",
    anneal: bool = True,
    augment: Augment = "none",
) -> nn.Module:
    """Train the last k parts on the retained faces only. Needs: retained faces with labels."""
    fit(
        only(model, last_blocks(model, k)),
        task,
        data.retain,
        loader,
        lr=lr,
        epochs=epochs,
        batch=batch,
        optimiser=optimiser,
        anneal=anneal,
        augment=augment,
    )
    return model.requires_grad_(True)
