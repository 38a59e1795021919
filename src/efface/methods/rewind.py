"""Rewind: go back to an earlier checkpoint of the original's own training, and train on without the forgotten.

After Rewind-to-Delete (Mu and Klabjan 2024, arXiv:2409.09778), which proves for gradient descent over all data at once
how close such a form comes to retraining; ours takes batches and any optimiser, and proves nothing. What a network
memorises it learns late, so an earlier state of it holds less of the forgotten, and the retained bring it up to date;
what was learned before the checkpoint is not forgotten. In our trial it did not beat fine-tuning at the same budget. It
is here so that anybody can see that for themselves. (SCRUB's rewinding, `scrub` with `rewind = true`, goes back along
the unlearning instead.)

It asks for what few have: a plan keeps checkpoints with `train.keep = [5, 10]`, and an original that was given as a
file has none. The learning rate falls to zero.
"""

from __future__ import annotations

from torch import nn

from efface.data.augment import Augment
from efface.data.batches import BatchLoader
from efface.data.faces import MethodData
from efface.errors import InputError
from efface.settings import Count, Positive
from efface.tasks import Task
from efface.training.train import Optimiser, fit


def rewind(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    epoch: Count | None = None,
    lr: Positive = 5e-4,
    epochs: Count = 2,
    batch: Count = 32,
    optimiser: Optimiser = "adamw",
    anneal: bool = True,
    augment: Augment = "none",
) -> nn.Module:
    """Take the weights that the original had after `epoch` (default: the first that were kept) and train on the
    retained alone. Needs: retained faces with labels, and checkpoints of the original's training."""
    kept = ", ".join(map(str, sorted(data.checkpoints)))
    if not kept:
        raise InputError(
            "rewind goes back to checkpoints of the original's training, and there are none: set train.keep = [epochs] "
            "(an original given as a file has none)"
        )
    if epoch is not None and epoch not in data.checkpoints:
        raise InputError(f"rewind: nothing was kept after epoch {epoch}: give one of train.keep, {kept}")
    model.load_state_dict(data.checkpoints[min(data.checkpoints) if epoch is None else epoch])
    return fit(
        model,
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
