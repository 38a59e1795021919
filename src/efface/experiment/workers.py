"""Many models made side by side, each by the same recipe as if it were alone.

On a CPU one process per core, each with one thread, is fastest (benchmarks/many_models.py has the table); on a GPU
several networks are stacked into one (`stacked.py`). Whatever stands in the store is not made again, so a run that
was killed resumes, and arms share what they have in common.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

import efface
from efface.experiment.arm import Arm, set_up
from efface.experiment.resolve import resolve
from efface.experiment.shadows import all_stages, way_of
from efface.experiment.stacked import make_stacked
from efface.experiment.store import Stage
from efface.plan.file import parse_plan
from efface.plan.tables import Plan
from efface.progress import Progress
from efface.results import Environment
from efface.training.environment import deterministic_torch


def make_shadows(
    arms: Sequence[Arm],
    plans: Mapping[str, Plan],
    out: Path,
    device: torch.device,
    machine: Environment,
    progress: Progress,
) -> None:
    """Make every shadow of every arm, and what the audited methods make of it."""
    for arm in arms:
        audit = arm.resolved.plan.audit
        if audit is None or not missing(arm):
            continue
        way = way_of(audit.train, arm.resolved.task, device.type, machine.threads, arm.store.precision)
        if way == "stacked":
            make_stacked(arm.shadows, arm.resolved, arm.store)
        if way == "processes":
            in_processes(arm, plans, out, device, machine, progress)
        left = missing(arm)
        with deterministic_torch(device, machine.threads):
            for stage in progress.track(left, len(left), "shadow models") if left else ():
                arm.store.make(stage)


def missing(arm: Arm) -> list[Stage]:
    """What an arm's shadows lack in the store."""
    return [stage for stage in all_stages(arm.shadows) if not arm.store.has(stage)]


def in_processes(
    arm: Arm,
    plans: Mapping[str, Plan],
    out: Path,
    device: torch.device,
    machine: Environment,
    progress: Progress,
) -> None:
    """Make an arm's shadows by as many processes as the run has threads.

    Raises RuntimeError with what a process said, should one fail.
    """
    plan = plans[arm.name].model_dump(mode="json", exclude_none=True)
    order = {
        "arm": arm.name,
        "plan": plan,
        "out": str(out),
        "device": str(device),
        "path": importable(),
        "machine": machine.model_dump(mode="json"),
        "of": machine.threads,
    }
    wanted = missing(arm)
    with workers([order | {"share": share} for share in range(machine.threads)]) as running:
        for _ in progress.track(as_completed(wanted, arm, running), len(wanted), "shadow models"):
            pass


START = """
import json, sys
order = json.loads(sys.stdin.readline())
sys.path[:] = order["path"]
from efface.experiment.workers import work
work(order)
"""
"""What each process runs; -P keeps the working folder, which Python would look into first, off its path."""


def importable() -> list[str]:
    """Where modules are looked for, without the working folder but for this package, should it lie there."""
    ours, here = str(Path(efface.__file__).parents[1]), Path.cwd().resolve()
    places = [place for place in sys.path if place and Path(place).resolve() != here]
    return places if ours in places else [*places, ours]


@dataclass(frozen=True)
class Worker:
    """A process at work, and what it says on its standard error."""

    process: subprocess.Popen[str]
    said: IO[str]


@contextmanager
def workers(orders: Sequence[Mapping[str, Any]]) -> Iterator[list[Worker]]:
    """A process per order; none outlives the block."""
    with ExitStack() as stack:
        running = []
        for order in orders:
            said = stack.enter_context(tempfile.TemporaryFile("w+"))
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", START],
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
            )
            stack.callback(ended, process)
            running.append(Worker(process, said))
            assert process.stdin is not None
            process.stdin.write(json.dumps(order) + "\n")  # and stays open: when it closes, the parent process is gone
            process.stdin.flush()
        yield running


def ended(process: subprocess.Popen[str]) -> None:
    """End a process, whatever it is doing."""
    process.kill()
    process.wait()
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()


def as_completed(
    stages: Sequence[Stage],
    arm: Arm,
    running: Sequence[Worker],
) -> Iterator[Stage]:
    """Each stage once it stands in the store, until all processes have ended."""
    waiting = list(stages)
    while waiting:
        at_work = any(worker.process.poll() is None for worker in running)
        for stage in [stage for stage in waiting if arm.store.has(stage)]:
            waiting.remove(stage)
            yield stage
        for worker in running:
            if worker.process.poll():
                worker.said.seek(0)
                raise RuntimeError(f"a process that trains shadow models failed:\n{worker.said.read()}")
        if waiting and not at_work:
            raise RuntimeError(f"{len(waiting)} shadow models were not made, and nobody is at work on them")
        time.sleep(0.1)


def work(order: Mapping[str, Any]) -> None:
    """What each process does: set the arm up, make its share; end at once when whoever gave the order is gone, since
    the next run would make the same files."""
    threading.Thread(target=exit_with_parent, daemon=True).start()
    device, machine = torch.device(order["device"]), Environment.model_validate(order["machine"])
    resolved = resolve(parse_plan(order["plan"], "plan"), "plan")
    with deterministic_torch(device, 1):
        arm = set_up(order["arm"], resolved, Path(order["out"]), device, machine, Progress())
        for shadow in arm.shadows[order["share"] :: order["of"]]:
            for stage in all_stages([shadow]):
                arm.store.make(stage)


def exit_with_parent() -> None:
    """Wait until standard input closes, which it does however the parent ended."""
    sys.stdin.read()
    os._exit(1)
