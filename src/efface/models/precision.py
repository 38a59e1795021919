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
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from efface.errors import InputError, refusing
from efface.settings import Precision

LARGEST = 16.0
"""What the largest gradient of an answer is brought to in half precision, or half of it at least."""
TOGETHER = 32
"""Channels of 16 bits that a CPU's PReLU takes at once; other numbers of them it takes one by one."""
AnyModule = TypeVar("AnyModule", bound=nn.Module)


def in_precision(model: AnyModule, precision: Precision) -> AnyModule:
    """The same network, which computes with these numbers from now on; copies of it do too.

    Raises InputError for 16 bits where they would not reach the network: `torch.compile` and others that put a
    `forward` onto the object pass by its class.
    """
    parts: list[Any] = list(model.modules())
    for part in parts:
        part.__class__ = getattr(type(part), "of_32_bits", type(part))
    if precision != "fp32":
        if "forward" in vars(model):
            raise InputError(
                f"precision = '{precision}': this network's forward stands on the object, as torch.compile puts it "
                "there: give the network itself, or take 'fp32'"
            )
        for part in parts:
            if type(part) is nn.PReLU and part.num_parameters % TOGETHER:
                part.__class__ = WidePReLU
        kind: Any = type(model)
        with refusing(f"precision = '{precision}' cannot be had of a network of class {kind.__name__}"):
            model.__class__ = _of_16_bits(kind, precision)
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

    of_32_bits = nn.PReLU

    def forward(self, values: Tensor) -> Tensor:
        if values.device.type != "cpu":
            return super().forward(values)
        with torch.autocast("cpu", enabled=False):
            return super().forward(values.float()).to(values.dtype)


def widened(values: Any) -> Any:
    """Numbers of 16 bits as 32, those inside tuples, lists and dictionaries too; others as they are."""
    if isinstance(values, Tensor):
        return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    if isinstance(values, dict):
        return type(values)((name, widened(one)) for name, one in values.items())
    if isinstance(values, list | tuple):
        each = [widened(one) for one in values]
        return type(values)(*each) if hasattr(values, "_fields") else type(values)(each)
    return values


@cache
def _of_16_bits(kind: Any, precision: Precision) -> Any:
    """A class of networks of this kind that pass forward under autocast and answer with 32 bits."""

    class Inside(nn.Module):
        """A network, called without what stands around it."""

        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, *given: Any, **named: Any) -> Any:
            return kind.forward(self.network, *given, **named)

    def in_bf16(self: nn.Module, images: Tensor, *given: Any, **named: Any) -> Any:
        with torch.autocast(images.device.type, torch.bfloat16):
            return widened(kind.forward(self, images, *given, **named))

    def in_fp16(self: nn.Module, images: Tensor, *given: Any, **named: Any) -> Tensor:
        scale = _Scale()
        inside = Inside(self)
        weights = {name: scale.taken_off(weight) for name, weight in inside.named_parameters()}
        with torch.autocast(images.device.type, torch.float16):
            answer = functional_call(inside, weights, (scale.taken_off(images), *given), named)
        return scale.put_on(widened(answer))

    forward = in_bf16 if precision == "bf16" else in_fp16
    own = {"forward": forward, "__module__": kind.__module__, "of_32_bits": kind}
    return type(kind.__name__, (_Unannounced, kind), own)


class _Unannounced:
    """A class of which those that it is made of are not told: what they ask of subclasses is not ours to answer."""

    def __init_subclass__(cls, **_: Any) -> None:
        pass


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
