"""Fine-tune: train on, with the retained faces only, and let the forgotten fade.

The baseline of every unlearning paper (Golatkar et al., CVPR 2020, arXiv:1911.04933); also the stabilising
step of the eye-localisation study. Ours anneals the learning rate to zero, unless told otherwise.
"""

from __future__ import annotations

from torch import nn

from efface.data.augment import Augment
from efface.data.batches import BatchLoader
from efface.data.faces import MethodData
from efface.settings import Count, Positive
from efface.tasks import Task
from efface.training.train import Optimiser, fit


def finetune(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 5e-4,
    epochs: Count = 2,
    steps: Count | None = None,
    batch: Count = 32,
    optimiser: Optimiser = "adamw",
    anneal: bool = True,
    augment: Augment = "none",
) -> nn.Module:
    """Train on the retained faces only. Needs: retained faces with labels.

    steps: so many, instead of epochs, for less than a pass.
    """
    return fit(
        model,
        task,
        data.retain,
        loader,
        lr=lr,
        epochs=epochs,
        steps=steps,
        batch=batch,
        optimiser=optimiser,
        anneal=anneal,
        augment=augment,
    )
