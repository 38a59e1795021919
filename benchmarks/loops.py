"""How near are training and unlearning loops to bare forward, backward and step, and a run to a notebook's?

python benchmarks/loops.py [--repeats 5]         (`make bench`; about half an hour on one core)

Loops: a method's CPU seconds beside those that a bare loop needs for as many faces, with the same network on one batch
that lies ready; 1 is the limit, and what answers faces without learning from them goes below it. The two take turns, so
that what else runs on the machine meets both alike. A run: photos are decoded, a network is trained and answers, as
notebooks do it (every photo opened, shrunk and put into a batch in each epoch) and as it is done here (packed once,
mapped from disk), with the same network, epochs and one thread. The tables go into results/speed.json.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from reporting import machine, spread, write_results
from torch import nn

from efface.data.batches import Batch, BatchLoader
from efface.data.faces import Faces, Images, MethodData
from efface.datasets import READERS
from efface.evaluation.predict import outputs
from efface.methods import METHODS
from efface.models import MODELS
from efface.preparation.packed import open_packed
from efface.preparation.prepare import prepare
from efface.tasks import TASKS, Task
from efface.training.environment import deterministic_torch
from efface.training.train import make_optimizer, train, training_step

CPU = torch.device("cpu")
FACES, PEOPLE, BATCH = 480, 60, 32
NETWORKS: dict[str, tuple[str, str, tuple[int, int, int], int, dict[str, Any]]] = {
    "EyeNet, 36 px": ("eyes", "eyenet", (3, 36, 36), 0, {"widths": (16, 32, 64), "hidden": 128}),
    "ResNet-18, 36 px, width 16": ("classes", "resnet18", (3, 36, 36), 6, {"width": 16, "stem": "small"}),
    "IResNet-10, 36 px, width 16": ("recognition", "iresnet", (3, 36, 36), PEOPLE, {"depth": 10, "width": 16}),
}
LOOPS: dict[str, dict[str, Any]] = {
    "finetune": {"epochs": 4, "batch": BATCH},
    "scrub": {"epochs": 2, "batch": BATCH},
    "bad_teacher": {"epochs": 4, "batch": BATCH},
    "neggrad_plus": {"epochs": 4, "batch": BATCH},
    "cure": {"epochs": 4, "batch": BATCH},
}
IN_PAIRS = ("bad_teacher", "cure")
"""Loops whose step has a batch of the forgotten and one of the retained, which pass the network together."""
FORGOTTEN = 96
"""Of the faces; the retained then make whole batches, too."""
LONGER = {"EyeNet, 36 px": 5}
"""How many times as many epochs a network is given whose steps are so short that a few of them measure nothing."""
PHOTOS, SIDE, EPOCHS = 600, 250, 5
LIMITS = [
    "CPU seconds of one process and one thread; smallest and largest of the repetitions in brackets.",
    "Faces are noise: what a loop costs does not hang on what is seen. The bare loop's batch is as large as a step's.",
    "Loops that a teacher answers faces for lie above 1: answering costs less than learning.",
    "The bare loop runs before and after each loop of ours, so that a machine that gets slower or faster meets both.",
]


def faces_of(task: Task, shape: tuple[int, int, int]) -> Faces:
    """Noise, with targets that a task can have."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(PEOPLE), FACES // PEOPLE)
    targets: Any = who.astype(np.int64)
    if task.outputs == "points":
        targets = rng.uniform(8, 28, (FACES, 2, 2)).astype(np.float32)
    elif task.outputs == "logits":
        targets = rng.integers(0, 6, FACES)
    images = rng.integers(0, 256, (FACES, *shape), np.uint8)
    keys = np.arange(FACES).astype(str)
    return Faces(Images(images, np.arange(FACES)), targets, who.astype(str), np.full(FACES, ""), keys)


def bare(model: nn.Module, task: Task, faces: Faces, steps: int, size: int) -> float:
    """CPU seconds per face of forward, backward and step on one batch of so many faces that lies ready."""
    model = copy.deepcopy(model).train()
    batch: Batch = BatchLoader(CPU, 0).fetch(faces, np.arange(size))
    optimizer = make_optimizer("adamw", model, 1e-9, 0.0)
    training_step(optimizer, task.loss(model, batch).mean())

    start = time.process_time()
    for _ in range(steps):
        training_step(optimizer, task.loss(model, batch).mean())
    return (time.process_time() - start) / (steps * size)


