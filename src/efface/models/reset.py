"""A network as if it had never been trained."""

from __future__ import annotations

from torch import nn


def reinitialise(model: nn.Module) -> nn.Module:
    """Draw all weights anew, in place: whatever has `reset_parameters` resets itself and all that is inside it."""
    reset = getattr(model, "reset_parameters", None)
    if callable(reset):
        reset()
    elif isinstance(model, nn.PReLU):
        nn.init.constant_(model.weight, model.init)
    else:
        for module in model.children():
            reinitialise(module)
    return model
