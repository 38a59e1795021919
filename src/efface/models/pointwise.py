"""A 1x1 convolution with a stride that is safe for narrow networks."""

from __future__ import annotations

from torch import Tensor, nn

NARROW = 16


class Pointwise(nn.Conv2d):
    """A 1x1 convolution without bias.

    With a stride, on fewer than 16 channels, channels last and two threads or more, the backward pass of torch 2.13.0
    writes outside its memory on a CPU (the process dies of a corrupted heap). Such a layer picks its pixels first and
    has no stride then, which is the same sum.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__(before, after, 1, stride, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        step = self.stride[0]
        if step == 1 or self.in_channels >= NARROW:
            return super().forward(features)
        picked = features[:, :, ::step, ::step].clone()  # dense, in the order of its dimensions that it had
        return nn.functional.conv2d(picked, self.weight)