def loops(name: str, repeats: int) -> list[list[str]]:
    """A row for training and each method of one network."""
    task_name, network, shape, classes, settings = NETWORKS[name]
    task = TASKS[task_name]
    faces = faces_of(task, shape)
    torch.manual_seed(0)
    model = MODELS[network](shape, classes, **settings)
    data = MethodData(faces[:FORGOTTEN], faces[FORGOTTEN:], faces[:0], original=copy.deepcopy(model))
    longer = LONGER.get(name, 1)

    def work(title: str, fresh: nn.Module, loader: BatchLoader) -> None:
        if title == "train":
            train(fresh, task, faces, loader, epochs=4 * longer, batch=BATCH)
        else:
            METHODS[title](fresh, task, data, loader, **LOOPS[title] | {"epochs": LOOPS[title]["epochs"] * longer})

    rows = []
    for title in ["train", *(one for one in LOOPS if task.outputs == "embeddings" or one != "cure")]:
        shares = []
        for _ in range(repeats):
            fresh, loader = copy.deepcopy(model), BatchLoader(CPU, 0)
            size = 2 * BATCH if title in IN_PAIRS else BATCH
            before = bare(model, task, faces, 30 * longer, size)
            start = time.process_time()
            work(title, fresh, loader)
            took = time.process_time() - start
            each = (before + bare(model, task, faces, 30 * longer, size)) / 2
            shares.append(each * loader.faces_used / took)
        rows.append([name, title, spread(shares)])
    return rows


def photos_on_disk(folder: Path) -> Path:
    """Photos of noise that was smoothed, as a camera's are, in a folder for each person."""
    rng = np.random.default_rng(0)
    for number in range(PHOTOS):
        place = folder / f"person {number // 10}"
        place.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 256, (25, 25, 3), np.uint8))
        small.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(place / f"{number}.jpg", quality=90)
    return folder


def notebook(folder: Path, model: nn.Module, size: int) -> None:
    """Train and answer as notebooks do."""
    paths = sorted(folder.rglob("*.jpg"))
    who = torch.arange(len(paths)) % 6
    optimizer = torch.optim.AdamW(model.parameters(), 5e-4)

    def read(rows: Any) -> torch.Tensor:
        pictures = []
        for row in rows:
            with Image.open(paths[int(row)]) as photo:
                pixels = np.asarray(photo.convert("RGB").resize((size, size)), np.float32)
            pictures.append(torch.from_numpy((pixels / 255 - 0.5) / 0.5).permute(2, 0, 1))
        return torch.stack(pictures)

    model.train()
    for _ in range(EPOCHS):
        shuffled = torch.randperm(len(paths))
        for start in range(0, len(paths), BATCH):
            rows = shuffled[start : start + BATCH]
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(read(rows)), who[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    model.eval()
    with torch.no_grad():
        for start in range(0, len(paths), BATCH):
            model(read(range(start, min(start + BATCH, len(paths)))))


def ours(folder: Path, model: nn.Module, size: int, out: Path) -> None:
    """The same with photos packed once."""
    table: pd.DataFrame = READERS["folder"].read(folder)
    prepare(table, out, card=READERS["folder"].card, size=(size, size), colour=True, eyes="none")
    packed = open_packed(out)
    who = np.arange(len(packed)) % 6
    images = Images(packed.images, np.arange(len(packed)))
    keys = packed.table["key"].to_numpy(str)
    faces = Faces(images, who, keys, np.full(len(keys), ""), keys)
    train(model, TASKS["classes"], faces, BatchLoader(CPU, 0), epochs=EPOCHS, batch=BATCH)
    outputs(model, images, CPU)


def end_to_end(repeats: int) -> list[list[str]]:
    """A row for each network: how many times as many CPU seconds the notebook takes."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        photos = photos_on_disk(Path(folder) / "photos")
        for name, size, settings in (
            ("ResNet-18, 36 px, width 16", 36, {"width": 16, "stem": "small"}),
            ("ResNet-18, 64 px, width 16", 64, {"width": 16, "stem": "small"}),
        ):
            ratios, times = [], []
            for number in range(repeats):
                made = [MODELS["resnet18"]((3, size, size), 6, **settings) for _ in range(2)]
                start = time.process_time()
                notebook(photos, made[0], size)
                theirs = time.process_time() - start
                ours(photos, made[1], size, Path(folder) / f"{size}-{number}")
                mine = time.process_time() - start - theirs
                ratios.append(theirs / mine)
                times.append((theirs, mine))
            rows.append([name, *(f"{np.median(column):.1f}" for column in zip(*times, strict=True)), spread(ratios)])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with deterministic_torch(CPU, 1):
        rows = [row for name in NETWORKS for row in loops(name, repeats)]
        run = end_to_end(repeats)
    command = [f"python benchmarks/loops.py --repeats {repeats}", "python docs/print_results.py"]
    write_results(
        "speed",
        "How fast loops are",
        machine=machine("1 thread"),
        limits=LIMITS,
        tables=[
            {
                "name": "loops",
                "caption": "CPU seconds of a bare loop over as many faces, of a loop's own (1: the limit of learning)",
                "command": command,
                "columns": ["network", "loop", "bare of ours"],
                "rows": rows,
            },
            {
                "name": "run",
                "caption": f"{PHOTOS} photos of {SIDE} pixels, {EPOCHS} epochs and all answers, CPU seconds",
                "command": command,
                "columns": ["network", "notebook", "efface", "notebook of efface's"],
                "rows": run,
            },
        ],
    )


if __name__ == "__main__":
    main()
