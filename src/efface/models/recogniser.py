"""A recogniser: a backbone that turns faces into embeddings, and the margin head it is trained through."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from efface.errors import InputError
from efface.models.factory import first_line, network_made_by, untrained_answer
from efface.models.heads import Head, HeadName, make_head
from efface.models.iresnet import IResNet
from efface.models.mobilefacenet import MobileFaceNet
from efface.settings import Count, Positive, Share, Strength


class Recogniser(nn.Module):
    """Images (b, c, h, w) to embeddings (b, d), not of unit length; people are told apart by the angle between them."""

    def __init__(self, backbone: nn.Module, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.backbone(images)
        return embeddings


def iresnet(
    shape: tuple[int, int, int],
    classes: int,
    *,
    depth: Literal[10, 18, 34, 50, 100, 200] = 18,
    width: Count = 64,
    dimensions: Count = 512,
    dropout: Share = 0.0,
    head: HeadName = "arcface",
    margin: Strength | None = None,
    scale: Positive = 64.0,
) -> Recogniser:
    """IResNet of a depth; `width` is the number of channels of its first stage (64 as published)."""
    return Recogniser(
        IResNet(shape, depth, width, dimensions, dropout), make_head(head, classes, dimensions, margin, scale)
    )


def mobilefacenet(
    shape: tuple[int, int, int],
    classes: int,
    *,
    width: Count = 64,
    dimensions: Count = 512,
    head: HeadName = "arcface",
    margin: Strength | None = None,
    scale: Positive = 64.0,
) -> Recogniser:
    """MobileFaceNet; `width` is the number of channels of its first layer (64 as published)."""
    return Recogniser(MobileFaceNet(shape, width, dimensions), make_head(head, classes, dimensions, margin, scale))


def own_backbone(
    shape: tuple[int, int, int],
    classes: int,
    *,
    factory: str,
    dimensions: Count = 512,
    head: HeadName = "arcface",
    margin: Strength | None = None,
    scale: Positive = 64.0,
) -> Recogniser:
    """A backbone of yours: `factory` = "module:function", called with an image's shape (c, h, w) if it takes one."""
    backbone = network_made_by(factory, "model.factory", shape)
    try:
        answer = untrained_answer(backbone, shape)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"model.factory '{factory}' gives a network that cannot embed images of shape {shape}: {first_line(error)}"
        ) from error
    if not isinstance(answer, Tensor):
        raise InputError(
            f"model.factory '{factory}' gives a network that answers with a {type(answer).__name__}: "
            f"expected embeddings (2, {dimensions}) for two images"
        )
    if answer.shape != (2, dimensions):
        raise InputError(
            f"model.factory '{factory}' gives {tuple(answer.shape)} for two images: expected "
            f"(2, {dimensions}); set model.dimensions to the width of its embeddings"
        )
    return Recogniser(backbone, make_head(head, classes, dimensions, margin, scale))
