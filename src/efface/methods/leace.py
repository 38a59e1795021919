"""LEACE: take the directions of the forgotten people out of the embedding, in closed form, and nothing else.

Belrose et al., LEACE: Perfect linear concept erasure in closed form, NeurIPS 2023, arXiv:2306.03819. The concept is who
of the forgotten people a photo shows. With mu and Sigma the mean and covariance of the embeddings of those who stay,
and the columns of D the forgotten people's directions less mu, an embedding y becomes

    y - D W'(y - mu),    W = Sigma^-1 D (D' Sigma^-1 D)^-1,

the affine map that takes all of D away and changes everybody else the least (their theorem 4.3, with the covariance of
those who stay for that of all). Of more people than half the dimensions the leading directions go. A network knows
other photos of a person by the same direction, so that photos which nobody handed in lose it too.

Ours differs in three ways. A person's direction is what the head was taught to expect of them, where there is a head;
else the mean of their photos' directions, those that lie nearer to it counting more, since a network draws the photos
it was trained on nearer than others. What is taken away is refilled: each of these coordinates becomes a random linear
function of what goes into the last layer, one that the forgotten people do not stand out in, with the spread that the
coordinate had on those who stay (`refill`). A bare hole costs as many dimensions as there are people, and shows in the
changed file: whoever finds the directions that a last layer cannot answer has the forgotten people's templates. And it
is the weights that change, not the embeddings: all of it is one linear map, which goes into the last layer.

At full strength a person's photos are less alike than a stranger's afterwards, which betrays them as well: docs/results
has numbers. The layers before it are as they were. What they know of the forgotten can be read by whoever looks inside,
and brought back by whoever trains the network on their photos.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf
from torch import nn

from efface.data.batches import BatchLoader, derive
from efface.data.faces import MethodData
from efface.data.vectors import units
from efface.models.last_layer import Floats, WithLastLayer, last_layer
from efface.models.recogniser import Recogniser
from efface.settings import Positive, Strength
from efface.tasks import Task

MOST_PHOTOS = 4096
"""Of those who stay, to take mean and covariance from; of more as many, evenly spread."""


def leace(
    model: nn.Module,
    task: Task,
    data: MethodData,
    loader: BatchLoader,
    *,
    strength: Positive = 1.0,
    refill: Strength = 1.0,
) -> nn.Module:
    """Erase the forgotten people's directions from the embedding. Needs: both; which photos of the forgotten show one
    person; a network that ends in a linear layer.

    strength: share of the way; 1 takes all of it, and leaves the photos of a person less alike than a stranger's are.
    refill: spread of what takes its place, by that of those who stay; 0 leaves a hole.
    """
    model.eval()
    layer = last_layer(model, loader.fetch(data.retain, np.arange(min(8, len(data.retain)))).images)
    seen = WithLastLayer(model, layer)
    some = data.retain[np.unique(np.linspace(0, len(data.retain) - 1, MOST_PHOTOS).astype(int))]
    staying, forgotten = (np.asarray(loader.outputs(seen, part), np.float64) for part in (some, data.forget))
    size = staying.shape[1] - len(layer.linear.weight)
    who = data.forget.identities
    inputs = Inputs(staying[:, :size], np.stack([forgotten[who == person, :size].mean(0) for person in np.unique(who)]))
    people = directions_of(model, data, forgotten[:, size:])
    layer.become(*erasure(staying[:, size:], people, inputs, strength, refill, derive(loader.seed, "refill")))
    return model


def directions_of(model: nn.Module, data: MethodData, embeddings: Floats) -> Floats:
    """(k, d) of each forgotten person the direction that the model knows them by, as long as embeddings (n, d) of their
    photos are."""
    who = data.forget.identities
    held: dict[str, NDArray[Any]] = dict(data.directions)
    if isinstance(model, Recogniser):
        rows = model.head.weight.detach().double().cpu().numpy()
        held |= {str(who[row]): rows[data.forget.targets[row]] for row in range(len(who))}
    found = [
        np.asarray(held[name], np.float64) if name in held else drawn_together(embeddings[who == name])
        for name in np.unique(who).tolist()
    ]
    length = float(np.linalg.norm(embeddings, axis=1).mean())
    return length * np.asarray(units(np.stack(found)), np.float64)


def drawn_together(embeddings: Floats) -> Floats:
    """(d,) the mean of the directions of embeddings (n, d), weighted by the fourth power of each one's cosine to it."""
    unit = np.asarray(units(embeddings), np.float64)
    mean = unit.mean(0)
    for _ in range(10):
        mean /= max(np.linalg.norm(mean), 1e-12)
        mean = np.maximum(unit @ mean, 0) ** 4 @ unit
    return np.asarray(mean, np.float64)


@dataclass(frozen=True)
class Inputs:
    """What goes into the last layer."""

    kept: Floats
    """(n, p) for photos of those who stay."""
    people: Floats
    """(k, p) for those who go, each one's mean."""


def erasure(
    kept: Floats, people: Floats, inputs: Inputs, strength: float, refill: float, seed: int
) -> tuple[Floats, Floats, Floats]:
    """(d, d), (d, p), (d,): the map y to M y + N x + o that erases.

    kept: embeddings (n, d) of those who stay; people: (k, d) directions of those who go.
    """
    center, among = kept.mean(0), inputs.kept.mean(0)
    root = np.linalg.cholesky(covariance(kept))
    turned, sizes, _ = np.linalg.svd(np.linalg.solve(root, (people - center).T), full_matrices=False)
    turned = turned[:, sizes > 1e-9 * sizes.max(initial=0)][:, : kept.shape[1] // 2]
    directions, reading = root @ turned, np.linalg.solve(root.T, turned)
    random = np.random.default_rng(seed).normal(size=(len(among), turned.shape[1]))
    standing_out = np.linalg.qr((inputs.people - among).T)[0]
    random -= standing_out @ (standing_out.T @ random)
    spread, drawn = ((kept - center) @ reading).std(0), ((inputs.kept - among) @ random).std(0)
    random *= refill * spread / np.maximum(drawn, 1e-12)
    of_input = strength * directions @ random.T
    matrix = np.eye(kept.shape[1]) - strength * directions @ reading.T
    return matrix, of_input, strength * directions @ (reading.T @ center) - of_input @ among


def covariance(values: Floats) -> Floats:
    """(d, d) of values (n, d), shrunk by Ledoit and Wolf's rule."""
    found: Any = ledoit_wolf(values)[0]
    return np.asarray(found, np.float64)
