"""How much sooner is a whole experiment done than a notebook's?

python benchmarks/experiment.py [--repeats 1]      (about half an hour on two cores that do nothing else)

The experiment: from photos on disk an original is trained, a reference without the forgotten, the original is
fine-tuned without them, and all three are measured: accuracy on every split, and a membership attack. As notebooks do
it: every photo opened, shrunk and put into a batch in each epoch, fp32, as many torch threads as there are cores. As
`efface run` does it, with the same network, photos, division, epochs and batches: packed once, a process for each core,
in fp32 and in bf16, with everything else that a run measures and a report of it. Each is a process of its own that
begins with importing; the table in results/experiment.json has CPU and wall seconds of all of its processes together,
and what either finds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from reporting import machine, write_results
from torch import nn

from efface.datasets import GENERATORS
from efface.experiment.arm import set_up
from efface.experiment.resolve import resolve
from efface.measure_key import MeasureKey
from efface.models import MODELS
from efface.plan.file import parse_plan
from efface.progress import Progress
from efface.results import Results, read_results
from efface.training.environment import environment

CPU = torch.device("cpu")
PEOPLE, PHOTOS, SIDE, BATCH, TUNING = 150, 4, 250, 32, 2
NETWORKS: dict[str, tuple[int, int, dict[str, Any]]] = {
    "ResNet-18, 128 px (MUFAC's)": (128, 30, {"width": 64}),
    "ResNet-18 with a small stem, 32 px (as on CIFAR)": (32, 8, {"width": 64, "stem": "small"}),
}
"""Size of its pictures, epochs of a training (of the first those of plans/mufac.toml), and settings."""
LABEL = "glasses"
LIMITS = [
    "A notebook written by us in the style of public ones: it stands for no published package, and measures less: "
    "accuracies and one attack, where a run has intervals, fairness and a report.",
    "CPU seconds of all processes, imports among them. The notebook has a torch thread for each core, a run a process "
    "for each core; both have the machine to themselves.",
    "One repetition, as the command says: how far another would differ was not measured.",
    "Synthetic faces, and few of them: what a run does once (packing, measuring, the report) weighs more than with "
    "many. The longer a training, the less it weighs.",
]


def plan_of(photos: Path, size: int, epochs: int, settings: dict[str, Any], precision: str) -> dict[str, Any]:
    """The experiment as a plan."""
    return {
        "task": "classes",
        "goal": "influence removed",
        "seeds": [0],
        "precision": precision,
        "data": {
            "name": "folder",
            "path": str(photos),
            "label": LABEL,
            "prepare": {"size": [size, size], "colour": True, "eyes": "none"},
        },
        "split": {"public": 0.0, "val": 0.0, "strangers": 0.2, "test": 0.2},
        "forget": {"share": 0.1},
        "model": {"name": "resnet18", **settings},
        "train": {"epochs": epochs, "batch": BATCH},
        "methods": {"finetune": {"epochs": TUNING, "batch": BATCH}},
    }


def write_photos(folder: Path) -> Path:
    """JPEGs of synthetic people, and their labels."""
    made = GENERATORS["synthetic"].make(people=PEOPLE, photos_per_person=PHOTOS, size=(125, 125), colour=True)
    folder.mkdir()
    names = [f"{key}.jpg" for key in made.table["key"]]
    for name, pixels in zip(names, made.images, strict=True):
        picture = Image.fromarray(np.asarray(pixels).transpose(1, 2, 0))
        picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / name, quality=90)
    pd.DataFrame({"path": names, "person": made.table["person"], LABEL: made.table[LABEL]}).to_csv(
        folder / "labels.csv", index=False
    )
    return folder


def write_division(plan: dict[str, Any], folder: Path) -> Path:
    """Which photos are in which split, as the run will have it: the notebook is handed the same."""
    arm = set_up(
        "", resolve(parse_plan(plan, "plan"), "plan"), folder / "division", CPU, environment(CPU, 1), Progress()
    )
    rows = [
        {"path": f"{key}.jpg", "label": int(label), "split": name}
        for name, faces in arm.splits.items()
        for key, label in zip(faces.keys.tolist(), faces.targets.tolist(), strict=True)
    ]
    file = folder / "division.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


def notebook(photos: Path, division: Path, size: int, epochs: int, settings: dict[str, Any]) -> None:
    """The experiment as notebooks do it."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from torch.utils.data import DataLoader, Dataset

    table = pd.read_csv(division)

    class Photos(Dataset[tuple[torch.Tensor, int]]):
        def __init__(self, *splits: str) -> None:
            self.rows = table[table["split"].isin(splits)].reset_index(drop=True)

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
            row = self.rows.iloc[place]
            with Image.open(photos / row["path"]) as photo:
                pixels = np.asarray(photo.convert("RGB").resize((size, size), Image.Resampling.BILINEAR), np.float32)
            return (torch.from_numpy(pixels).permute(2, 0, 1) / 255 - 0.5) / 0.5, int(row["label"])

    def trained(model: nn.Module, faces: Photos, epochs: int, lr: float) -> nn.Module:
        optimizer = torch.optim.AdamW(model.parameters(), lr)
        loader = DataLoader(faces, BATCH, shuffle=True)
        model.train()
        for _ in range(epochs):
            for images, labels in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return model

    @torch.no_grad()
    def losses(model: nn.Module, *splits: str) -> tuple[np.ndarray[Any, Any], float]:
        model.eval()
        parts, right = [], 0
        for images, labels in DataLoader(Photos(*splits), BATCH):
            answers = model(images)
            right += int((answers.argmax(1) == labels).sum())
            parts.append(nn.functional.cross_entropy(answers, labels, reduction="none"))
        lost = torch.cat(parts).numpy()
        return lost, right / len(lost)

    def fresh() -> nn.Module:
        return MODELS["resnet18"]((3, size, size), 2, **settings)

    original = trained(fresh(), Photos("forget", "retain"), epochs, 5e-4)
    reference = trained(fresh(), Photos("retain"), epochs, 5e-4)
    tuned = fresh()
    tuned.load_state_dict(original.state_dict())
    tuned = trained(tuned, Photos("retain"), TUNING, 5e-4)
    for name, model in {"original": original, "reference": reference, "finetune": tuned}.items():
        said = {split: losses(model, split) for split in ("forget", "retain", "strangers", "test")}
        members, others = said["forget"][0], said["strangers"][0]
        signal, truth = np.concatenate([members, others])[:, None], np.arange(len(members) + len(others)) < len(members)
        attack = roc_auc_score(truth, LogisticRegression().fit(signal, truth).predict_proba(signal)[:, 1])
        print(name, {split: f"{accuracy:.3f}" for split, (_, accuracy) in said.items()}, f"attack {attack:.3f}")


