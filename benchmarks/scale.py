"""How do memory and CPU seconds grow with the number of faces, step by step?

python benchmarks/scale.py [--sizes 5000 50000 500000] [--threads 1]

Generated faces of 112 pixels (a pattern for each person, ten photos of each with noise) are packed on disk, opened
memory-mapped, answered by an untrained IResNet of 512 dimensions, and measured. Of every step the table, which goes
into results/scale.json, has CPU seconds with the power of the number of faces by which they grow (1: linear), and the
peak of the memory that the step itself took, pages of mapped files left out, with what each further face adds.
"""

import argparse
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from reporting import machine, write_results
from torch import nn

from efface.data.batches import BatchLoader
from efface.data.faces import Array, Faces, Images
from efface.evaluation.predict import outputs
from efface.measures.bootstrap import Bootstrap
from efface.measures.identification import identification
from efface.measures.predictions import Predictions
from efface.measures.verification import verification
from efface.methods.clusters import cluster
from efface.models import MODELS
from efface.preparation.packed import open_packed, write_packed
from efface.tasks import TASKS
from efface.training.environment import Meter, deterministic_torch
from efface.training.train import fit

CPU = torch.device("cpu")
SHAPE, DIMENSIONS, PHOTOS, CHUNK, CLUSTERS = (3, 112, 112), 512, 10, 500, 10
BATCH, EPOCH = 64, 50_000
"""Faces of a training step, and of an epoch those that are trained on here: drawn from all, as in a whole one."""
SPLITS = ("forget", "retain", "retain", "retain", "strangers")
"""By a person's number: of which split; two photos of each of the forgotten and the retained are held back."""


