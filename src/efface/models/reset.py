"""A network as if it had never been trained."""

from __future__ import annotations

import torch
from torch import nn

from efface.errors import InputError


def reinitialise(model: nn.Module) -> nn.Module:
    """Draw all weights anew, in place: whatever has `reset_parameters` resets itself and all that is inside it.

    Raises InputError when a weight was left as it was, since a model that keeps any of them has not started afresh.
    """
    before = {name: (weight._version, weight.detach().clone()) for name, weight in model.named_parameters()}
    draw(model)
    kept = [
        name
        for name, weight in model.named_parameters()
        if name in before and weight._version == before[name][0] and torch.equal(weight, before[name][1])
    ]
    if kept:
        raise InputError(
            f"{type(model).__name__} cannot start afresh: {', '.join(kept[:3])} ({len(kept)} in all) kept "
            "their trained values; give the module that holds them a reset_parameters() method"
        )
    return model


def draw(model: nn.Module) -> None:
    """Reset what can be reset."""
    reset = getattr(model, "reset_parameters", None)
    if callable(reset):
        reset()
    elif isinstance(model, nn.PReLU):
        nn.init.constant_(model.weight, model.init)
    else:
        for module in model.children():
            draw(module)
        if isinstance(model, nn.MultiheadAttention):
            model._reset_parameters()