def timed(command: list[str], threads: int) -> tuple[float, float]:
    """CPU and wall seconds of a command and all that it started."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    env = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.perf_counter() - start


def found_by(results: Results) -> list[str]:
    """Error on test faces and attack of every row, and how far apart the verdicts on forgetting are."""
    error = MeasureKey("score", results.requests[0].task.error, split="test", group="all")
    attack = MeasureKey("membership", "auc", level="photo")
    rows = {one.method: one.measures for one in results.evaluations}
    cells = []
    for name in ("original", "reference", "finetune"):
        values = [rows[name][key].value for key in (error, attack)]
        cells.append(", ".join("–" if value is None else f"{value:.3f}" for value in values))
    return cells


def compared(name: str, cores: int, repeats: int, folder: Path) -> tuple[list[list[str]], list[list[str]]]:
    """Rows of one network: what each way took, and what a run found in either precision."""
    size, epochs, settings = NETWORKS[name]
    photos = folder / "photos"
    if not photos.exists():
        write_photos(photos)
    division = write_division(plan_of(photos, size, epochs, settings, "fp32"), folder)
    took: dict[str, list[tuple[float, float]]] = {"notebook": [], "fp32": [], "bf16": []}
    found = {}
    for number in range(repeats):
        asked = ["--notebook", str(photos), str(division), str(size), str(epochs), json.dumps(settings)]
        took["notebook"].append(timed([sys.executable, __file__, *asked], cores))
        for precision in ("fp32", "bf16"):
            plan, out = folder / f"{precision}.json", folder / f"out-{size}-{precision}-{number}"
            plan.write_text(json.dumps(plan_of(photos, size, epochs, settings, precision)), encoding="utf-8")
            asked = ["--run", str(plan), str(out), str(cores)]
            took[precision].append(timed([sys.executable, __file__, *asked], 1))
            found[precision] = [name, precision, *found_by(read_results(out))]
    rows = []
    for way, times in took.items():
        title = way if way == "notebook" else f"efface run, {way}"
        pairs = list(zip(took["notebook"], times, strict=True))
        ratios = [spread([theirs[place] / own[place] for theirs, own in pairs]) for place in (0, 1)]
        rows.append([name, str(epochs), title, *(f"{np.median(one):.0f}" for one in zip(*times, strict=True)), *ratios])
    return rows, list(found.values())


def spread(values: list[float]) -> str:
    """The middle one, the smallest and the largest; one alone as it is."""
    return f"{np.median(values):.2f}" + (f" [{min(values):.2f}, {max(values):.2f}]" if len(values) > 1 else "")


def run_plan(plan: Path, out: Path, jobs: int) -> None:
    """What `efface run` does."""
    from efface.experiment.run import run

    run({"": parse_plan(json.loads(plan.read_text(encoding="utf-8")), "plan")}, out, threads=1, jobs=jobs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--notebook", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.notebook:
        photos, division, size, epochs, settings = given.notebook
        notebook(Path(photos), Path(division), int(size), int(epochs), json.loads(settings))
        return
    if given.run:
        plan, out, jobs = given.run
        run_plan(Path(plan), Path(out), int(jobs))
        return
    cores = len(os.sched_getaffinity(0))
    rows, found = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            took, same = compared(name, cores, given.repeats, Path(folder))
            rows += took
            found += same
    command = [f"python benchmarks/experiment.py --repeats {given.repeats}", "python docs/print_results.py"]
    about = f"{PEOPLE * PHOTOS} photos of {SIDE} pixels, two models trained and one fine-tuned for {TUNING} epochs"
    write_results(
        "experiment",
        "A whole experiment",
        machine=machine(f"{cores} cores"),
        limits=LIMITS,
        tables=[
            {
                "name": "took",
                "caption": f"{about}, all measured, by a notebook and by `efface run`",
                "command": command,
                "columns": [
                    "network",
                    "epochs of a training",
                    "how",
                    "CPU s",
                    "wall s",
                    "notebook's CPU s of it",
                    "notebook's wall s of it",
                ],
                "rows": rows,
            },
            {
                "name": "found",
                "caption": "Error on test faces and attack AUC of the same runs",
                "command": command,
                "columns": ["network", "precision", "original", "reference", "finetune"],
                "rows": found,
            },
        ],
    )


if __name__ == "__main__":
    main()
