"""How many CPU seconds does bf16 take of what fp32 takes, network by network, and does it change what a run finds?

python benchmarks/precision.py [--steps 4] [--repeats 5] [--threads 1]

The same network and the same batch, fp32 and bf16 in turn, so that what else runs on the machine meets both alike. A
step is forward, backward and AdamW. The tables go into results/precision.json: medians of the ratios of CPU seconds,
and their smallest and largest (below 1, bf16 is faster); then, of the same small runs on synthetic faces in both, how
far their rows are apart beside what another training seed does to them.
"""

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reporting import machine, write_results
from torch import nn

from efface.data.batches import Batch, inference_batch
from efface.experiment.run import run
from efface.measure_key import MeasureKey
from efface.models import MODELS
from efface.models.precision import in_precision
from efface.plan.file import parse_plan
from efface.plan.tables import Plan
from efface.results import ORIGINAL, REFERENCE
from efface.tasks import TASKS, Task
from efface.training.environment import computes_bf16, deterministic_torch
from efface.training.train import make_optimizer, training_step

CPU = torch.device("cpu")
COLUMNS = ("network", "batch", "a step, fp32", "bf16 of it", "answering 64 faces, fp32", "bf16 of it")
NETWORKS: dict[str, tuple[str, str, tuple[int, int, int], int, int, dict[str, Any]]] = {
    "EyeNet, 36 px": ("eyes", "eyenet", (3, 36, 36), 0, 32, {}),
    "EyeNet, 36 px, widths 16, 32, 64": ("eyes", "eyenet", (3, 36, 36), 0, 32, {"widths": (16, 32, 64), "hidden": 128}),
    "ResNet-18, 36 px, width 16": ("classes", "resnet18", (3, 36, 36), 6, 64, {"width": 16, "stem": "small"}),
    "ResNet-18, 64 px": ("classes", "resnet18", (3, 64, 64), 6, 8, {"stem": "small"}),
    "ResNet-18, 128 px": ("classes", "resnet18", (3, 128, 128), 8, 32, {}),
    "IResNet-18, 112 px": ("recognition", "iresnet", (3, 112, 112), 100, 16, {}),
    "IResNet-10, 36 px, width 16": ("recognition", "iresnet", (3, 36, 36), 100, 64, {"depth": 10, "width": 16}),
    "MobileFaceNet, 112 px": ("recognition", "mobilefacenet", (3, 112, 112), 100, 16, {}),
}
"""By its title: task, network, shape of a face, classes, batch, settings."""
RUN_COLUMNS = (
    "task",
    "error",
    "its mean difference",
    "of attack AUC",
    "CPU seconds of making the models, of fp32",
)
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "eyes": ({"name": "eyenet"}, {"epochs": 12}, "normalised_error/test/all"),
    "classes": (
        {"name": "resnet18", "width": 16, "stem": "small"},
        {"epochs": 6, "batch": 64, "optimiser": "sgd", "lr": 0.05},
        "error/test/all",
    ),
    "recognition": (
        {"name": "iresnet", "depth": 10, "width": 16, "dimensions": 128, "scale": 16.0},
        {"epochs": 8, "batch": 64, "optimiser": "sgd", "lr": 0.05},
        "impostor_rate/test/all",
    ),
}
"""By task: network, training, and the error that is compared."""


def batch_of(task: Task, shape: tuple[int, int, int], classes: int, count: int) -> Batch:
    """A batch of noise, with targets that the task can have."""
    images = torch.rand(count, *shape).mul(2).sub(1).contiguous(memory_format=torch.channels_last)
    targets = torch.rand(count, 2, 2) * shape[1] if task.outputs == "points" else torch.randint(classes, (count,))
    return Batch(images, targets, np.arange(count))


def cpu_seconds(work: Callable[[], Any], times: int) -> float:
    """CPU seconds of doing it so many times."""
    start = time.process_time()
    for _ in range(times):
        work()
    return time.process_time() - start


def stepping(model: nn.Module, task: Task, faces: Batch) -> Callable[[], None]:
    """A training step."""
    optimizer = make_optimizer("adamw", model, 1e-4, 1e-4)
    return lambda: training_step(optimizer, task.loss(model.train(), faces).mean())


def answering(model: nn.Module, faces: Batch) -> Callable[[], None]:
    """The answers to a batch."""

    @torch.no_grad()
    def answer() -> None:
        model.eval()(faces.images)

    return answer


def plan_of(task: str, precision: str) -> Plan:
    """A small run: three ways to forget, three seeds."""
    model, train, _ = RUNS[task]
    return parse_plan(
        {
            "task": task,
            "goal": "influence removed",
            "precision": precision,
            "seeds": [0, 1, 2],
            "forget": {"group": "B", "share": 0.5},
            "data": {
                "name": "synthetic",
                "people": 120,
                "photos_per_person": 4,
                "size": [36, 36],
                **({"label": "age"} if task == "classes" else {}),
            },
            "split": {"photos": 3, "held_back": 1} if task == "recognition" else {},
            "model": model,
            "train": train,
            "methods": {"finetune": {}, "neggrad_plus": {}, "scrub": {}},
        },
        "benchmark",
    )


