"""How many CPU seconds do published packages' own SCRUBs take beside ours, on the same network and faces?

python benchmarks/peers.py [--repeats 3] [--env FOLDER]         (about eight minutes on one core)

The peers, supreme-unlearning and erasus, are installed into an environment of their own (peers/requirements.txt) and
their own functions are called there; ours in this one. Every side is a process of its own with one thread, is warmed up
and takes turns with the others, so that what else runs on the machine meets all alike. The clock runs around the call
alone: imports, decoding and making networks are left out. The table goes into results/peers.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reporting import machine, spread, write_results

from efface.models import MODELS
from efface.training.environment import computes_bf16

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "benchmarks" / "peers"
FORGET, RETAIN, SIZE, CLASSES, WIDTH, BATCH, EPOCHS = 128, 384, 36, 6, 16, 32, 3
"""No batch is left over on any side."""
SIDES = {"supreme-unlearning": "run_supreme.py", "erasus": "run_erasus.py", "efface": "run_ours.py"}
READY, LOADER, OURS = "ready batches, channels last", "DataLoader of tensors", "uint8, shuffled"
Asked = tuple[str, str, float, str]
BF16 = ["bf16"] if computes_bf16(CPU) else []
JOBS: list[Asked] = [
    ("supreme-unlearning", LOADER, 1.0, "fp32"),
    ("supreme-unlearning", READY, 1.0, "fp32"),
    ("erasus", LOADER, 0.0, "fp32"),
    ("erasus", READY, 0.0, "fp32"),
    *(("efface", OURS, gamma, precision) for gamma in (1.0, 0.0) for precision in ("fp32", *BF16)),
]
"""Whose scrub, what hands out its faces, the weight of its labelled loss, and what it computes with."""
ROWS: list[tuple[Asked, Asked]] = [
    (theirs, ours)
    for theirs in JOBS
    for ours in JOBS
    if ours[0] == "efface" != theirs[0] and (theirs[0] != "erasus" or ours[2] == 0)
]
"""A peer's job, and ours beside it."""
LIMITS = [
    "CPU seconds of one thread, around the call alone; smallest and largest of the repetitions in brackets. Other "
    "processes ran on the machine: hence ratios of turns close in time.",
    f"Compared: one ResNet-18 of width {WIDTH} with the same weights (both sides load one definition of it), "
    f"{FORGET} faces of {SIZE} pixels to forget and {RETAIN} retained, batches of {BATCH}, {EPOCHS} epochs over all of "
    "either, Adam, fp32; per thousand faces that stood in a batch of a step. Nobody evaluates in between. What "
    "the methods achieve is not compared.",
    "supreme-unlearning lets the original answer each batch anew, adds the distance of all weights from the original's "
    "to each loss, and takes the labelled loss from the logits at hand. Fabric runs without DistributedDataParallel, "
    "which is its default.",
    "What erasus calls “scrub” returns to the original on the retained and adds the squared distance of the weights; "
    "it never reads the forgotten, and is no SCRUB as published. It has no labelled loss.",
    "Ours asks the original once for each face, so the more epochs, the less of it; converts uint8 to floats and "
    "shuffles faces in each pass; computes channels last, with deterministic algorithms; and clips gradients on the "
    "forgotten. By default its gamma is 0, and no label is used, where supreme-unlearning's 1 is about as published.",
    "bf16 is ours alone: what the peers would gain by it was not measured.",
    "A DataLoader of tensors is what both peers are written for, at its cheapest: no photo is opened. Ready batches "
    "are the least that can be asked of a loader.",
    "supreme-unlearning declares torch 2.1.0 and lightning 2.1.0; it was run on the versions of "
    "benchmarks/peers/requirements.txt. Nothing of it was replaced; what its scrub does not import was not installed.",
]


def environment_of_peers(folder: Path) -> Path:
    """The Python of the peers' environment, which is made if it is not there or was made for other versions."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    wanted = [HERE / "requirements.txt", HERE / "requirements-alone.txt"]
    asked, ready = "".join(file.read_text(encoding="utf-8") for file in wanted), folder / "ready"
    if not ready.exists() or ready.read_text(encoding="utf-8") != asked:
        venv.create(folder, clear=True, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", str(wanted[0])], check=True)
        subprocess.run([*install, "--no-deps", "-r", str(wanted[1])], check=True)
        ready.write_text(asked, encoding="utf-8")
    return python


def write_given(folder: Path) -> None:
    """Faces of noise and a network's weights for all sides, and what it answers to some of the faces."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    model = MODELS["resnet18"]((3, SIZE, SIZE), CLASSES, width=WIDTH, stem="small").eval()
    images = rng.integers(0, 256, (FORGET + RETAIN, 3, SIZE, SIZE), np.uint8)
    with torch.no_grad():
        answers = model(torch.from_numpy(images[:16]).float() / 127.5 - 1).numpy()
    np.savez(
        folder / "faces.npz",
        images=images,
        classes=np.arange(len(images)) % CLASSES,
        forget=np.arange(FORGET),
        retain=np.arange(FORGET, FORGET + RETAIN),
        answers=answers,
        width=WIDTH,
    )
    torch.save(model.state_dict(), folder / "weights.pt")


