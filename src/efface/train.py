"""The one training loop: the original, and the reference without the forgotten."""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
from torch import nn

from efface.faces import Array, Faces
from efface.feed import Feed, derive
from efface.files import replacing
from efface.settings import Count, Positive, Strength
from efface.tasks import Task

SECONDS_BETWEEN_CHECKPOINTS = 30.0


def train(
    model: nn.Module, task: Task, faces: Faces, feed: Feed, checkpoint: Path | None = None, *,
    epochs: Count = 20, lr: Positive = 5e-4, batch: Count = 32, weight_decay: Strength = 1e-4,
) -> nn.Module:
    """Train `model` on `faces` with AdamW under a cosine learning rate, and return it.

    With a `checkpoint` path the state is saved now and then, a training that was cut off goes on from it, and
    ends with the same weights as one that was not: the order of the faces and the random numbers of an epoch
    follow from (seed, epoch), the learning rate from the epoch.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr, weight_decay=weight_decay)
    if checkpoint is not None and checkpoint.exists():
        state = torch.load(checkpoint, map_location=feed.device, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        feed.passes, feed.handed = state["passes"], state["handed"]
    saved = time.monotonic()
    model.train()
    for epoch in range(feed.passes, epochs):
        torch.manual_seed(derive(feed.seed, "epoch", epoch))
        for group in optimiser.param_groups:
            group["lr"] = lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
        for faces_now in feed(faces, batch=batch):
            descend(optimiser, task.loss(model(faces_now.images), faces_now.targets).mean())
        if checkpoint is not None and time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            with replacing(checkpoint) as part:
                torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "passes": feed.passes,
                            "handed": feed.handed}, part)
            saved = time.monotonic()
    return model


def fit(
    model: nn.Module, task: Task, faces: Faces, feed: Feed, *,
    lr: float, epochs: int, batch: int, weights: Array | None = None,
) -> nn.Module:
    """A few more epochs on `faces`, drawn by `weights` (n,) if given, and return the model.

    The learning rate falls linearly to zero: at a constant rate a short training ends anywhere in the noise around
    its goal, and two of them differ by more than what is to be measured.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr)
    fall = falling(optimiser, epochs * math.ceil(len(faces) / batch))
    model.train()
    for _ in range(epochs):
        for faces_now in feed(faces, batch=batch, weights=weights):
            descend(optimiser, task.loss(model(faces_now.images), faces_now.targets).mean())
            fall.step()
    return model


def falling(optimiser: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """A schedule, stepped after each step, under which the learning rate falls linearly to zero over `steps`."""
    return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(0.0, 1 - step / steps))


def descend(optimiser: torch.optim.Optimizer, loss: torch.Tensor, clip: float | None = None) -> None:
    """One step down the loss; with `clip`, the gradient's norm is at most that."""
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if clip is not None:
        nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], clip)
    optimiser.step()
