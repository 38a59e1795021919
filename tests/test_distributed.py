"""Processes that train one model together make what one makes, up to rounding, and lose nothing when they are ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from conftest import refusal
from efface.data.batches import Batch, BatchLoader, batches_of
from efface.distributed import Processes, launched
from efface.experiment.run import run
from efface.experiment.workers import check_together
from efface.plan.file import parse_plan, read_plan
from efface.results import read_results
from efface.tasks import TASKS
from efface.testing import tiny_problem

PLAN = """
task = "recognition"
goal = "influence removed"
seeds = [0]
[data]
name = "synthetic"
people = 40
photos_per_person = 5
size = [16, 16]
[split]
held_back = 1
[forget]
people = 4
[model]
name = "iresnet"
depth = 10
width = 4
dimensions = 16
scale = 16.0
[train]
epochs = 2
lr = 0.02
optimiser = "plain_sgd"
batch = 19
[folds]
count = 2
[methods.finetune]
epochs = 1
optimiser = "plain_sgd"
[methods.out_of_fold]
steps = 3
optimiser = "plain_sgd"
[methods.scrub]
epochs = 1
optimiser = "plain_sgd"
search = { lr = [1e-3, 4e-3] }
"""
TOLERANCE = 1e-6
"""How far a weight of 64 bits may be from what one process makes of it: sums are added in another order."""

TRAINED = """
import copy, sys
import numpy as np
import torch
import efface.data.batches as batches
from efface.data.batches import BatchLoader
from efface.data.faces import Faces, Images, MethodData, TeacherModel
from efface.distributed import Processes, launched
from efface.methods.out_of_fold import out_of_fold
from efface.models import MODELS
from efface.tasks import TASKS
from efface.training.environment import deterministic_torch
from efface.training.train import fit, train

of_32_bits = batches.as_input
batches.as_input = lambda images, device: of_32_bits(images, device).double()
here, task, rng = torch.device("cpu"), TASKS["recognition"], np.random.default_rng(0)
count = 67  # the last of its batches of 16 has two faces for one process and one for the other
images = Images(rng.integers(0, 256, (count, 3, 16, 16), np.uint8), np.arange(count))
names = np.arange(count).astype(str)
faces = Faces(images, rng.integers(0, 10, count), names, np.full(count, ""), names)
found = {}
with launched(here) as together, deterministic_torch(here, 1):
    model = MODELS["iresnet"]((3, 16, 16), 10, depth=10, width=4, dimensions=16, scale=16.0).double()
    other = copy.deepcopy(model)
    train(model, task, faces, BatchLoader(here, 0), epochs=2, lr=0.02, optimiser="sgd", batch=16)
    found["train"] = copy.deepcopy(model.state_dict())
    tuned = copy.deepcopy(model)
    fit(tuned, task, faces[:40], BatchLoader(here, 0), lr=1e-3, epochs=1, batch=16, optimiser="sgd")
    found["fit"] = tuned.state_dict()
    teacher = TeacherModel(frozenset(), lambda: other.eval())
    data = MethodData(faces[:7], faces[10:], faces[:10], copy.deepcopy(model), teachers=(teacher,))
    out_of_fold(model, task, data, BatchLoader(here, 0), steps=3, batch_forget=5, batch_retain=9, optimiser="sgd")
    found["out_of_fold"] = model.state_dict()
    if together.first:
        torch.save(found, sys.argv[1])
"""


def launch(command: Sequence[str], count: int) -> list[subprocess.Popen[str]]:
    """So many processes of a command, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    about = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env=os.environ | about | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def start(plan: Path, out: Path) -> list[subprocess.Popen[str]]:
    """A run by two processes."""
    return launch(["-m", "efface", "run", str(plan), "--out", str(out)], 2)


