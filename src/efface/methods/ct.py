"""CT: turn every convolution's kernels on their side, and fine-tune.

A winner of the NeurIPS 2023 unlearning challenge (convolution transpose), as described by Cadet et al., Deep Unlearn,
2024, arXiv:2410.01276. The published learning rate falls along a cosine, ours along a line. It never looks at the
forgotten.
"""

from __future__ import annotations

import torch
from torch import nn

from efface.data.augment import Augment
from efface.data.batches import BatchLoader
from efface.data.faces import MethodData
from efface.settings import Count, Positive
from efface.tasks import Task
from efface.training.train import Optimiser, fit


def ct(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    lr: Positive = 1e-3,
    epochs: Count = 3,
    batch: Count = 64,
    optimiser: Optimiser = "adamw",
    anneal: bool = True,
    augment: Augment = "none",
) -> nn.Module:
    """Exchange height and width of every square kernel, then train on the retained. Needs: retained faces with
    labels."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size[0] == module.kernel_size[1]:
                module.weight.copy_(module.weight.transpose(2, 3).clone())
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