def drawn(count: int) -> Iterator[NDArray[np.uint8]]:
    """(CHUNK, 3, 112, 112) at a time: the photos of one person after the other."""
    for start in range(0, count, CHUNK):
        rng = np.random.default_rng([start])
        people = rng.integers(0, 256, (CHUNK // PHOTOS, 3, 7, 7), np.int16).repeat(PHOTOS, 0)
        patterns = people.repeat(16, 2).repeat(16, 3)
        yield np.clip(patterns + rng.integers(-40, 41, patterns.shape, np.int16), 0, 255).astype(np.uint8)[
            : count - start
        ]


def labels(count: int) -> pd.DataFrame:
    """A row for each photo."""
    number = np.arange(count)
    return pd.DataFrame({"key": np.char.mod("%08d", number), "person": np.char.mod("%06d", number // PHOTOS)})


def split_of(number: NDArray[np.int64]) -> Array:
    """The split of each photo."""
    split = np.array(SPLITS)[(number // PHOTOS) % len(SPLITS)]
    held = (number % PHOTOS >= PHOTOS - 2) & (split != "strangers")
    return np.where(held, np.char.add(split, "_unseen"), split)


def predictions_of(table: pd.DataFrame, answers: Array) -> Predictions:
    """Answers with whose they are, and one pair for each two photos: two of a person or, every other, of two people."""
    number = np.arange(len(table))
    first, second = number[:-PHOTOS:2], np.where(number[:-PHOTOS:2] % 4, number[1:-PHOTOS:2], number[PHOTOS::2])
    unit = answers / np.linalg.norm(answers, axis=1, keepdims=True)
    pairs = {
        "pair_set": np.full(len(first), "pairs"),
        "pair_similarity": np.einsum("pd,pd->p", unit[first], unit[second]),
        "pair_same": first // PHOTOS == second // PHOTOS,
        "pair_fold": np.arange(len(first)) * 10 // len(first),
        "pair_quality": np.full(len(first), np.nan),
        "pair_poor": np.zeros(len(first), bool),
    }
    who = table["person"].to_numpy(str)
    return Predictions(
        split=split_of(number),
        key=table["key"].to_numpy(str),
        identity=who,
        group=np.full(len(table), "A"),
        outputs=answers,
        targets=np.full(len(table), -1),
        **pairs,
    )


def measured(count: int, folder: Path) -> dict[str, tuple[float, float]]:
    """(CPU seconds, MiB) of each step with so many faces."""
    took: dict[str, tuple[float, float]] = {}

    def step(name: str, work: Callable[[], Any]) -> Any:
        with Meter(CPU) as meter:
            done = work()
        took[name] = (meter.cpu_seconds, max(meter.peak_memory_mib, 0.0))
        print(count, name, f"{meter.cpu_seconds:.1f} CPU s, {meter.peak_memory_mib:.0f} MiB", flush=True)
        return done

    place, table = folder / str(count), labels(count)
    step("packing", lambda: write_packed(place, drawn(count), table, shape=SHAPE, about={"name": "generated"}))
    faces = step("opening, checksums read", lambda: open_packed(place))
    images = Images(faces.images, np.arange(count))
    people = count // PHOTOS
    model: nn.Module = MODELS["iresnet"](SHAPE, people, depth=10, width=8, dimensions=DIMENSIONS)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    answers = step("answering", lambda: outputs(model, images, CPU))
    shown = predictions_of(faces.table, answers)
    bootstrap = step("resamples", lambda: Bootstrap(shown))
    step("identification", lambda: identification(shown, bootstrap))
    step("verification", lambda: verification(shown))
    step(f"k-means, {CLUSTERS} clusters", lambda: cluster(answers, "kmeans", CLUSTERS, 0))
    trained = Faces(images, np.arange(count) // PHOTOS, shown.identity, shown.group, shown.key)
    most = min(count, EPOCH) // BATCH
    step(
        f"an epoch, at most {EPOCH:,} faces",
        lambda: fit(model, TASKS["recognition"], trained, BatchLoader(CPU, 0), lr=1e-3, steps=most, batch=BATCH),
    )
    return took


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--sizes", type=int, nargs="+", default=[5000, 50000, 500000])
    asked.add_argument("--threads", type=int, default=1)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder, deterministic_torch(CPU, given.threads):
        took = [measured(count, Path(folder)) for count in given.sizes]
    save(given.sizes, took, given.threads)


def slope(small: float, large: float, times: float) -> str:
    """The power of the number of faces by which something grows; a dash where it is too small to say."""
    return f"{math.log(large / small) / math.log(times):.2f}" if min(small, large) > 0 else "–"


def save(sizes: Sequence[int], took: Sequence[dict[str, tuple[float, float]]], threads: int) -> None:
    """Write results/scale.json."""
    times = sizes[-1] / sizes[0]
    rows = []
    for name in took[0]:
        seconds, memory = ([one[name][place] for one in took] for place in (0, 1))
        rows.append(
            [
                name,
                *(f"{one:.1f}" for one in seconds),
                slope(seconds[0], seconds[-1], times),
                *(f"{one:.0f}" for one in memory),
                f"{1024 * (memory[-1] - memory[0]) / (sizes[-1] - sizes[0]):.2f}",
            ]
        )
    write_results(
        "scale",
        "What many faces take",
        machine=machine(f"{threads} thread(s)"),
        limits=[
            "Photos are patterns with noise, and the network is untrained: numbers of faces are real, faces are not. "
            "How often k-means goes round depends on the embeddings.",
            "An embedding has 512 numbers of 4 bytes, 2 KiB of each face. Above 256 MiB answers and their directions "
            "lie in files without a name; pages of these and of the packed folder, which the system drops when it "
            "needs them, are left out of memory.",
            "A narrow IResNet (depth 10, width 8), since the machine has no GPU: a wide one takes longer. "
            "People grow with the faces, ten photos of each, and so does the head that the epoch trains: 50,000 people "
            "of 512 numbers are 100 MiB, four times with gradients and the optimiser's moments.",
            f"Of an epoch at most {EPOCH:,} faces are trained on, drawn from all: its seconds grow with the head "
            "alone.",
            "Other processes ran on the machine, most of all beside 500,000 faces: CPU seconds leave out their turns, "
            "not what they do to shared caches.",
        ],
        tables=[
            {
                "name": "steps",
                "caption": "CPU seconds and peak memory of each step, by the number of faces of 112 px",
                "command": [
                    f"python benchmarks/scale.py --sizes {' '.join(map(str, sizes))} --threads {threads}",
                    "python docs/print_results.py",
                ],
                "columns": [
                    "step",
                    *(f"CPU s, {count:,}" for count in sizes),
                    "slope (1: linear)",
                    *(f"MiB, {count:,}" for count in sizes),
                    "KiB for each face more",
                ],
                "rows": rows,
            }
        ],
    )


if __name__ == "__main__":
    main()
