"""Quality of a face picture as a recogniser sees it, without labels and without weights trained for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from efface.errors import InputError


def grafiqs(backbone: nn.Module, images: Tensor) -> Tensor:
    """(b,) minus how strongly a picture's pixels would have to change for it to fit the network's statistics.

    Kolf et al., GraFIQs, CVPRW 2024: in evaluation mode, the squared distance of each picture's own mean and variance
    at the input of every batch normalisation from the running ones is summed over layers; the score is minus the sum of
    the sizes of its gradient over pixels. Pictures do not interact, so one pass serves a whole batch.
    """
    layers = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    if not layers:
        raise InputError("grafiqs needs a network with batch normalisation (BatchNorm2d); this one has none")
    pixels = images.detach().clone().requires_grad_()
    with torch.enable_grad(), inputs_of(backbone, layers) as seen:
        backbone(pixels)
        apart = torch.stack([misfit(layer, x) for layer, x in seen]).sum()
        (gradient,) = torch.autograd.grad(apart, pixels)
    away: Tensor = -gradient.abs().sum((1, 2, 3))
    return away


def misfit(layer: nn.Module, x: Tensor) -> Tensor:
    """How far the mean and variance of each picture (b, c, h, w) are from a layer's running ones, summed over all."""
    mean, variance = (layer.get_buffer(name) for name in ("running_mean", "running_var"))
    return ((x.mean((2, 3)) - mean).square().mean(1) + (x.var((2, 3), correction=0) - variance).square().mean(1)).sum()


def stability(backbone: nn.Module, images: Tensor, *, passes: int = 32, rate: float = 0.5) -> Tensor:
    """(b,) how little the embedding moves when parts of the last layer's input are left out: 0 to 1.

    After Terhörst et al., SER-FIQ, CVPR 2020: twice the sigmoid of minus the mean distance between unit embeddings of
    `passes` random masks. Theirs needs a network trained with dropout; here the last linear layer alone is masked,
    whatever follows it is left out, and the masks are the same for every picture.
    """
    layers = [module for module in backbone.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise InputError("stability needs a network with a linear layer; this one has none")
    with inputs_of(backbone, layers[-1:]) as seen:
        backbone(images)
    (layer, x), rng = seen[0], torch.Generator().manual_seed(0)
    embeddings = torch.stack(
        [
            functional.normalize(layer(x * (torch.rand(x.shape[1], generator=rng) >= rate).to(x) / (1 - rate)))
            for _ in range(passes)
        ],
        dim=1,
    )
    apart = torch.cdist(embeddings, embeddings).sum((1, 2)) / (passes * (passes - 1))
    return 2 * torch.sigmoid(-apart)


def embedding_norm(backbone: nn.Module, images: Tensor) -> Tensor:
    """(b,) length of the embedding: quality by MagFace's and AdaFace's training, little by others'."""
    length: Tensor = backbone(images).norm(dim=1)
    return length


def flip_consistency(backbone: nn.Module, images: Tensor) -> Tensor:
    """(b,) cosine between the embeddings of a picture and of its mirror image."""
    return functional.cosine_similarity(backbone(images), backbone(images.flip(3)))


@contextmanager
def inputs_of(model: nn.Module, layers: Sequence[nn.Module]) -> Iterator[list[tuple[nn.Module, Tensor]]]:
    """(layer, its input) of each of these layers, as they are passed through."""
    seen: list[tuple[nn.Module, Tensor]] = []
    hooks = [layer.register_forward_pre_hook(lambda module, given: seen.append((module, given[0]))) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


NETWORK: dict[str, Callable[..., Tensor]] = {
    "grafiqs": grafiqs,
    "stability": stability,
    "embedding_norm": embedding_norm,
    "flip_consistency": flip_consistency,
}
