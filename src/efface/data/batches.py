"""Faces handed out in batches, on the device, in an order that follows from a seed, and counted."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from efface.data.augment import Augment, augmented
from efface.data.faces import Faces
from efface.data.vectors import Rows
from efface.distributed import rank_in_parallel, share_of


def derive(seed: int, *names: object) -> int:
    """A seed of its own for each use, so that no two stages share random numbers."""
    text = "\x1f".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def batches_of(count: int, batch: int) -> int:
    """How many batches one pass over so many faces makes: a lone last face joins none."""
    return math.ceil(count / batch) - (count % batch == 1 and count > 1 and batch > 1)


@dataclass(frozen=True)
class Batch:
    """images (b, c, h, w) float in [-1, 1], channels last; targets as the task has them; rows of the faces."""

    images: Tensor
    targets: Tensor
    rows: NDArray[np.int64]
    whole: int | None = None
    """Of how many faces this is a part, with those of other processes; None: it is all."""

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a value of each face (b,) or, of a part, what it adds to the mean over the whole."""
        return values.mean() if self.whole is None else values.sum() / self.whole

    def parts(self, count: int) -> list[Batch]:
        """Up to so many parts of two faces or more, to be gone through one after the other."""
        count = min(count, max(1, len(self.rows) // 2))
        if count == 1:
            return [self]
        whole = len(self.rows) if self.whole is None else self.whole
        columns = (self.images.tensor_split(count), self.targets.tensor_split(count), np.array_split(self.rows, count))
        return [Batch(*some, whole) for some in zip(*columns, strict=True)]


def as_input(images: NDArray[Any], device: torch.device) -> Tensor:
    """uint8 (b, c, h, w) as the float input of every network here: (x / 255 - 0.5) / 0.5, channels last."""
    tensor = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    return tensor.contiguous(memory_format=torch.channels_last).float().div(127.5).sub_(1)


def inference_batch(device: torch.device) -> int:
    """Faces at a time where nothing is learned: on a CPU as many as stay in its cache (64 faces of 36 pixels were
    answered 1.7 times as fast as 256), elsewhere enough to keep it busy."""
    return 64 if device.type == "cpu" else 512


class BatchLoader:
    """Batches of faces, each pass shuffled from (seed, number of the pass).

    A pass can be repeated exactly by setting `passes`, so a training that was cut off goes on where it was.
    """

    def __init__(self, device: torch.device, seed: int, tick: Callable[[int], None] | None = None) -> None:
        self.device = device
        self.seed = seed
        self.passes = 0
        self.faces_used = 0
        """How many faces were handed out so far: a method's bill."""
        self.steps = 0
        """How many steps optimisers took meanwhile, where somebody counts them."""
        self.watched: Faces | None = None
        self.watched_used = 0
        """How many of the watched faces were handed out, counted each time."""
        self.tick = tick

    def watch(self, faces: Faces) -> None:
        """Count how often faces of these are handed out from now on."""
        self.watched = faces
        self._watched = np.zeros(len(faces.images.store), bool)
        self._watched[faces.images.rows] = True

    @property
    def passes_over_watched(self) -> float | None:
        """How many passes over the watched faces were handed out, in whatever portions; None where none are watched."""
        return self.watched_used / len(self.watched) if self.watched is not None and len(self.watched) else None

    def afresh(self) -> BatchLoader:
        """A loader at its first pass again that watches the same faces, and has counted nothing yet."""
        other = BatchLoader(self.device, self.seed, self.tick)
        if self.watched is not None:
            other.watch(self.watched)
        return other

    def add(self, other: BatchLoader) -> None:
        """Add what another loader counted to the bill."""
        self.faces_used += other.faces_used
        self.watched_used += other.watched_used

    def __call__(
        self,
        faces: Faces,
        *,
        batch: int = 64,
        weights: NDArray[np.float64] | None = None,
        augment: Augment = "none",
    ) -> Iterator[Batch]:
        """One pass: every face once or, with weights (n,; default: those the faces bring), n draws with replacement in
        proportion to them; each changed at random as `augment` says (targets are left as they are).

        A last batch of a single face joins no pass: batch normalisation cannot train on it.
        """
        weights = faces.weights if weights is None else weights
        order = (
            self.generator().permutation(len(faces))
            if weights is None
            else self.generator().choice(len(faces), len(faces), p=weights / weights.sum())
        )
        self.passes += 1
        number = self.passes
        for start in range(0, len(faces), batch):
            rows = order[start : start + batch]
            if len(rows) > 1 or batch == 1 or len(faces) == 1:
                self.count(faces, rows)
                mine = share_of(rows)
                part = replace(self.batch_of(faces, mine), whole=None if len(mine) == len(rows) else len(rows))
                yield self.changed(part, augment, number, start)

    def fetch(self, faces: Faces, rows: NDArray[np.int64]) -> Batch:
        """These rows as one batch, counted."""
        self.count(faces, rows)
        return self.batch_of(faces, rows)

    def count(self, faces: Faces, rows: NDArray[np.int64]) -> None:
        """Put these rows on the bill."""
        self.faces_used += len(rows)
        if self.watched is not None and faces.images.store is self.watched.images.store:
            self.watched_used += int(self._watched[faces.images.rows[rows]].sum())
        if self.tick is not None:
            self.tick(len(rows))

    def batch_of(self, faces: Faces, rows: NDArray[np.int64]) -> Batch:
        """These rows as one batch."""
        targets = torch.from_numpy(np.ascontiguousarray(faces.targets[rows])).to(self.device)
        return Batch(as_input(faces.images[rows], self.device), targets, rows)

    def changed(self, faces: Batch, augment: Augment, number: int, start: int) -> Batch:
        """The batch that starts at this place of the pass of this number, augmented; passes that go on side by side
        draw apart from each other, and so do processes that share a batch."""
        if augment == "none":
            return faces
        rng = np.random.default_rng([self.seed, number, start, *([rank] if (rank := rank_in_parallel()) else [])])
        return replace(faces, images=augmented(faces.images, augment, rng))

    def endless(
        self,
        faces: Faces,
        *,
        batch: int = 64,
        weights: NDArray[np.float64] | None = None,
        augment: Augment = "none",
    ) -> Iterator[Batch]:
        """Pass after pass."""
        return itertools.chain.from_iterable(
            self(faces, batch=batch, weights=weights, augment=augment) for _ in itertools.count()
        )

    @torch.no_grad()
    def outputs(self, model: nn.Module, faces: Faces) -> NDArray[np.float32]:
        """(n, ...) what a model in evaluation mode answers to each face, in order: computed once, kept in a file
        without a name that goes with the process."""
        if not len(faces):
            raise ValueError("there is no face to answer")
        model.eval()
        batch, answers = inference_batch(self.device), Rows(len(faces), on_disk=True)
        for start in range(0, len(faces), batch):
            rows = np.arange(start, min(start + batch, len(faces)))
            answers.add(model(self.fetch(faces, rows).images).cpu().numpy().astype(np.float32))
        return answers.given

    def generator(self) -> np.random.Generator:
        """Random numbers of the present pass."""
        return np.random.default_rng([self.seed, self.passes])
