"""Margin heads: the last layer of a recogniser in training, one direction per person, and its loss.

ArcFace (Deng et al. 2019, arXiv:1801.07698) and CosFace (Wang et al. 2018, arXiv:1801.09414) by
pytorch-metric-learning; AdaFace (Kim et al. 2022, arXiv:2204.00964) and MagFace (Meng et al. 2021, arXiv:2103.06627),
which it does not have, here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from efface.errors import InputError

HeadName = Literal["arcface", "cosface", "adaface", "magface"]


class Head(nn.Module):
    """A direction per person: `weight` (classes, dimensions), from N(0, 0.01)."""

    def __init__(self, classes: int, dimensions: int, margin: float, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, dimensions))
        self.margin, self.scale = margin, scale
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all directions anew."""
        nn.init.normal_(self.weight, 0, 0.01)

    def loss(self, embeddings: Tensor, people: Tensor) -> Tensor:
        """(b, d) embeddings and (b,) numbers of people to (b,) losses."""
        raise NotImplementedError

    def cosines(self, embeddings: Tensor) -> Tensor:
        """(b, classes)"""
        return functional.normalize(embeddings) @ functional.normalize(self.weight).T

    @torch.no_grad()
    def centres(self) -> Tensor:
        """(classes, d): unit directions times the scale, so that logits are unit embeddings times these."""
        return self.scale * functional.normalize(self.weight)

    @torch.no_grad()
    def place(self, directions: Tensor) -> None:
        """Put the directions (classes, d) where they are wanted, for a backbone that came without a head."""
        self.weight.copy_(directions)

    def _cross_entropy(self, cosines: Tensor, own: Tensor, people: Tensor) -> Tensor:
        """Softmax loss with each face's own cosine replaced by `own` (b,)."""
        logits = torch.where(one_hot(people, cosines), own[:, None], cosines)
        return functional.cross_entropy(self.scale * logits, people, reduction="none")


class LibraryHead(Head):
    """A head whose loss pytorch-metric-learning computes from our directions."""

    def __init__(self, kind: str, classes: int, dimensions: int, margin: float, scale: float) -> None:
        super().__init__(classes, dimensions, margin, scale)
        from pytorch_metric_learning import losses, reducers

        loss: Callable[..., Any] = {"arcface": losses.ArcFaceLoss, "cosface": losses.CosFaceLoss}[kind]
        shown = math.degrees(margin) if kind == "arcface" else margin
        measured = loss(classes, dimensions, margin=shown, scale=scale, reducer=reducers.DoNothingReducer())
        measured.distance.register_forward_hook(kept_short_of_one)
        del measured.W  # the directions are ours, (classes, dimensions); the library wants them the other way round
        self._measured = [measured]  # in a list, since it holds no weights of its own

    def loss(self, embeddings: Tensor, people: Tensor) -> Tensor:
        measured = self._measured[0]
        measured.W = self.weight.T
        losses: Tensor = measured(embeddings, people)["loss"]["losses"]
        del measured.W
        return losses


class AdaFace(Head):
    """The margin follows the length of the embedding, which stands for the quality of the photo (eq. 8 to 11)."""

    def __init__(
        self,
        classes: int,
        dimensions: int,
        margin: float,
        scale: float,
        spread: float = 0.333,
        pace: float = 0.01,
    ) -> None:
        super().__init__(classes, dimensions, margin, scale)
        self.spread, self.pace = spread, pace
        self.mean: Tensor
        self.deviation: Tensor

    def reset_parameters(self) -> None:
        """Draw all directions anew and forget how long embeddings were."""
        super().reset_parameters()
        self.register_buffer("mean", self.weight.new_tensor(20.0))
        self.register_buffer("deviation", self.weight.new_tensor(100.0))

    def loss(self, embeddings: Tensor, people: Tensor) -> Tensor:
        lengths = embeddings.detach().norm(dim=1).clamp(1e-3, 100)
        if self.training and len(lengths) > 1:
            self.mean.lerp_(lengths.mean(), self.pace)
            self.deviation.lerp_(lengths.std(), self.pace)
        quality = (self.spread * (lengths - self.mean) / (self.deviation + 1e-3)).clamp(-1, 1)
        cosines = self.cosines(embeddings)
        angle = own_angle(cosines, people)
        turned = (angle - self.margin * quality).clamp(1e-3, math.pi - 1e-3).cos()
        return self._cross_entropy(cosines, turned - (self.margin + self.margin * quality), people)


class MagFace(Head):
    """The margin grows with the length of the embedding, and long ones are rewarded (eq. 4 and 5)."""

    def __init__(
        self,
        classes: int,
        dimensions: int,
        margin: float,
        scale: float,
        low: float = 10,
        high: float = 110,
        most: float = 0.8,
        reward: float = 35,
    ) -> None:
        if margin > most:
            raise InputError(f"model.margin {margin:g} is too large: MagFace's grows from it to {most:g}; give less")
        super().__init__(classes, dimensions, margin, scale)
        self.low, self.high, self.most, self.reward = low, high, most, reward

    def loss(self, embeddings: Tensor, people: Tensor) -> Tensor:
        lengths = embeddings.norm(dim=1).clamp(self.low, self.high)
        margin = self.margin + (self.most - self.margin) * (lengths - self.low) / (self.high - self.low)
        cosines = self.cosines(embeddings)
        turned = (own_angle(cosines, people) + margin).clamp(max=math.pi - 1e-3).cos()
        shortness: Tensor = self.reward * (1 / lengths + lengths / self.high**2)
        return self._cross_entropy(cosines, turned, people) + shortness


def own_angle(cosines: Tensor, people: Tensor) -> Tensor:
    """(b,) angle of each face to its own person's direction, in radians."""
    own = cosines.gather(1, people[:, None])[:, 0]
    return short_of_one(own).acos()


def short_of_one(cosines: Tensor) -> Tensor:
    """Cosines within 1e-6 of -1 and 1 kept off them: the angle has no finite derivative there."""
    return cosines.clamp(-1 + 1e-6, 1 - 1e-6)


def kept_short_of_one(_module: nn.Module, _given: object, cosines: Tensor) -> Tensor:
    """The same, as a hook on what the library measures cosines with."""
    return short_of_one(cosines)


def one_hot(people: Tensor, like: Tensor) -> Tensor:
    """(b, classes) bool: which entry of each row is the person's own."""
    return people[:, None] == torch.arange(like.shape[1], device=like.device)


MARGINS: dict[HeadName, float] = {"arcface": 0.5, "cosface": 0.4, "adaface": 0.4, "magface": 0.45}
"""As published: radians, but for CosFace's, which is a cosine. MagFace's is its smallest."""


def make_head(name: HeadName, classes: int, dimensions: int, margin: float | None, scale: float) -> Head:
    """A head by its name, with its published margin unless another is given."""
    chosen = MARGINS[name] if margin is None else margin
    if name in ("arcface", "cosface"):
        return LibraryHead(name, classes, dimensions, chosen, scale)
    return (AdaFace if name == "adaface" else MagFace)(classes, dimensions, chosen, scale)
