"""Amnesiac unlearning: learn wrong labels for the forgotten, and the right ones for everybody else.

Graves et al., Amnesiac Machine Learning, AAAI 2021, arXiv:2010.10981, in the form every later paper compares with
(relabelling, three epochs of Adam at 1e-4; their other form, undoing recorded updates, needs a log of the training).
Ours anneals the learning rate. A wrong answer about the forgotten is itself a trace: a model that never saw them is
often right.
"""

from __future__ import annotations

from torch import nn

from efface.data.augment import Augment
from efface.data.batches import BatchLoader, derive
from efface.data.faces import MethodData, together
from efface.methods.relabel import mislabelled
from efface.settings import Count, Positive
from efface.tasks import Task
from efface.training.train import Optimiser, fit


def amnesiac(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 1e-4,
    epochs: Count = 3,
    batch: Count = 64,
    optimiser: Optimiser = "adamw",
    anneal: bool = True,
    augment: Augment = "none",
) -> nn.Module:
    """Train on the forgotten under random other labels, mixed with the retained under their own. Needs: both, with
    labels."""
    mixed = together(mislabelled(data, derive(loader.seed, "labels")), data.retain)
    return fit(
        model,
        task,
        mixed,
        loader,
        lr=lr,
        epochs=epochs,
        batch=batch,
        optimiser=optimiser,
        anneal=anneal,
        augment=augment,
    )
