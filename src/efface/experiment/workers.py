"""A run's work by several processes, each with one thread: models as soon as those they start from are made, then the
rows of the table. On a CPU that is fastest (benchmarks/many_models.py has a table); on a GPU shadow models are stacked
into one network (`stacked.py`).

A piece of work is named by an arm and a number, and what comes of it stands on disk under its signature or is a row
that is sent back: a process that dies loses nothing but the piece it was at, and the results are those of one process.
"""

from __future__ import annotations

import json
import os
import queue
import selectors
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil
import torch

import efface
from efface.distributed import Processes, processes
from efface.errors import InputError
from efface.experiment.arm import Arm, set_up
from efface.experiment.assess import Assessing, questions
from efface.experiment.resolve import resolve
from efface.experiment.shadows import all_stages, way_of
from efface.experiment.stacked import make_stacked
from efface.experiment.store import Stage
from efface.memory import keep_freed_memory
from efface.plan.file import parse_plan, plain_plan
from efface.plan.tables import Plan
from efface.progress import Progress
from efface.results import Environment, Evaluation
from efface.training.environment import deterministic_torch

MOST_JOBS = 1024
MEMORY_OF_ONE = 2 * 2**30
"""Bytes of memory that a process is given where their number follows from the machine."""


def jobs_of(device: torch.device, memory: int | None = None, cores: int | None = None) -> int:
    """How many processes a machine has room for: one per core, as far as its memory goes; one on a GPU."""
    if device.type != "cpu":
        return 1
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = psutil.virtual_memory().available if memory is None else memory
    return max(1, min(cores, memory // MEMORY_OF_ONE))


def check_jobs(jobs: int, threads: int, device: torch.device) -> None:
    """Raise InputError for a number of processes that cannot be had, or have more threads than one each."""
    if not 1 <= jobs <= MOST_JOBS:
        raise InputError(f"jobs is {jobs}: expected 1 to {MOST_JOBS}")
    if jobs > 1 and (threads != 1 or device.type != "cpu"):
        raise InputError(
            f"{jobs} processes have one thread each, on CPUs: leave out --threads, or give --jobs 1"
            if threads != 1
            else f"several processes share no {device.type}: give --jobs 1"
        )


def check_together(together: Processes, jobs: int, cluster: str | None) -> None:
    """Raise InputError where several processes train every model together and others are asked for beside them."""
    if together.count > 1 and (jobs > 1 or cluster is not None):
        what = "--jobs" if cluster is None else "--cluster"
        raise InputError(f"{together.count} processes were launched to train each model together: leave out {what}")


@dataclass(frozen=True)
class Cell:
    """A piece of work of an arm: a model, where it is the number of one, or a row."""

    arm: str
    kind: str
    number: int


def stages_of(arm: Arm) -> list[Stage]:
    """Every model of an arm, each after those that it starts from and learns from."""
    return [*arm.teachers, *arm.models, *all_stages(arm.shadows)]


@dataclass
class Schedule:
    """Which models can be made now; arms that share one make it once."""

    arms: Mapping[str, Arm]
    wanted: Callable[[Arm], Sequence[Stage]] = stages_of
    """Those of an arm's models that are to be made; what they start from is among them or there."""
    waiting: list[tuple[Cell, Stage]] = field(default_factory=list)

    def __post_init__(self) -> None:
        seen: set[Path] = set()
        for name, arm in self.arms.items():
            wanted = set(map(id, self.wanted(arm)))
            for number, stage in enumerate(stages_of(arm)):
                path = arm.store.path(stage, "models", ".safetensors")
                if id(stage) in wanted and path not in seen and not arm.store.has(stage):
                    self.waiting.append((Cell(name, "model", number), stage))
                    seen.add(path)

    def next(self) -> Cell | None:
        """A model all of whose predecessors are there; None where there is none at the moment."""
        for cell, stage in self.waiting:
            store = self.arms[cell.arm].store
            before = [*([stage.before] if stage.before else []), *stage.teachers]
            if all(store.has(one) for one in before):
                self.waiting.remove((cell, stage))
                return cell
        return None


@dataclass(frozen=True)
class Order:
    """What a process must know to work on a run's arms."""

    plans: Mapping[str, Plan]
    out: Path
    device: torch.device
    machine: Environment

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "plans": {name: plain_plan(plan) for name, plan in self.plans.items()},
            "out": str(self.out),
            "device": str(self.device),
            "path": importable(),
            "machine": self.machine.model_dump(mode="json"),
        }


def make_and_measure(
    arms: Sequence[Arm], order: Order, jobs: int, progress: Progress
) -> dict[str, dict[int, Evaluation]]:
    """Make every model of every arm by so many processes, and measure every row: by arm and number
    (`Assessing.tasks`).

    Raises InputError for what a process refuses, and RuntimeError with what it said should it fail.
    """
    for arm in arms:
        make_stacked_shadows(arm, order)
    schedule = Schedule({arm.name: arm for arm in arms})
    rows: dict[str, dict[int, Evaluation]] = {arm.name: {} for arm in arms}
    with workers(order, jobs) as running:
        total = len(schedule.waiting)
        for _ in progress.track(made(running, schedule), total, "models") if total else ():
            pass
        cells = [Cell(arm.name, "row", number) for arm in arms for number in range(len(Assessing.tasks(arm)))]
        for cell, said in progress.track(measured(running, cells), len(cells), "measuring"):
            rows[cell.arm][cell.number] = Evaluation.model_validate(said["row"])
    return rows


def make_shadows(arms: Sequence[Arm], order: Order, progress: Progress) -> None:
    """Make every shadow of every arm, and what the audited methods make of it, where one process makes the rest."""
    for arm in arms:
        audit = arm.resolved.plan.audit
        if audit is None:
            continue
        if processes().count > 1:
            for stage in all_stages(arm.shadows):
                arm.store.make(stage)
        if not missing(arm):
            continue
        make_stacked_shadows(arm, order)
        threads = order.machine.threads
        if way_of(audit.train, arm.resolved.task, order.device.type, threads, arm.store.precision) == "processes":
            schedule = Schedule({arm.name: arm}, lambda one: all_stages(one.shadows))
            total = len(schedule.waiting)
            with workers(order, min(threads, total)) as running:
                for _ in progress.track(made(running, schedule), total, "shadow models"):
                    pass
        left = missing(arm)
        with deterministic_torch(order.device, threads):
            for stage in progress.track(left, len(left), "shadow models") if left else ():
                arm.store.make(stage)


def make_stacked_shadows(arm: Arm, order: Order) -> None:
    """Make an arm's shadows as one network, where that is how it makes them and one is missing."""
    audit, threads = arm.resolved.plan.audit, order.machine.threads
    if audit is None or not missing(arm):
        return
    if way_of(audit.train, arm.resolved.task, order.device.type, threads, arm.store.precision) == "stacked":
        make_stacked(arm.shadows, arm.resolved, arm.store)


def missing(arm: Arm) -> list[Stage]:
    """What an arm's shadows lack in the store."""
    return [stage for stage in all_stages(arm.shadows) if not arm.store.has(stage)]


def made(running: Sequence[Worker], schedule: Schedule) -> Iterator[tuple[Cell, Any]]:
    """Each model once it is made."""
    yield from answered(running, schedule.next, lambda: bool(schedule.waiting))


def measured(running: Sequence[Worker], cells: Sequence[Cell]) -> Iterator[tuple[Cell, Any]]:
    """Each row once it is measured."""
    left = list(cells)
    yield from answered(running, lambda: left.pop(0) if left else None, lambda: bool(left))


def answered(
    running: Sequence[Worker], next_cell: Callable[[], Cell | None], more: Callable[[], bool]
) -> Iterator[tuple[Cell, Any]]:
    """Hand out cells as processes become free, and yield each with what came of it."""
    at: dict[int, Cell] = {}
    with selectors.DefaultSelector() as selector:
        for number, worker in enumerate(running):
            assert worker.process.stdout is not None
            selector.register(worker.process.stdout, selectors.EVENT_READ, number)
        while more() or at:
            for number, worker in enumerate(running):
                if number not in at and (cell := next_cell()) is not None:
                    at[number] = cell
                    worker.ask(cell)
            if not at:
                raise RuntimeError("no model can be made: each waits for another")
            for key, _ in selector.select():
                worker = running[key.data]
                said = worker.answer()
                yield at.pop(key.data), said


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

    def ask(self, cell: Cell) -> None:
        """Hand a piece of work to it."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it is dead, which its answer will say
            self.process.stdin.write(json.dumps([cell.arm, cell.kind, cell.number]) + "\n")
            self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What came of it. Raises InputError where it was refused, RuntimeError where the process failed."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self.said.seek(0)
            how = f"was ended by signal {-code}" if code < 0 else "failed"
            raise RuntimeError(
                f"a process of this run {how}: what was made stands, run it again and it goes on\n{self.said.read()}"
            )
        said: dict[str, Any] = json.loads(line)
        if "refused" in said:
            raise InputError(said["refused"])
        return said


@contextmanager
def workers(order: Order, count: int) -> Iterator[list[Worker]]:
    """So many processes; none outlives the block."""
    with ExitStack() as stack:
        running = []
        for _ in range(count):
            said = stack.enter_context(tempfile.TemporaryFile("w+"))
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", START],
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
            )
            stack.callback(ended, process)
            running.append(Worker(process, said))
            assert process.stdin is not None
            process.stdin.write(
                json.dumps(order.plain()) + "\n"
            )  # and stays open: when it closes, the parent process is gone
            process.stdin.flush()
        yield running


def ended(process: subprocess.Popen[str]) -> None:
    """End a process, whatever it is doing."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with suppress(BrokenPipeError):
            pipe.close()


def work(order: Mapping[str, Any]) -> None:
    """What each process does: make what it is asked for, one piece after the other, and end at once when whoever asked
    is gone, since the next run would make the same files."""
    keep_freed_memory()
    answers, sys.stdout = sys.stdout, sys.stderr
    asked: queue.Queue[str] = queue.Queue()
    threading.Thread(target=listen, args=[asked], daemon=True).start()
    device, machine = torch.device(order["device"]), Environment.model_validate(order["machine"])
    out = Path(order["out"])
    arms: dict[str, Arm] = {}
    assessing: dict[str, Assessing] = {}
    with deterministic_torch(device, 1):
        while True:
            arm, kind, number = json.loads(asked.get())
            said: dict[str, Any] = {}
            try:
                if arm not in arms:
                    resolved = resolve(parse_plan(order["plans"][arm], "plan"), "plan")
                    arms[arm] = set_up(arm, resolved, out, device, machine, Progress(), packed=True)
                if kind == "model":
                    make(arms[arm], number)
                else:
                    if arm not in assessing:
                        assessing[arm] = Assessing(arms[arm], Progress())
                    said["row"] = assessing[arm].row(number).model_dump(mode="json")
            except InputError as error:
                said = {"refused": str(error)}
            answers.write(json.dumps(said) + "\n")
            answers.flush()


def make(arm: Arm, number: int) -> None:
    """Make a model and, of one that is looked at, what it answers to every face."""
    stage = stages_of(arm)[number]
    arm.store.make(stage)
    if stage in arm.models:
        arm.store.predictions(stage, questions(arm), arm.splits, arm.sets)


def listen(asked: queue.Queue[str]) -> None:
    """Take what is asked from standard input, which closes however the parent ended."""
    for line in sys.stdin:
        asked.put(line)
    os._exit(1)