def agreement(task: str, threads: int, folder: Path) -> list[str]:
    """A row: how far bf16 moves a run's numbers, beside what training seeds do to them, and its CPU seconds."""
    wide, narrow = (
        run({"": plan_of(task, one)}, folder / task / one, device="cpu", threads=threads, with_faces=False)
        for one in ("fp32", "bf16")
    )
    cells = []
    for key in (MeasureKey.parse(RUNS[task][2]), MeasureKey.parse("membership/auc/photo")):
        moved, between = [], []
        for method in (ORIGINAL, REFERENCE, "finetune", "neggrad_plus", "scrub"):
            one, two = (
                np.array([row.measures[key].value for row in results.evaluations if row.method == method], float)
                for results in (wide, narrow)
            )
            moved.append(abs(one.mean() - two.mean()))
            between.append(one.std(ddof=1) * np.sqrt(2 / len(one)))  # of the difference of two such means
        cells.append(f"{np.mean(moved):.3g} ({np.mean(between):.3g})")
    took = [sum(row.cost.cpu_seconds or 0 for row in results.evaluations) for results in (wide, narrow)]
    error = RUNS[task][2].partition("/")[0].replace("_", " ")
    return [task, error, *cells, f"{took[1] / took[0]:.2f}"]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--steps", type=int, default=4)
    asked.add_argument("--repeats", type=int, default=5)
    asked.add_argument("--threads", type=int, default=1)
    given = asked.parse_args()
    able = "instructions for bf16" if computes_bf16(CPU) else "no instructions for bf16"
    about = machine(f"{able}, {given.threads} thread(s)")
    rows = []
    with deterministic_torch(CPU, given.threads):
        for title, (task_name, name, shape, classes, count, settings) in NETWORKS.items():
            task, wide = TASKS[task_name], MODELS[name](shape, classes, **settings)
            wide = wide.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            models = (wide, in_precision(copy.deepcopy(wide), "bf16"))
            faces = batch_of(task, shape, classes, count)
            some = batch_of(task, shape, classes, inference_batch(CPU))
            cells = []
            for works in (
                [stepping(model, task, faces) for model in models],
                [answering(model, some) for model in models],
            ):
                for work in works:
                    cpu_seconds(work, 2)
                took = np.array([[cpu_seconds(work, given.steps) for work in works] for _ in range(given.repeats)])
                ratios = took[:, 1] / took[:, 0]
                cells += [
                    f"{1e3 * np.median(took[:, 0]) / given.steps:.0f}",
                    f"{np.median(ratios):.2f} [{ratios.min():.2f}, {ratios.max():.2f}]",
                ]
            rows.append([title, str(count), *cells])
            print(*rows[-1], sep=" | ", flush=True)
    how = f"--steps {given.steps} --repeats {given.repeats}"
    with tempfile.TemporaryDirectory() as folder:
        runs = [agreement(task, given.threads, Path(folder)) for task in RUNS]
    save(rows, runs, about, how)


def save(rows: list[list[str]], runs: list[list[str]], about: str, how: str) -> None:
    """Write results/precision.json."""
    command = [f"python benchmarks/precision.py {how}", "python docs/print_results.py"]
    write_results(
        "precision",
        "What bf16 takes",
        machine=about,
        limits=[
            "One batch of noise again and again: reading, augmentation and measuring, which are as they were, are left "
            "out, so a whole run gains less.",
            "Other processes ran on the machine. CPU seconds leave out their turns, not what they do to shared caches "
            "and memory: hence ratios of turns close in time, with the smallest and the largest.",
            "One processor, with avx512_bf16. Processors with amx_bf16 and GPUs were not measured.",
            "The runs are small: 480 faces, so nearly every verdict on them is “not enough data” in both, and whether "
            "bf16 changes a verdict was not seen. Recognition moves about as far as by another seed.",
        ],
        tables=[
            {
                "name": "networks",
                "caption": "CPU milliseconds in fp32, and what bf16 takes of them: median [smallest, largest]",
                "command": command,
                "columns": list(COLUMNS),
                "rows": rows,
            },
            {
                "name": "runs",
                "caption": "How far bf16 moves what a run finds, mean of five rows (in brackets: the standard error of "
                "such a difference between two sets of three seeds); seeds 0, 1, 2, 480 synthetic faces of 36 px",
                "command": command,
                "columns": list(RUN_COLUMNS),
                "rows": runs,
            },
        ],
    )


if __name__ == "__main__":
    main()
