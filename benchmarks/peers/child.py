"""What each side of benchmarks/peers.py shares: one network, one set of faces, one clock, jobs asked for line by line.

It runs in the peers' environment as well as in ours, so it knows torch and numpy alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

SHOWN: Counter[str] = Counter()
"""How many faces the network was shown: by a network in training, by one in evaluation mode."""


class Job(TypedDict):
    """What is asked of a side."""

    loader: bool
    """Faces come from a DataLoader over tensors in memory; else batches lie ready, channels last. Ours has its own."""
    epochs: int
    batch: int
    gamma: float
    """Weight of the labelled loss on the retained."""
    precision: str
    """What ours computes with."""


class Block(nn.Module):
    """Two 3x3 convolutions and a way around them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        changes = stride != 1 or before != after
        self.downsample: nn.Module = (
            nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
            if changes
            else nn.Identity()
        )

    def forward(self, features: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.bn1(self.conv1(features)).relu()))
        added: Tensor = out + self.downsample(features)
        return added.relu()


class ResNet18(nn.Module):
    """ResNet-18 for small pictures, with torchvision's names of weights; it counts what it is shown."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        for number in range(1, 5):
            before, after = widths[number - 1 : number + 1]
            stage = nn.Sequential(Block(before, after, 1 if number == 1 else 2), Block(after, after, 1))
            self.add_module(f"layer{number}", stage)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        SHOWN["training" if self.training else "answering"] += len(images)
        features = self.bn1(self.conv1(images)).relu()
        for number in range(1, 5):
            features = self.get_submodule(f"layer{number}")(features)
        logits: Tensor = self.fc(self.avgpool(features).flatten(1))
        return logits


@dataclass(frozen=True)
class Given:
    """Faces and weights that were written for all sides: uint8 (n, 3, h, w), classes, which are to be forgotten."""

    images: NDArray[np.uint8]
    classes: NDArray[np.int64]
    forget: NDArray[np.int64]
    retain: NDArray[np.int64]
    weights: dict[str, Tensor]
    width: int

    def network(self) -> ResNet18:
        """The network with the weights that were given."""
        network = ResNet18(int(self.classes.max()) + 1, self.width)
        network.load_state_dict(self.weights)
        return network

    def loader(self, rows: NDArray[np.int64], job: Job, *, numbered: bool) -> DataLoader[Any]:
        """These faces as peers want them: float tensors in [-1, 1] in memory, handed out in another order each time (of
        batches that lie ready: the batches); numbered: with each face's number between image and class."""
        images = torch.from_numpy(self.images[rows]).float() / 127.5 - 1
        numbers, classes = torch.arange(len(rows)), torch.from_numpy(self.classes[rows])
        columns = (images, numbers, classes) if numbered else (images, classes)
        if job["loader"]:
            return DataLoader(TensorDataset(*columns), job["batch"], shuffle=True)
        columns = (images.contiguous(memory_format=torch.channels_last), *columns[1:])
        ready: Any = list(zip(*(torch.split(column, job["batch"]) for column in columns), strict=True))
        return DataLoader(ready, batch_size=None, shuffle=True)


def given_in(folder: Path) -> Given:
    """What benchmarks/peers.py wrote there; ValueError if this network answers otherwise than efface's."""
    with np.load(folder / "faces.npz") as file:
        columns = {name: file[name] for name in file.files}
    weights = torch.load(folder / "weights.pt", weights_only=True)
    answers, width = torch.from_numpy(columns.pop("answers")), int(columns.pop("width"))
    given = Given(**columns, weights=weights, width=width)
    with torch.no_grad():
        own = given.network().eval()(torch.from_numpy(given.images[: len(answers)]).float() / 127.5 - 1)
    if not torch.allclose(own, answers, atol=1e-4):
        raise ValueError("the network here answers otherwise than the one whose weights it was given")
    return given


def serve(packages: Iterable[str], prepare: Callable[[Given, Job], Callable[[], nn.Module]]) -> None:
    """Tell versions, then do every job that is asked for on standard input, and tell what its call alone took."""
    told, sys.stdout = sys.stdout, sys.stderr
    torch.set_num_threads(1)
    given = given_in(Path(sys.argv[1]))
    print(json.dumps({name: version(name) for name in packages}), file=told, flush=True)
    for line in sys.stdin:
        work = prepare(given, json.loads(line))
        SHOWN.clear()
        wall, cpu = time.perf_counter(), cpu_time()
        model = work()
        cpu, wall = cpu_time() - cpu, time.perf_counter() - wall
        finite = all(bool(weight.isfinite().all()) for weight in model.parameters())
        print(json.dumps({"cpu": cpu, "wall": wall, "finite": finite, **SHOWN}), file=told, flush=True)


def cpu_time() -> float:
    """CPU seconds of this process so far, all threads, and of all processes that it started and that have ended."""
    children = os.times()
    return time.process_time() + children.children_user + children.children_system