def ended(running: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit status, standard output and standard error of each."""
    found = [(*one.communicate(timeout=240), one.returncode) for one in running]
    return [(status, said, complained) for said, complained, status in found]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plan") / "plan.toml"
    file.write_text(PLAN, encoding="utf-8")
    return file


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])  # four: some have no face of a batch
def test_several_processes_make_the_weights_that_one_makes(tmp_path: Path, count: int) -> None:
    made = []
    for processes in (1, count):
        file = tmp_path / f"{processes}.pt"
        for status, _, complained in ended(launch(["-c", TRAINED, str(file)], processes)):
            assert status == 0, complained
        made.append(torch.load(file, weights_only=True))
    assert list(made[0]) == ["train", "fit", "out_of_fold"]
    for name, weights in made[0].items():
        for part, values in weights.items():
            assert torch.allclose(values, made[1][name][part], rtol=0, atol=TOLERANCE), (name, part)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_by_two_processes_leaves_what_one_does(plan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (status, said, complained), (other_status, nothing, _) = ended(start(plan, out))
    assert (status, other_status) == (0, 0), complained
    assert said.strip() == str(out / "report.html")
    assert nothing == ""
    results, single = read_results(out), run(read_plan(plan), tmp_path / "alone", threads=1)
    assert results.environment.processes == 2
    assert [(one.method, one.seed) for one in results.evaluations] == [
        (one.method, one.seed) for one in single.evaluations
    ]
    for one, other in zip(results.evaluations, single.evaluations, strict=True):
        assert (one.cost and one.cost.faces) == (other.cost and other.cost.faces)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_processes_that_were_ended_go_on(plan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    running = start(plan, out)
    while not list((out / "models").glob("original-*.safetensors")):
        assert all(one.poll() is None for one in running)
        time.sleep(0.05)
    for one in running:
        one.send_signal(signal.SIGKILL)
    ended(running)
    made = {file: file.stat().st_mtime_ns for file in (out / "models").glob("*.safetensors")}
    assert made
    assert not (out / "results.json").exists()
    assert [status for status, _, _ in ended(start(plan, out))] == [0, 0]
    assert {file: file.stat().st_mtime_ns for file in made} == made
    assert json.loads((out / "results.json").read_text(encoding="utf-8"))["evaluations"]


def test_a_batch_in_parts_has_the_gradient_of_the_whole() -> None:
    images, targets, model = torch.randn(7, 3), torch.randn(7, 2), nn.Linear(3, 2)

    def gradient(parts: int) -> NDArray[np.float32]:
        model.zero_grad()
        batch = Batch(images, targets, np.arange(7))
        for part in batch.parts(parts):
            part.mean((model(part.images) - part.targets).square().mean(1)).backward()  # type: ignore[no-untyped-call]
        assert model.weight.grad is not None
        return model.weight.grad.numpy().copy()

    assert np.allclose(gradient(1), gradient(3), atol=1e-6)
    assert np.allclose(gradient(1), gradient(50), atol=1e-6)
    assert [len(part.rows) for part in Batch(images, targets, np.arange(7)).parts(50)] == [3, 2, 2]


def test_a_plan_can_accumulate(tmp_path: Path) -> None:
    plain = parse_plan({**read_toml(), "train": {"epochs": 1, "accumulate": 3, "batch": 19}, "methods": {}}, "plan")
    results = run({"": plain}, tmp_path / "out", threads=1)
    bills = {one.method: one.cost.steps for one in results.evaluations if one.cost}
    faces = results.requests[0].faces
    trained = sum(sum(faces[name].values()) for name in ("forget", "retain"))
    assert bills["original"] == batches_of(trained, 19)


def read_toml() -> dict[str, object]:
    return {name: value for name, value in tomllib.loads(PLAN).items() if name != "folds"}


def test_what_a_launcher_says_must_be_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "two", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)

    def join() -> None:
        with launched(torch.device("cpu")):
            pass

    assert "RANK and WORLD_SIZE are '0' and 'two': expected numbers" in refusal(join)


def test_processes_that_train_together_start_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "leave out --jobs" in refusal(check_together, Processes(0, 2), 2, None)
    assert "leave out --cluster" in refusal(check_together, Processes(0, 2), 1, "slurm")
    check_together(Processes(), 2, "slurm")


def test_a_loader_hands_out_all_of_a_batch_where_one_process_works() -> None:
    splits, _ = tiny_problem(TASKS["eyes"])
    batch = next(iter(BatchLoader(torch.device("cpu"), 0)(splits.retain, batch=8)))
    assert len(batch.rows) == 8
    assert batch.whole is None
