"""What does a training step gain where memory that it frees is kept for the next one, and what would it gain if all
weights took it in one pass (torch's fused optimisers, which efface does not use)?

python benchmarks/kept_memory.py [--steps 6] [--repeats 5]      (about ten minutes on one core)

The same network, batch and step (forward, backward, AdamW), each in a process of its own, in turn: memory as glibc
hands it out and weights one after another; memory kept (`efface.memory.keep_freed_memory`); and both. The table goes
into results/kept_memory.json: pages that the system had to clear for a step, and ratios of CPU seconds of turns close
in time (below 1: faster).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from precision import NETWORKS, batch_of
from reporting import machine, spread, write_results

from efface.memory import keep_freed_memory
from efface.models import MODELS
from efface.models.precision import in_precision
from efface.settings import Precision
from efface.tasks import TASKS
from efface.training.environment import deterministic_torch
from efface.training.train import training_step

CPU = torch.device("cpu")
MEASURED = (
    "EyeNet, 36 px, widths 16, 32, 64",
    "ResNet-18, 36 px, width 16",
    "ResNet-18, 128 px",
    "IResNet-18, 112 px",
)
BY_ITSELF, KEPT, ONE_PASS = "as glibc has it", "memory kept", "memory kept, one pass"
WAYS: dict[Precision, tuple[str, ...]] = {"fp32": (BY_ITSELF, KEPT), "bf16": (BY_ITSELF, KEPT, ONE_PASS)}
LIMITS = [
    "CPU seconds of one process and one thread, the system's among them; ratios of turns close in time, their median, "
    "smallest and largest.",
    "One batch of noise again and again: reading and measuring are left out.",
    "glibc alone is told to keep memory; elsewhere nothing changes.",
]


def step(name: str, precision: Precision, way: str, steps: int) -> None:
    """Print CPU seconds and pages of a step, in this process."""
    if way != BY_ITSELF:
        keep_freed_memory()
    task_name, network, shape, classes, count, settings = NETWORKS[name]
    task = TASKS[task_name]
    with deterministic_torch(CPU, 1):
        model = MODELS[network](shape, classes, **settings)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        in_precision(model, precision).train()
        faces = batch_of(task, shape, classes, count)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=1e-4, fused=way == ONE_PASS or None)

        def take() -> None:
            training_step(optimizer, task.loss(model, faces).mean())

        for _ in range(2):
            take()
        pages, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
        for _ in range(steps):
            take()
        took = time.process_time() - start
    print(json.dumps([took / steps, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - pages) / steps]))


def measured(name: str, precision: Precision, way: str, steps: int) -> list[float]:
    """CPU seconds and pages of a step, in a process of its own."""
    command = [sys.executable, __file__, "--steps", str(steps), "--step", name, precision, way]
    found: list[float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        name, precision, way = given.step
        step(name, precision, way, given.steps)
        return
    rows = []
    for name in MEASURED:
        for kind, ways in WAYS.items():
            turns = [[measured(name, kind, way, given.steps) for way in ways] for _ in range(given.repeats)]
            found = np.asarray(turns)  # (repeats, ways, 2)
            for place, way in enumerate(ways):
                milliseconds, pages = np.median(found[:, place], axis=0) * (1000, 1)
                ratio = spread(found[:, place, 0] / found[:, 0, 0]) if place else "1"
                rows.append([name, kind, way, f"{milliseconds:.0f}", f"{pages:,.0f}", ratio])
    write_results(
        "kept_memory",
        "What a step gains where memory is kept",
        machine=machine("1 thread"),
        limits=LIMITS,
        tables=[
            {
                "name": "steps",
                "caption": "A training step: its CPU milliseconds, pages of memory cleared for it, and what it takes "
                "of one as glibc has it",
                "command": [
                    f"python benchmarks/kept_memory.py --steps {given.steps} --repeats {given.repeats}",
                    "python docs/print_results.py",
                ],
                "columns": ["network", "precision", "how", "CPU ms", "pages", "of it"],
                "rows": rows,
            }
        ],
    )


if __name__ == "__main__":
    main()
