"""Networks that compute with 16 bits, while their weights, their answers and all that is reckoned from these have 32.

Mixed precision by `torch.autocast` (Micikevicius et al., ICLR 2018, arXiv:1710.03740) around a network's forward pass
alone: convolutions and matrix products take 16 bits, what is sensitive stays as autocast has it, and losses, heads of
recognisers and measures are handed 32 bits.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

Precision = Literal["fp32", "bf16"]
"""What a network computes with: 32 bits, or brain floats of 16 with the range of 32."""
AnyModule = TypeVar("AnyModule", bound=nn.Module)


def in_precision(model: AnyModule, precision: Precision) -> AnyModule:
    """The same network, which computes with these numbers from now on; copies of it do too."""
    kind: Any = type(model)
    if precision == "bf16":
        model.__class__ = _in_bf16(kind)
    return model


def widened(values: Tensor) -> Tensor:
    """Numbers of 16 bits as 32; others as they are."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


@cache
def _in_bf16(kind: Any) -> Any:
    """A class of networks of this kind that pass forward under autocast and answer with 32 bits."""

    def forward(self: nn.Module, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            answer = kind.forward(self, images)
        return widened(answer)

    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
