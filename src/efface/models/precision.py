"""Networks that compute with 16 bits, while their weights, their answers and all that is reckoned from these have 32.

Mixed precision (Micikevicius et al., ICLR 2018, arXiv:1710.03740) by `torch.autocast` around a network's forward pass
alone: convolutions and matrix products take 16 bits, what is sensitive stays as autocast has it, and losses, heads of
recognisers and measures are handed 32 bits. Half precision reaches from 6e-8 to 65,504 alone, so the gradient that
comes back to an answer is brought near one before it passes the network, by a power of two that is taken off again
where it leaves, at the weights and the pictures. That needs no scale to be found by trial, and no step is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

Precision = Literal["fp32", "bf16", "fp16"]
"""What a network computes with: 32 bits, brain floats of 16 with the range of 32, or half precision."""
LARGEST = 16.0
"""What the largest gradient of an answer is brought to in half precision, or half of it at least."""
TOGETHER = 32
"""Channels of 16 bits that a CPU's PReLU takes at once; other numbers of them it takes one by one."""
AnyModule = TypeVar("AnyModule", bound=nn.Module)


def in_precision(model: AnyModule, precision: Precision) -> AnyModule:
    """The same network, which computes with these numbers from now on; copies of it do too."""
    kind: Any = getattr(type(model), "of_32_bits", type(model))
    for part in model.modules():
        if precision == "fp32" and type(part) is WidePReLU:
            part.__class__ = nn.PReLU  # type: ignore[assignment]
        elif precision != "fp32" and type(part) is nn.PReLU and part.num_parameters % TOGETHER:
            part.__class__ = WidePReLU
    model.__class__ = kind if precision == "fp32" else _of_16_bits(kind, precision)
    return model


@contextmanager
def computing_in(model: nn.Module, precision: Precision) -> Iterator[None]:
    """Meanwhile the network computes with these numbers, and with 32 bits again after."""
    in_precision(model, precision)
    try:
        yield
    finally:
        in_precision(model, "fp32")


class WidePReLU(nn.PReLU):
    """PReLU that computes with 32 bits on a CPU. Of 16 bits torch takes `TOGETHER` channels at once, and else one: with
    16 channels that took 50 times as long as with 32 bits, and both conversions take as long again."""

    def forward(self, values: Tensor) -> Tensor:
        if values.device.type != "cpu":
            return super().forward(values)
        with torch.autocast("cpu", enabled=False):
            return super().forward(values.float()).to(values.dtype)


def widened(values: Tensor) -> Tensor:
    """Numbers of 16 bits as 32; others as they are."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


@cache
def _of_16_bits(kind: Any, precision: Precision) -> Any:
    """A class of networks of this kind that pass forward under autocast and answer with 32 bits."""

    class Inside(nn.Module):
        """A network, called without what stands around it."""

        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> Any:
            return kind.forward(self.network, images)

    def in_bf16(self: nn.Module, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            return widened(kind.forward(self, images))

    def in_fp16(self: nn.Module, images: Tensor) -> Tensor:
        scale = _Scale()
        inside = Inside(self)
        weights = {name: scale.taken_off(weight) for name, weight in inside.named_parameters()}
        with torch.autocast(images.device.type, torch.float16):
            answer = functional_call(inside, weights, (scale.taken_off(images),))
        return scale.put_on(widened(answer))

    forward = in_bf16 if precision == "bf16" else in_fp16
    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__, "of_32_bits": kind})


class _Scale:
    """What the gradients of one pass are multiplied by inside the network; found when the first comes back."""

    def __init__(self) -> None:
        self.by = torch.ones(())

    def put_on(self, answer: Tensor) -> Tensor:
        """The answer, whose gradient is multiplied on its way back."""

        def multiplied(gradient: Tensor) -> Tensor:
            largest = gradient.detach().abs().amax()
            self.by = torch.exp2(torch.log2(LARGEST / largest).floor().clamp(-100, 100))
            return gradient * self.by

        if answer.requires_grad:
            answer.register_hook(multiplied)  # type: ignore[no-untyped-call]
        return answer

    def taken_off(self, values: Tensor) -> Tensor:
        """The same values, whose gradient is divided on its way back."""
        if not (values.requires_grad and torch.is_grad_enabled()):
            return values
        same = values.view_as(values)
        same.register_hook(lambda gradient: gradient / self.by)  # type: ignore[no-untyped-call]
        return same
