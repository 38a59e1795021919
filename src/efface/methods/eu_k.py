"""EU-k: draw the last k parts of the network anew and train them on the retained; the rest stays as it is.

Goel et al. 2022, arXiv:2201.06640 (exact unlearning of the last k layers). Exact only for what those layers held: the
features below them were learned with the forgotten. As there, running statistics of batch normalisation move
everywhere; ours anneals the learning rate, unless told otherwise.
"""

from __future__ import annotations

from torch import nn

from efface.data.augment import Augment
from efface.data.batches import BatchLoader
from efface.data.faces import MethodData
from efface.methods.blocks import as_new, last_blocks, only
from efface.settings import Count, Positive
from efface.tasks import Task
from efface.training.train import Optimiser, fit


def eu_k(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    k: Count = 1,
    lr: Positive = 1e-3,
    epochs: Count = 4,
    batch: Count = 32,
    optimiser: Optimiser = "adamw",
    anneal: bool = True,
    augment: Augment = "none",
) -> nn.Module:
    """Train the last k parts afresh on the retained faces only. Needs: retained faces with labels."""
    blocks = last_blocks(model, k)
    for block, fresh in zip(blocks, last_blocks(as_new(model), k), strict=True):
        block.load_state_dict(fresh.state_dict())
    fit(
        only(model, blocks),
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