class Side:
    """A process that does one job after the other."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self.log = process, log
        self.versions: dict[str, str] = self.heard()

    def heard(self) -> Any:
        """The next line it tells. RuntimeError with what it last wrote, if it told none."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a side of the comparison ended:\n{self.log.read_text(encoding='utf-8')[-3000:]}")
        return json.loads(line)

    def __call__(self, faces: str, gamma: float, precision: str, epochs: int = EPOCHS) -> dict[str, float]:
        """What the job took."""
        assert self.process.stdin is not None
        about = {"batch": BATCH, "gamma": gamma, "precision": precision}
        job = {"loader": faces == LOADER, "epochs": epochs, **about}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        took: dict[str, float] = self.heard()
        if not took["finite"]:
            raise RuntimeError(f"weights are no numbers any more: {self.process.args}, {job}")
        return took


@contextmanager
def side(python: Path, script: str, folder: Path, ours: bool) -> Iterator[Side]:
    """One side, which ends with the block; a peer finds nothing of ours on its path."""
    log = folder / f"{script}.log"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    if not ours:
        env.pop("PYTHONPATH", None)
    with (
        log.open("w", encoding="utf-8") as told,
        subprocess.Popen(
            [str(python), str(HERE / script), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
            env=env,
        ) as process,
    ):
        try:
            yield Side(process, log)
        finally:
            process.terminate()


def measured(repeats: int, python: Path) -> tuple[dict[Asked, list[dict[str, float]]], dict[str, Any]]:
    """What every job took in each round, and the versions of every side."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        write_given(folder)
        sides = {
            peer: stack.enter_context(
                side(Path(sys.executable) if peer == "efface" else python, script, folder, peer == "efface")
            )
            for peer, script in SIDES.items()
        }
        took: dict[Asked, list[dict[str, float]]] = {job: [] for job in JOBS}
        for peer, *asked in JOBS:
            sides[peer](*asked, epochs=1)
        for number in range(repeats):
            for job in JOBS[:: 1 - 2 * (number % 2)]:
                took[job].append(sides[job[0]](*job[1:]))
                print(*job, took[job][-1], flush=True)
        return took, {peer: one.versions for peer, one in sides.items()}


def in_steps(job: Asked, took: dict[str, float]) -> int:
    """How many faces stood in the batches of its steps: peers show each of them to the network once."""
    return EPOCHS * (FORGET + RETAIN) if job[0] == "efface" else int(took["training"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--env", type=Path, default=Path(tempfile.gettempdir()) / "efface-peers")
    given = parser.parse_args()
    if given.env.exists() and any(given.env.iterdir()) and not (given.env / "pyvenv.cfg").exists():
        parser.error(f"--env {given.env}: something else is there")
    took, versions = measured(given.repeats, environment_of_peers(given.env))
    each = {job: [1000 * one["cpu"] / in_steps(job, one) for one in rounds] for job, rounds in took.items()}
    rows = []
    for theirs, ours in ROWS:
        ratios = [its / own for its, own in zip(each[theirs], each[ours], strict=True)]
        medians = [f"{np.median(each[one]):.1f}" for one in (theirs, ours)]
        about = [theirs[0], versions[theirs[0]][theirs[0]], theirs[1]]
        rows.append([*about, medians[0], f"{ours[2]:g}", ours[3], medians[1], spread(ratios)])
    shown = [
        [*job[:2], f"{job[2]:g}" if job[0] != "erasus" else "-", *(f"{one:.0f}" for one in counts)]
        for job, (first, *_) in took.items()
        if job[3] == "fp32"
        for counts in [(in_steps(job, first), first["training"], first["answering"])]
    ]
    save(rows, shown, versions, f"python benchmarks/peers.py --repeats {given.repeats}")


def save(rows: list[list[str]], shown: list[list[str]], versions: dict[str, dict[str, str]], how: str) -> None:
    """Write results/peers.json."""
    theirs = versions["supreme-unlearning"]
    write_results(
        "peers",
        "Beside published packages",
        machine=machine("1 thread") + f" (the peers': {theirs['torch']}, lightning {theirs['lightning']})",
        limits=LIMITS,
        tables=[
            {
                "name": "scrub",
                "caption": "CPU seconds of a scrub per thousand faces in its steps; above 1, ours takes less",
                "command": [how, "python docs/print_results.py"],
                "columns": [
                    "peer",
                    "its version",
                    "its faces come from",
                    "its CPU s",
                    "our gamma",
                    "our precision",
                    "ours",
                    "its of ours",
                ],
                "rows": rows,
            },
            {
                "name": "shown",
                "caption": "How many faces each of them shows the network, counted in the network",
                "command": [how, "python docs/print_results.py"],
                "columns": [
                    "scrub of",
                    "faces come from",
                    "gamma",
                    "in steps",
                    "shown in training",
                    "answered besides",
                ],
                "rows": shown,
            },
        ],
    )


if __name__ == "__main__":
    main()
