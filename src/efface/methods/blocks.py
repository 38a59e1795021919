"""The last parts of a network, for methods that treat them apart."""

from __future__ import annotations

import copy

import torch
from torch import nn

from efface.errors import InputError
from efface.models.reset import reinitialise


def last_blocks(model: nn.Module, k: int) -> list[nn.Module]:
    """The last k parts of a network that have weights: of a ResNet's stem, four stages and last layer; of a
    recogniser, its head after the parts of its backbone.

    Raises InputError for more than there are.
    """
    parts: list[nn.Module] = []
    for name, child in model.named_children():
        parts += child.children() if name == "backbone" else [child]
    parts = [part for part in parts if any(True for _ in part.parameters())]
    if k > len(parts):
        raise InputError(f"k = {k}: {type(model).__name__} has {len(parts)} parts with weights; give at most that")
    return parts[len(parts) - k :]


def only(model: nn.Module, blocks: list[nn.Module]) -> nn.Module:
    """The model with nothing but these parts trainable."""
    model.requires_grad_(False)
    for block in blocks:
        block.requires_grad_(True)
    return model


@torch.no_grad()
def as_new(model: nn.Module) -> nn.Module:
    """A copy of the model as if it had never been trained."""
    return reinitialise(copy.deepcopy(model))
