"""Rebalance: fine-tune with the harmed group's retained faces drawn more often. It can follow any method.

The third step of the eye-localisation study. Its weights are not published; the default here is REWEIGHT of
De Min et al., Group-robust Machine Unlearning, TMLR 2025, arXiv:2503.09330: a group's faces are drawn in
proportion to how many of it the original was trained on, so that forgetting does not change the mix of groups.
"""

from __future__ import annotations

import numpy as np
from torch import nn

from efface.data.batches import BatchLoader
from efface.data.faces import Array, MethodData
from efface.errors import InputError
from efface.settings import Count, Positive
from efface.tasks import Task
from efface.training.reweight import reweighted
from efface.training.train import fit


def rebalance(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    weight: Positive | None = None,
    lr: Positive = 5e-4,
    epochs: Count = 2,
    batch: Count = 32,
) -> nn.Module:
    """Fine-tune on retained faces, those of the forgotten's main group `weight` times as often as the others
    (default: as often as before the forgetting). Needs: retained faces with labels and groups."""
    draw = reweighted(data.retain, data.gone, task).weights if weight is None else favoured(data, weight)
    return fit(model, task, data.retain, loader, lr=lr, epochs=epochs, batch=batch, weights=draw)


def favoured(data: MethodData, weight: float) -> Array:
    """Weight (n,) of each retained face: `weight` in the group most of the forgotten are of, 1 elsewhere."""
    names, counts = np.unique(data.forget.groups, return_counts=True)
    harmed = data.retain.groups == names[counts.argmax()]
    if not harmed.any():
        raise InputError(f"rebalance has no retained face of group '{names[counts.argmax()]}' to draw more often")
    return np.where(harmed, weight, 1.0) * (1 if data.retain.weights is None else data.retain.weights)
