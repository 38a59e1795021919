"""The one training loop: the original, and the reference without the forgotten."""

from __future__ import annotations

import io
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from efface.data.augment import Augment
from efface.data.batches import BatchLoader, batches_of, derive
from efface.data.faces import Array, Faces
from efface.distributed import in_parallel, processes, summed_over_processes
from efface.files import write_bytes
from efface.models.recogniser import Recogniser
from efface.settings import Count, Positive, Strength
from efface.tasks import Task

SECONDS_BETWEEN_CHECKPOINTS = 30.0

Optimiser = Literal["adamw", "adam", "sgd", "plain_sgd"]
"""Weight decay of `adamw` is apart from the gradient, of all others part of it; `sgd` has momentum 0.9, `plain_sgd`
none."""


def train(
    model: nn.Module,
    task: Task,
    faces: Faces,
    loader: BatchLoader,
    checkpoint: Path | None = None,
    keeping: Callable[[int, nn.Module], None] | None = None,
    *,
    epochs: Count = 20,
    lr: Positive = 5e-4,
    batch: Count = 32,
    weight_decay: Strength = 1e-4,
    optimiser: Optimiser = "adamw",
    milestones: tuple[Count, ...] = (),
    augment: Augment = "none",
    accumulate: Count = 1,
    keep: tuple[Count, ...] = (),
) -> nn.Module:
    """Train `model` on `faces`, and return it.

    The learning rate falls by a factor of ten at each of the `milestones` (epochs) or, without any, along a cosine.
    `augment` changes faces at random, for tasks whose targets do not mind. `accumulate`: each batch is gone through in
    so many parts, whose gradients are summed before the step, for batches that do not fit into memory; batch
    normalisation goes by the faces of a part. After each of the epochs `keep`, of a plan's
    original alone, `keeping` is handed (epoch, model): what `rewind` goes back to.

    With a `checkpoint` path the state is saved now and then, a training that was cut off goes on from it, and
    ends with the same weights as one that was not: the order of the faces and the random numbers of an epoch
    follow from (seed, epoch), the learning rate from the epoch.
    """
    optimizer = make_optimizer(optimiser, model, lr, weight_decay)
    if checkpoint is not None and checkpoint.exists():
        state = torch.load(checkpoint, map_location=loader.device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimiser"])
        loader.passes, loader.faces_used = state["passes"], state["handed"]
        loader.watched_used, loader.steps = state["watched"], state["steps"]
    saved = time.monotonic()
    model.train()
    for epoch in range(loader.passes, epochs):
        torch.manual_seed(derive(loader.seed, "epoch", epoch))
        for group in optimizer.param_groups:
            group["lr"] = rate_at(epoch, epochs, lr, milestones)
        with in_parallel(model):
            for faces_now in loader(faces, batch=batch, augment=augment):
                losses = (part.mean(task.loss(model, part)) for part in faces_now.parts(accumulate))
                accumulated_step(optimizer, losses)
        if keeping is not None and epoch + 1 in keep:
            keeping(epoch + 1, model)
        if checkpoint is not None and processes().first and time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            state = {
                "model": model.state_dict(),
                "optimiser": optimizer.state_dict(),
                "passes": loader.passes,
                "handed": loader.faces_used,
                "watched": loader.watched_used,
                "steps": loader.steps,
            }
            torch.save(state, whole := io.BytesIO())
            write_bytes(checkpoint, whole.getbuffer())
            saved = time.monotonic()
    return model


def rate_at(epoch: int, epochs: int, lr: float, milestones: Sequence[int] = ()) -> float:
    """The learning rate of an epoch: a tenth from each milestone on or, without any, along a cosine."""
    fall = (
        0.1 ** sum(epoch >= one for one in milestones) if milestones else (1 + math.cos(math.pi * epoch / epochs)) / 2
    )
    return lr * fall


def place_head(model: Recogniser, faces: Faces, loader: BatchLoader) -> Recogniser:
    """Give a backbone that came without a head one: each person's direction is their mean unit embedding."""
    outputs = torch.from_numpy(loader.outputs(model, faces)).to(loader.device)
    people = torch.from_numpy(faces.targets).to(loader.device)
    directions = torch.zeros_like(model.head.weight)
    directions.index_add_(0, people, nn.functional.normalize(outputs))
    model.head.place(nn.functional.normalize(directions))
    return model


def make_optimizer(name: Optimiser, model: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """An optimiser by its name in a plan, for whatever in the model is trainable."""
    return optimizer_of(name, [weight for weight in model.parameters() if weight.requires_grad], lr, weight_decay)


def optimizer_of(
    name: Optimiser,
    weights: Sequence[torch.Tensor],
    lr: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """An optimiser by its name in a plan, for these weights."""
    if name in ("adamw", "adam"):
        kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
        return kind(weights, lr, weight_decay=weight_decay)
    return torch.optim.SGD(weights, lr, momentum=0.9 if name == "sgd" else 0.0, weight_decay=weight_decay)


def fit(
    model: nn.Module,
    task: Task,
    faces: Faces,
    loader: BatchLoader,
    *,
    lr: float,
    epochs: int = 1,
    steps: int | None = None,
    batch: int,
    weights: Array | None = None,
    optimiser: Optimiser = "adamw",
    anneal: bool = True,
    augment: Augment = "none",
) -> nn.Module:
    """A few more epochs on `faces`, or so many steps, drawn by `weights` (n,) if given, of whatever in the model is
    trainable.

    The learning rate falls linearly to zero (`anneal`): at a constant rate a short training ends anywhere in the noise
    around its goal, and two of them differ by more than what is to be measured.
    """
    optimizer = make_optimizer(optimiser, model, lr, 0.01 if optimiser == "adamw" else 0.0)
    count = steps or epochs * batches_of(len(faces), batch)
    scheduler = linear_decay(optimizer, count, anneal)
    model.train()
    with in_parallel(model):
        for faces_now in itertools.islice(loader.endless(faces, batch=batch, weights=weights, augment=augment), count):
            training_step(optimizer, faces_now.mean(task.loss(model, faces_now)))
            scheduler.step()
    return model


def linear_decay(
    optimiser: torch.optim.Optimizer,
    steps: int,
    anneal: bool = True,
) -> torch.optim.lr_scheduler.LRScheduler:
    """A schedule, stepped after each step, under which the learning rate falls linearly to zero over `steps` (or, not
    annealed, stays)."""
    return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(0.0, 1 - step / steps) if anneal else 1.0)


def step_decay(optimiser: torch.optim.Optimizer, falls: Sequence[int]) -> torch.optim.lr_scheduler.LRScheduler:
    """A schedule, stepped after each step, under which the learning rate is a tenth after each of `falls` (steps)."""
    return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.1 ** sum(step >= one for one in falls))


def training_step(optimiser: torch.optim.Optimizer, loss: torch.Tensor, clip: float | None = None) -> None:
    """One step down the loss; with `clip`, the gradient's norm is at most that."""
    accumulated_step(optimiser, [loss], clip)


def accumulated_step(
    optimiser: torch.optim.Optimizer, losses: Iterable[torch.Tensor], clip: float | None = None
) -> None:
    """One step down the sum of losses, each gone back through before the next is computed."""
    optimiser.zero_grad()
    for loss in losses:
        loss.backward()  # type: ignore[no-untyped-call]
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    summed_over_processes(weights)
    if clip is not None:
        nn.utils.clip_grad_norm_(weights, clip)
    optimiser.step()


@contextmanager
def counting_steps(loader: BatchLoader) -> Iterator[None]:
    """Add every step that an optimiser of network weights takes meanwhile to `loader.steps`: those of helper networks
    count too, those of pictures that are learned do not."""

    def count(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        loader.steps += isinstance(optimiser.param_groups[0]["params"][0], nn.Parameter)

    handle = register_optimizer_step_post_hook(count)
    try:
        yield
    finally:
        handle.remove()
