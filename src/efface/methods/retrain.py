"""Retrain: start afresh and never see the forgotten. Exact, and the yardstick of every other method.

What approximate methods are held against since Cao and Yang, S&P 2015 (DOI 10.1109/SP.2015.35). Ours retrains the whole
network, without their summation form. Every run trains its reference in this way with the plan's own recipe; as a
method it is for variants of that recipe (fewer epochs, say) as rivals.
"""

from __future__ import annotations

from torch import nn

from efface.data.augment import Augment
from efface.data.batches import BatchLoader
from efface.data.faces import MethodData
from efface.models.reset import reinitialise
from efface.settings import Count, Positive, Strength
from efface.tasks import Task
from efface.training.train import Optimiser, train


def retrain(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    epochs: Count = 20,
    lr: Positive = 5e-4,
    batch: Count = 32,
    weight_decay: Strength = 1e-4,
    optimiser: Optimiser = "adamw",
    milestones: tuple[Count, ...] = (),
    augment: Augment = "none",
) -> nn.Module:
    """Initialise the model anew and train it on the retained faces alone. Needs: retained faces with labels."""
    return train(
        reinitialise(model),
        task,
        data.retain,
        loader,
        epochs=epochs,
        lr=lr,
        batch=batch,
        weight_decay=weight_decay,
        optimiser=optimiser,
        milestones=milestones,
        augment=augment,
    )
