"""What label-free methods share: the original as a teacher whose answers are computed once, and steps in which
forgotten and retained faces stand side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from efface.data.batches import Batch, BatchLoader, batches_of
from efface.data.faces import Array, MethodData

EpochOf = Literal["forget", "retain"]
"""Which faces one epoch passes over once."""


@dataclass(frozen=True)
class Teacher:
    """What the original answered to every forgotten and retained face, in their order, memory-mapped."""

    forget: Array
    """(n, ...) float32"""
    retain: Array
    device: torch.device

    def of_forgotten(self, faces: Batch) -> Tensor:
        """(b, ...) its answers to a batch of the forgotten."""
        return torch.from_numpy(self.forget[faces.rows]).to(self.device)

    def of_retained(self, faces: Batch) -> Tensor:
        """(b, ...) its answers to a batch of the retained."""
        return torch.from_numpy(self.retain[faces.rows]).to(self.device)


def teacher_of(model: nn.Module, data: MethodData, loader: BatchLoader) -> Teacher:
    """The model as it is now, as a teacher; each face is handed out once."""
    return Teacher(loader.outputs(model, data.forget), loader.outputs(model, data.retain), loader.device)


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
