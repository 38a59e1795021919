"""How much sooner do several processes that train one model together take a step?

python benchmarks/scaling.py [--processes 1 2] [--repeats 3]

One network is trained on faces of noise by so many processes of one thread, as torchrun starts them (gloo), on batches
of one size however many share them. The table, which goes into results/scaling.json, has the wall time of a step, what
of it is left beside one process's, and how much of the processes' time went into the work that one alone has. It says
something only on a machine that does nothing else; the processes take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from typing import Any

import numpy as np
import torch
from reporting import machine, spread, write_results

from efface.data.batches import BatchLoader
from efface.data.faces import Faces, Images
from efface.distributed import launched
from efface.models import MODELS
from efface.tasks import TASKS
from efface.training.environment import deterministic_torch
from efface.training.train import fit

CPU = torch.device("cpu")
BATCH, STEPS = 64, 6
NETWORKS: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {
    "IResNet-10, 36 px, width 16": ((3, 36, 36), {"depth": 10, "width": 16}),
    "IResNet-18, 112 px, width 32": ((3, 112, 112), {"depth": 18, "width": 32}),
}
LIMITS = [
    "Processes of one machine with as many cores as its virtual machine was given, over gloo; no GPU and no network "
    "between machines were measured.",
    "Gradients are summed when all of them are there, in one message, not while others are still computed.",
]


def work(name: str) -> None:
    """What each process does: train, and the first one says how long a step took."""
    shape, settings = NETWORKS[name]
    rng = np.random.default_rng(0)
    images = Images(rng.integers(0, 256, (4 * BATCH, *shape), np.uint8), np.arange(4 * BATCH))
    keys = np.arange(4 * BATCH).astype(str)
    faces = Faces(images, rng.integers(0, 50, 4 * BATCH), keys, np.full(4 * BATCH, ""), keys)
    with launched(CPU) as together, deterministic_torch(CPU, 1):
        model = MODELS["iresnet"](shape, 50, **settings)

        def some(steps: int) -> float:
            together.wait()
            start = time.perf_counter()
            loader = BatchLoader(CPU, 0)
            fit(model, TASKS["recognition"], faces, loader, lr=1e-4, steps=steps, batch=BATCH, optimiser="sgd")
            together.wait()
            return (time.perf_counter() - start) / steps

        some(1)
        seconds = some(STEPS)
        if together.first:
            print(json.dumps(seconds))


def launch(name: str, count: int) -> float:
    """Wall seconds of a step by so many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    about = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, __file__, "--work", name],
            env=os.environ | about | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    said = [one.communicate()[0] for one in running]
    if any(one.returncode for one in running):
        raise RuntimeError(f"{name}: a process of {count} failed")
    return float(json.loads(said[0]))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    asked.add_argument("--repeats", type=int, default=3)
    asked.add_argument("--work", choices=list(NETWORKS), help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.work:
        work(given.work)
        return
    rows = []
    for name in NETWORKS:
        took = [{count: launch(name, count) for count in given.processes} for _ in range(given.repeats)]
        for count in given.processes:
            sooner = [one[given.processes[0]] / one[count] for one in took]
            used = [times * given.processes[0] / count for times in sooner]
            rows.append([name, str(count), spread([one[count] for one in took]), spread(sooner), spread(used)])
    command = ["python benchmarks/scaling.py", "python docs/print_results.py"]
    columns = ["network", "processes", "wall seconds of a step", "times sooner", "of the processes' time"]
    write_results(
        "scaling",
        "What several processes gain",
        machine=machine("1 thread each"),
        limits=LIMITS,
        tables=[
            {
                "name": "steps",
                "caption": f"A training step of {BATCH} faces by several processes of one thread",
                "command": command,
                "columns": columns,
                "rows": rows,
            }
        ],
    )


if __name__ == "__main__":
    main()
