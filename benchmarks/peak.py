"""How near is a training step to what this processor can multiply, and how much faster could one in fp32 be at most?

python benchmarks/peak.py [--steps 4] [--repeats 5]      (about ten minutes on one core that does nothing else)

Torch counts the multiplications of a step (forward, backward). efface's step and one as notebooks take it are timed in
turn with the fastest matrix product and convolution of this machine, each in a process of its own. A step at that pace
that did nothing else is the least that these multiplications take in fp32; how much longer a notebook's step takes is
the most that anything with the same multiplications can gain. The table goes into results/peak.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from precision import batch_of, cpu_seconds, stepping
from reporting import machine, spread, write_results
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import experiment
from efface.memory import keep_freed_memory
from efface.models import MODELS
from efface.tasks import TASKS
from efface.training.environment import deterministic_torch

CPU = torch.device("cpu")
NETWORKS: dict[str, tuple[int, int, dict[str, Any]]] = {
    title: (size, experiment.BATCH, settings) for title, (size, _, settings) in experiment.NETWORKS.items()
} | {"ResNet-18, 36 px, width 16 (of plans/attributes.toml)": (36, 64, {"width": 16, "stem": "small"})}
"""By its title: side of a face, batch, settings."""
CLASSES = TASKS["classes"]
OURS, NOTEBOOK, PRODUCTS = "ours", "notebook", "products"
LIMITS = [
    "CPU seconds of one process and one thread; smallest and largest of the repetitions in brackets, each the ratio of "
    "turns close in time.",
    "The fastest is that of a product of two matrices of 1,024 by 1,024 and of 3 by 3 convolutions of 64, 128 and 256 "
    "channels. All of it in fp32.",
    "One batch of noise again and again: reading photos and measuring are left out, where a notebook takes longer.",
    "A bound, not an aim: normalisation, activations and the optimiser take time that is no multiplication. Algorithms "
    "with fewer multiplications (Winograd's) would not be held by it; torch trains with none on this CPU.",
]


def step_of(name: str, way: str) -> Callable[[], None]:
    """A training step of efface, or as notebooks take it: channels first, the optimiser as torch sets it."""
    size, count, settings = NETWORKS[name]
    model, faces = MODELS["resnet18"]((3, size, size), 2, **settings), batch_of(CLASSES, (3, size, size), 2, count)
    if way == OURS:
        keep_freed_memory()
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return stepping(model, CLASSES, faces)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    images = faces.images.contiguous()
    model.train()

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), faces.targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def products() -> list[tuple[Callable[[], Any], float]]:
    """What multiplies fast, and its GFLOP."""
    side = 1024
    left, right = torch.randn(side, side), torch.randn(side, side)
    found: list[tuple[Callable[[], Any], float]] = [(lambda: left @ right, 2 * side**3 / 1e9)]
    for channels, size in ((64, 32), (128, 16), (256, 8)):
        faces = torch.randn(32, channels, size, size).to(memory_format=torch.channels_last)
        weights = torch.randn(channels, channels, 3, 3).to(memory_format=torch.channels_last)

        def convolved(faces: torch.Tensor = faces, weights: torch.Tensor = weights) -> torch.Tensor:
            return nn.functional.conv2d(faces, weights, padding=1)

        found.append((convolved, 2 * 32 * size**2 * channels**2 * 9 / 1e9))
    return found


def pace(work: Callable[[], Any], gigaflops: float, times: int) -> float:
    """GFLOP a CPU second."""
    work()
    return times * gigaflops / cpu_seconds(work, times)


def measure(name: str, way: str, steps: int) -> None:
    """Print GFLOP of a step and its pace, in this process; of products the fastest pace alone."""
    torch.set_num_threads(1)
    if way == PRODUCTS:
        print(json.dumps([0, max(pace(work, gigaflops, 4 * steps) for work, gigaflops in products())]))
        return
    with deterministic_torch(CPU, 1) if way == OURS else nullcontext():
        step = step_of(name, way)
        with FlopCounterMode(display=False) as counter:
            step()
        gigaflops = counter.get_total_flops() / 1e9
        print(json.dumps([gigaflops, pace(step, gigaflops, steps)]))


def measured(name: str, way: str, steps: int) -> list[float]:
    """GFLOP and pace, in a process of its own."""
    command = [sys.executable, __file__, "--steps", str(steps), "--measure", name, way]
    found: list[float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def row_of(name: str, steps: int, repeats: int) -> list[str]:
    """The table's row of a network."""
    turns = [[measured(name, way, steps) for way in (PRODUCTS, OURS, NOTEBOOK)] for _ in range(repeats)]
    fastest, ours, notebook = np.asarray(turns)[:, :, 1].T
    ratios = (ours / fastest, notebook / fastest, ours / notebook, fastest / notebook)
    return [name, str(NETWORKS[name][1]), f"{turns[0][1][0]:.1f}", f"{np.median(fastest):.0f}", *map(spread, ratios)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        name, way = given.measure
        measure(name, way, given.steps)
        return
    rows = [row_of(name, given.steps, given.repeats) for name in NETWORKS]
    write_results(
        "peak",
        "What a processor can multiply",
        machine=machine("1 thread"),
        limits=LIMITS,
        tables=[
            {
                "name": "steps",
                "caption": "A training step in fp32 beside the fastest multiplication of this machine (1: nothing but "
                "multiplying)",
                "command": [
                    f"python benchmarks/peak.py --steps {given.steps} --repeats {given.repeats}",
                    "python docs/print_results.py",
                ],
                "columns": [
                    "network",
                    "batch",
                    "GFLOP of a step",
                    "fastest GFLOP/s",
                    "ours, of it",
                    "a notebook's, of it",
                    "notebook's time of ours",
                    "notebook's time of one at the fastest pace",
                ],
                "rows": rows,
            }
        ],
    )


if __name__ == "__main__":
    main()
