"""MSG: draw the weights anew that tell forgotten and retained apart least, and fine-tune.

A winner of the NeurIPS 2023 unlearning challenge, as described by Cadet et al., Deep Unlearn, 2024, arXiv:2410.01276:
of the convolutions' weights, the `share` with the smallest gradient of (retained minus forgotten) loss starts afresh;
fine-tuning then moves the others at a tenth of the rate. Here the share is taken over all convolutions together.
"""

from __future__ import annotations

import torch
from torch import nn

from efface.data.augment import Augment
from efface.data.batches import BatchLoader, batches_of
from efface.data.faces import MethodData
from efface.methods.blocks import as_new
from efface.methods.gradients import mean_gradient, strongest
from efface.settings import Count, Positive, Share
from efface.tasks import Task
from efface.training.train import Optimiser, linear_decay, make_optimizer


def msg(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    share: Share = 0.3,
    slow: Share = 0.1,
    lr: Positive = 1e-3,
    epochs: Count = 5,
    batch: Count = 64,
    optimiser: Optimiser = "sgd",
    anneal: bool = True,
    augment: Augment = "none",
) -> nn.Module:
    """Restart a share of the convolutions' weights and fine-tune on the retained. Needs: both, with labels."""
    theirs, others = (mean_gradient(model, task, faces, loader, batch) for faces in (data.forget, data.retain))
    convolutions = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    kept = strongest({name: (others[name] - theirs[name]).abs() for name in theirs if name in convolutions}, 1 - share)
    fresh = dict(as_new(model).named_parameters())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in kept:
                weight.copy_(torch.where(kept[name] == 1, weight, fresh[name]))
    pace = {name: 1 - (1 - slow) * mask for name, mask in kept.items()}
    optimizer = make_optimizer(optimiser, model, lr, 0.0)
    scheduler = linear_decay(optimizer, epochs * batches_of(len(data.retain), batch), anneal)
    model.train()
    for _ in range(epochs):
        for faces in loader(data.retain, batch=batch, augment=augment):
            optimizer.zero_grad()
            task.loss(model, faces).mean().backward()  # type: ignore[no-untyped-call]
            for name, weight in model.named_parameters():
                if name in pace and weight.grad is not None:
                    weight.grad.mul_(pace[name])
            optimizer.step()
            scheduler.step()
    return model
