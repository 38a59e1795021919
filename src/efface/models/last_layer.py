"""The linear layer a network ends in: what goes in, what comes out, and the same network with another map in its place.

A batch normalisation behind the layer belongs to it, since in evaluation mode the two are one affine map. What has no
weights and comes after (flattening, unit length, a sum with the mirror image's answer) is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from efface.errors import InputError

Floats = NDArray[np.float64]
TOLERANCE = 0.02
"""Of the largest answer: how far computing with 16 bits may lead a layer's answers from what its weights say."""


@dataclass(frozen=True)
class LastLayer:
    """A linear layer (or a convolution whose answer is one pixel) and the batch normalisation behind it."""

    linear: nn.Linear | nn.Conv2d
    norm: _BatchNorm | None

    def scale(self) -> Floats:
        """(d,) what each output of the linear layer is multiplied by behind it."""
        if self.norm is None:
            return np.ones(len(self.linear.weight))
        variance, gamma = self.norm.running_var, self.norm.weight
        assert variance is not None
        scale = 1 / np.sqrt(numbers(variance) + self.norm.eps)
        return scale if gamma is None else scale * numbers(gamma)

    def constant(self) -> Floats:
        """(d,) what is answered to an input of zeros."""
        bias = np.zeros(len(self.linear.weight)) if self.linear.bias is None else numbers(self.linear.bias)
        if self.norm is None:
            return bias
        mean, beta = self.norm.running_mean, self.norm.bias
        assert mean is not None
        shifted = self.scale() * (bias - numbers(mean))
        return shifted if beta is None else shifted + numbers(beta)

    @torch.no_grad()
    def become(self, matrix: Floats, of_input: Floats, offset: Floats) -> None:
        """Answer `matrix` y + `of_input` x + `offset` from now on where the input x (p,) was answered y (d,); matrix:
        (d, d), of_input: (d, p). Statistics of a batch normalisation stay as they are.
        """
        scale, weight = self.scale(), numbers(self.linear.weight).reshape(len(self.linear.weight), -1)
        added = matrix @ self.constant() + offset - self.constant()
        changed = (matrix @ (scale[:, None] * weight) + of_input) / scale[:, None]
        if self.linear.bias is not None:
            self.linear.bias.add_(torch.from_numpy(added / scale).to(self.linear.bias))
        elif self.norm is not None and self.norm.bias is not None:
            self.norm.bias.add_(torch.from_numpy(added).to(self.norm.bias))
        self.linear.weight.copy_(torch.from_numpy(changed.reshape(self.linear.weight.shape)).to(self.linear.weight))


def numbers(tensor: Tensor) -> Floats:
    """A tensor in double precision."""
    values: Floats = tensor.detach().double().cpu().numpy()
    return values


class WithLastLayer(nn.Module):
    """A network that answers what goes into its last layer and what comes out, side by side (b, p + d); where images
    pass it twice (beside their mirror images), the mean of both."""

    def __init__(self, network: nn.Module, layer: LastLayer) -> None:
        super().__init__()
        self.network, self.layer = network, layer

    def forward(self, images: Tensor) -> Tensor:
        inside: list[Tensor] = []
        outside: list[Tensor] = []
        last = self.layer.norm or self.layer.linear
        hooks = [
            self.layer.linear.register_forward_pre_hook(lambda _part, given: inside.append(given[0].flatten(1))),
            last.register_forward_hook(lambda _part, _given, answer: outside.append(answer.flatten(1))),
        ]
        try:
            self.network(images)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat([torch.stack(inside).float().mean(0), torch.stack(outside).float().mean(0)], 1)


@torch.no_grad()
def last_layer(network: nn.Module, images: Tensor) -> LastLayer:
    """The linear layer that a network in evaluation mode ends in, found by showing it images (b, c, h, w).

    Raises InputError for a network that ends in something else, for a layer without a bias (nothing would hold an
    offset), and for one some of whose answers are the same whatever comes in.
    """
    passed: list[nn.Module] = []
    parts = [part for part in network.modules() if has_own(part) and not any(True for _ in part.children())]
    hooks = [part.register_forward_hook(lambda one, _given, _answer: passed.append(one)) for part in parts]
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    norm = passed[-1] if passed and isinstance(passed[-1], _BatchNorm) else None
    before = [one for one in passed if not isinstance(one, _BatchNorm)] if norm is not None else passed
    last = before[-1] if before else network
    if not isinstance(last, nn.Linear | nn.Conv2d) or (isinstance(last, nn.Conv2d) and last.groups > 1):
        raise InputError(f"the network ends in {type(last).__name__}, not in a linear layer")
    found = LastLayer(last, norm)
    both = numbers(WithLastLayer(network, found)(images))
    size = numbers(last.weight).reshape(len(last.weight), -1).shape[1]
    if both.shape[1] != size + len(last.weight) or not agrees(found, both[:, :size], both[:, size:]):
        raise InputError("the network's last layers are not one linear map of what goes into them")
    if found.linear.bias is None and (norm is None or norm.bias is None):
        raise InputError("the network's last layer has no bias")
    if np.abs(found.scale()).min() < 1e-6 * np.abs(found.scale()).max():
        raise InputError("some of the network's answers are the same whatever it is shown")
    return found


def agrees(layer: LastLayer, given: Floats, answers: Floats) -> bool:
    """Whether a layer's answers (b, d) to inputs (b, p) are what its weights say."""
    weight = numbers(layer.linear.weight).reshape(len(layer.linear.weight), -1)
    meant = (given @ weight.T) * layer.scale() + layer.constant()
    return bool(np.abs(answers - meant).max() <= TOLERANCE * max(np.abs(meant).max(), 1e-12))


def has_own(part: nn.Module) -> bool:
    """Whether a part of a network has weights or statistics of its own."""
    return any(True for _ in part.parameters(recurse=False)) or any(True for _ in part.buffers(recurse=False))
