"""Several processes make what one makes, to the byte, and lose nothing when one of them, or all, are ended."""

from __future__ import annotations

import json
import os
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import TINY, refusal
from efface.experiment import workers
from efface.experiment.run import run
from efface.experiment.store import Stage
from efface.experiment.workers import Cell, Schedule, check_jobs, jobs_of
from efface.files import make_folder
from efface.plan.file import parse_plan, read_plan
from efface.plan.tables import Plan
from efface.progress import Progress

PLAN = (
    TINY.replace("seeds = [0, 1]", "seeds = [0]")
    + """
[methods."ascent after it"]
use = "neggrad"
after = "finetune"
clip = inf
[methods.out_of_fold]
steps = 2
[folds]
count = 2
[audit]
shadows = 4
[arms.few.forget]
share = 0.1
[arms.many.forget]
share = 0.2
"""
)


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plan]:
    file = tmp_path_factory.mktemp("plan") / "plan.toml"
    file.write_text(PLAN, encoding="utf-8")
    return read_plan(file)


def measures(out: Path) -> str:
    saved = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return json.dumps([[one["method"], one["seed"], one["measures"]] for one in saved["evaluations"]])


@pytest.fixture(scope="module")
def alone(plans: dict[str, Plan], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "out"
    run(plans, out, threads=1)
    return out


def test_two_processes_make_and_measure_what_one_does(alone: Path, plans: dict[str, Plan], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(plans, out, threads=1, jobs=2)
    assert measures(out) == measures(alone)
    ours, theirs = (weights_of(one) for one in (out, alone))
    assert ours == theirs
    assert len(ours) > 15


PHOTOS = """
task = "recognition"
goal = "unrecognisable"
seeds = [0]
[data]
name = "folder"
path = "{path}"
prepare = {{ size = [16, 16], eyes = "none" }}
[split]
photos = 2
[forget]
share = 0.2
[model]
name = "iresnet"
depth = 10
width = 4
dimensions = 8
scale = 16
[train]
epochs = 1
batch = 8
[methods.finetune]
steps = 2
"""


@pytest.mark.slow
def test_two_processes_read_the_photos_that_the_first_prepared(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for person, photo in np.ndindex(30, 4):
        folder = make_folder(tmp_path / "photos" / f"p{person}")
        Image.fromarray(draw.integers(256, size=(20, 20), dtype=np.uint8)).save(folder / f"{photo}.bmp")
    plan = {"": parse_plan(tomllib.loads(PHOTOS.format(path=tmp_path / "photos")), "plan")}
    for jobs in (1, 2):
        run(plan, tmp_path / str(jobs), threads=1, jobs=jobs)
    assert measures(tmp_path / "2") == measures(tmp_path / "1")
    assert weights_of(tmp_path / "2") == weights_of(tmp_path / "1")


def weights_of(out: Path) -> dict[str, bytes]:
    """By file the bytes of the weights alone: the bills beside them are of each run."""
    found = {}
    for path in sorted((out / "models").glob("*.safetensors")):
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        found[path.name] = content[8 + length :]
    return found


class Ends(Progress):
    """Ends a process of the run, as a machine that runs out of memory does, once some models are there."""

    def __init__(self, after: int) -> None:
        self.after = after

    def track(self, items: Any, total: int, what: str = "") -> Iterator[Any]:
        for number, item in enumerate(items):
            yield item
            if what == "models" and number == self.after:
                children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
                os.kill(int(children.read_text(encoding="ascii").split()[0]), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds its processes in /proc")
def test_a_process_that_is_killed_costs_nothing_that_was_made(
    alone: Path, plans: dict[str, Plan], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match=r"ended by signal 9: what was made stands"):
        run(plans, out, threads=1, jobs=2, progress=Ends(4))
    before = {path: path.stat().st_mtime_ns for path in (out / "models").glob("*.safetensors")}
    assert len(before) >= 4
    run(plans, out, threads=1, jobs=2)
    assert measures(out) == measures(alone)
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())


class Store:
    """A store of stages that are names."""

    def __init__(self) -> None:
        self.made: set[str] = set()

    def has(self, stage: Any) -> bool:
        return stage.name in self.made

    def path(self, stage: Any, *_: str) -> Path:
        return Path(stage.name)


class Arm:
    """Stages in a line of which each starts from the one before, and one that learns from a teacher."""

    def __init__(self, store: Store) -> None:
        def stage(name: str, before: Stage | None = None, *teachers: Stage) -> Stage:
            return Stage(name, 0, {}, [], None, None, before, teachers=teachers)  # type: ignore[arg-type]

        self.store = store
        teacher, first = stage("teacher"), stage("first")
        second = stage("second", first)
        self.teachers, self.shadows = [teacher], ()
        self.models = [first, second, stage("third", second, teacher)]


def test_a_model_waits_for_those_it_starts_and_learns_from() -> None:
    store = Store()
    schedule = Schedule({"a": Arm(store), "b": Arm(store)})  # type: ignore[dict-item]
    assert [cell.number for cell, _ in schedule.waiting] == [0, 1, 2, 3], "what two arms share is made once"
    assert [schedule.next(), schedule.next(), schedule.next()] == [Cell("a", "model", 0), Cell("a", "model", 1), None]
    store.made |= {"first"}
    assert schedule.next() == Cell("a", "model", 2)
    store.made |= {"second"}
    assert schedule.next() is None
    store.made |= {"teacher"}
    assert schedule.next() == Cell("a", "model", 3)


def test_as_many_processes_as_cores_and_memory_allow() -> None:
    gibibyte = 2**30
    assert jobs_of(torch.device("cpu"), memory=64 * gibibyte, cores=16) == 16
    assert jobs_of(torch.device("cpu"), memory=7 * gibibyte, cores=16) == 3
    assert jobs_of(torch.device("cpu"), memory=gibibyte, cores=16) == 1
    assert jobs_of(torch.device("cuda"), memory=64 * gibibyte, cores=16) == 1


def test_processes_have_one_thread_each() -> None:
    cpu = torch.device("cpu")
    assert "leave out --threads" in refusal(check_jobs, 2, 4, cpu)
    assert "expected 1 to" in refusal(check_jobs, 0, 1, cpu)
    assert "share no cuda" in refusal(check_jobs, 2, 1, torch.device("cuda"))


def test_what_a_process_refuses_is_one_line_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An original that diverges is found by a process that measures."""
    text = tomllib.loads(TINY) | {"seeds": [0]}
    text["train"] = text.get("train", {}) | {"lr": 1e12, "optimiser": "sgd"}
    said = refusal(run, {"": parse_plan(text, "plan")}, tmp_path / "out", threads=1, jobs=2)
    assert "diverged" in said


def test_the_same_modules_are_found_by_every_process() -> None:
    assert workers.importable()
