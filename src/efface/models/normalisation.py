"""Batch normalisation of a lone face: by the running statistics, since one face has no statistics of its own."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def allow_lone_faces(model: nn.Module) -> nn.Module:
    """The model, which can now be trained on a batch of one face as well; on every other batch it is as it was."""
    for part in model.modules():
        if isinstance(part, _BatchNorm) and not part._forward_pre_hooks:
            part.register_forward_pre_hook(_by_running_statistics)
            part.register_forward_hook(_as_before)
    return model


def _by_running_statistics(part: nn.Module, inputs: tuple[Any, ...]) -> None:
    if part.training and len(inputs[0]) == 1:
        part.training = False
        part.lone = True  # type: ignore[assignment]


def _as_before(part: nn.Module, _inputs: tuple[Any, ...], _outputs: Any) -> None:
    if part.__dict__.pop("lone", False):
        part.training = True
