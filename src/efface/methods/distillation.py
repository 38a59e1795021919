"""What several methods share: the original as a teacher, whose answers are computed once or, to faces that are changed
at random, as they are needed; and steps in which forgotten and retained faces stand side by side."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from efface.data.augment import Augment
from efface.data.batches import Batch, BatchLoader, batches_of
from efface.data.faces import Array, MethodData
from efface.tasks import Task

EpochOf = Literal["forget", "retain"]
"""Which faces one epoch passes over once."""


@dataclass(frozen=True)
class Teacher:
    """What the original answered to every forgotten and retained face, in their order, memory-mapped."""

    forget: Array
    """(n, ...) float32; empty where the network is asked"""
    retain: Array
    device: torch.device
    network: nn.Module | None = None
    """Answers what a batch shows; None: the faces are never changed, and answers are looked up."""

    def of_forgotten(self, faces: Batch) -> Tensor:
        """(b, ...) its answers to a batch of the forgotten."""
        return self._answers(self.forget, faces)

    def of_retained(self, faces: Batch) -> Tensor:
        """(b, ...) its answers to a batch of the retained."""
        return self._answers(self.retain, faces)

    @torch.no_grad()
    def _answers(self, known: Array, faces: Batch) -> Tensor:
        if self.network is None:
            return torch.from_numpy(known[faces.rows]).to(self.device)
        answers: Tensor = self.network(faces.images)
        return answers


def teacher_of(model: nn.Module, data: MethodData, loader: BatchLoader, augment: Augment = "none") -> Teacher:
    """The model as it is now, as a teacher of batches with this augmentation. Without any, each face is handed out once
    here; else a copy of the model answers the very pictures that the student is shown."""
    if augment == "none":
        return Teacher(loader.outputs(model, data.forget), loader.outputs(model, data.retain), loader.device)
    nothing = np.zeros(0, np.float32)
    return Teacher(nothing, nothing, loader.device, copy.deepcopy(model).eval().requires_grad_(False))


def paired_batches(
    loader: BatchLoader, data: MethodData, *, epochs: int, batch: int
) -> Iterator[tuple[int, Batch, Batch]]:
    """(epoch, forgotten, retained) batches: an epoch is one pass over the forgotten, each batch of them beside one of
    the retained. With few forgotten this is far cheaper than passes over the retained."""
    retained = loader.endless(data.retain, batch=batch)
    for epoch in range(epochs):
        for forgotten in loader(data.forget, batch=batch):
            yield epoch, forgotten, next(retained)


def steps_of(data: MethodData, *, epochs: int, batch: int) -> int:
    """How many steps `paired_batches` makes."""
    return epochs * batches_of(len(data.forget), batch)


def both(model: nn.Module, forgotten: Batch, retained: Batch) -> tuple[Tensor, Tensor]:
    """The model's outputs for two batches in one pass, so that batch normalisation sees them as one."""
    out = model(torch.cat([forgotten.images, retained.images]).contiguous(memory_format=torch.channels_last))
    return out[: len(forgotten.rows)], out[len(forgotten.rows) :]


@torch.no_grad()
def perturb(model: nn.Module, seed: int, by: float = 1e-3) -> None:
    """Move the weights at random by a thousandth of their layer's size: a student that answers exactly as its teacher
    has no gradient that leads away from it."""
    rng = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        if weight.requires_grad:
            noise = torch.randn(weight.shape, generator=rng).to(weight.device)
            weight.add_(by * weight.square().mean().sqrt() * noise)


def loss_of(model: nn.Module, task: Task, faces: Batch, outputs: Tensor) -> Tensor:
    """The task's loss for answers that the model has given already."""
    return task.loss(_Answered(model, outputs), faces)


class _Answered(nn.Module):
    """A model that has answered."""

    def __init__(self, model: nn.Module, outputs: Tensor) -> None:
        super().__init__()
        self.head = getattr(model, "head", None)
        self.outputs = outputs

    def forward(self, _images: Tensor) -> Tensor:
        return self.outputs
