"""Faces that look alike to a part of a network, and what a model says of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import nn

from efface.data.batches import BatchLoader, inference_batch
from efface.data.faces import Array, Faces
from efface.data.vectors import Rows, units
from efface.models.depths import flattened, tapped
from efface.tasks import Task


@dataclass(frozen=True)
class Seen:
    """What a model made of n faces."""

    features: dict[str, NDArray[np.float32]]
    """(n, d) of each part."""
    outputs: NDArray[np.float32]
    """(n, ...)"""


@torch.no_grad()
def seen_by(model: nn.Module, parts: Mapping[str, nn.Module], faces: Faces, loader: BatchLoader) -> Seen:
    """Features of these parts and answers of a model in evaluation mode, in one pass; each face is handed out once."""
    model.eval()
    features = {name: Rows(len(faces)) for name in parts}
    outputs = Rows(len(faces))
    batch = inference_batch(loader.device)
    with ExitStack() as stack:
        taps = {name: stack.enter_context(tapped(part)) for name, part in parts.items()}
        for start in range(0, len(faces), batch):
            some = loader.fetch(faces, np.arange(start, min(start + batch, len(faces))))
            outputs.add(model(some.images).cpu().numpy())
            for name, tap in taps.items():
                features[name].add(flattened(tap.out).cpu().numpy())
    return Seen({name: found.given for name, found in features.items()}, outputs.given)


def nearest(
    ours: Array,
    others: Array,
    k: int,
    our_groups: Array | None = None,
    other_groups: Array | None = None,
) -> NDArray[np.int64]:
    """(n, k) rows of the others (m, d) that are nearest to each of ours (n, d), the nearest first, after every feature
    was given the others' mean and deviation. With groups, of the same group where there are k of it; fewer than k
    others are all taken."""
    mean, deviation = others.mean(0), others.std(0) + 1e-6
    one, two = (np.asarray((side - mean) / deviation, np.float64) for side in (ours, others))
    apart = np.square(one).sum(1)[:, None] + np.square(two).sum(1)[None] - 2 * one @ two.T
    if our_groups is not None and other_groups is not None:
        for group in np.unique(our_groups):
            same = other_groups == group
            if same.sum() >= k:
                apart[np.ix_(our_groups == group, ~same)] = np.inf
    near: NDArray[np.int64] = np.argsort(apart, axis=1, kind="stable")[:, :k]
    return near


def averaged(task: Task, outputs: Array, near: NDArray[np.int64]) -> NDArray[np.float32]:
    """(n, ...) the mean answer over each row of `near` (n, k): of classes the mean of their probabilities as logits, of
    embeddings that of their directions."""
    if task.outputs == "embeddings":
        mean = units(outputs)[near].mean(1)
    elif task.outputs == "points":
        mean = np.asarray(outputs)[near].mean(1)
    elif task.labels == "one":
        mean = np.log(special.softmax(np.asarray(outputs, np.float64), axis=1)[near].mean(1) + 1e-9)
    else:
        mean = special.logit(np.clip(special.expit(np.asarray(outputs, np.float64))[near].mean(1), 1e-6, 1 - 1e-6))
    return mean.astype(np.float32)  # type: ignore[no-any-return]
