"""Many models made side by side, each by the same recipe as if it were alone.

On a CPU one process per core, each with one thread, is fastest (benchmarks/many_models.py has the table); on a GPU
several networks are stacked into one (`stacked.py`). Whatever stands on the shelf is not made again, so a crew that
was killed goes on, and arms share what they have in common.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch

from efface.arm import Arm, set_up
from efface.bind import bind
from efface.machine import held_still
from efface.plan import Plan, parse_plan
from efface.results import Environment
from efface.shadows import every_stage, way_of
from efface.stacked import make_stacked
from efface.stages import Stage
from efface.watch import Watch


def make_shadows(
    arms: Sequence[Arm], plans: Mapping[str, Plan], out: Path, device: torch.device, machine: Environment,
    watch: Watch,
) -> None:
    """Make every shadow of every arm, and what the audited methods make of it."""
    for arm in arms:
        audit = arm.bound.plan.audit
        if audit is None or not missing(arm):
            continue
        way = way_of(audit.train, arm.bound.task.name, device.type, machine.threads)
        if way == "stacked":
            make_stacked([shadow for shadow in arm.shadows if not arm.shelf.has(shadow.stage)], arm.bound, arm.shelf)
        if way == "processes":
            in_processes(arm, plans, out, device, machine, watch)
        left = missing(arm)
        with held_still(device, machine.threads):
            for stage in watch.track(left, len(left), "shadow models") if left else ():
                arm.shelf.make(stage)


def missing(arm: Arm) -> list[Stage]:
    """What an arm's shadows lack on the shelf."""
    return [stage for stage in every_stage(arm.shadows) if not arm.shelf.has(stage)]


def in_processes(
    arm: Arm, plans: Mapping[str, Plan], out: Path, device: torch.device, machine: Environment, watch: Watch,
) -> None:
    """Make an arm's shadows by as many processes as the run has threads.

    Raises RuntimeError with what a process said, should one fail.
    """
    plan = plans[arm.name].model_dump(mode="json", exclude_none=True)
    order = {"arm": arm.name, "plan": plan, "out": str(out), "device": str(device), "path": sys.path,
             "machine": machine.model_dump(mode="json"), "of": machine.threads}
    wanted = missing(arm)
    with workers([order | {"share": share} for share in range(machine.threads)]) as running:
        for _ in watch.track(as_they_are_done(wanted, arm, running), len(wanted), "shadow models"):
            pass


@contextmanager
def workers(orders: Sequence[Mapping[str, Any]]) -> Iterator[list[subprocess.Popen[str]]]:
    """A process per order; none outlives the block."""
    running: list[subprocess.Popen[str]] = []
    try:
        for order in orders:
            process = subprocess.Popen([sys.executable, "-c", "from efface.crew import work; work()"], text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            running.append(process)
            assert process.stdin is not None
            process.stdin.write(json.dumps(order))
            process.stdin.close()
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()


def as_they_are_done(
    stages: Sequence[Stage], arm: Arm, running: Sequence[subprocess.Popen[str]],
) -> Iterator[Stage]:
    """Each stage once it stands on the shelf, until all processes have ended."""
    waiting = list(stages)
    while waiting:
        at_work = any(process.poll() is None for process in running)
        for stage in [stage for stage in waiting if arm.shelf.has(stage)]:
            waiting.remove(stage)
            yield stage
        for process in running:
            if process.poll():
                assert process.stderr is not None
                raise RuntimeError(f"a process that trains shadow models failed:\n{process.stderr.read()}")
        if waiting and not at_work:
            raise RuntimeError(f"{len(waiting)} shadow models were not made, and nobody is at work on them")
        time.sleep(0.1)


def work() -> None:
    """What each process does: read its order from standard input, set the arm up, make its share; stop when whoever
    gave the order is gone."""
    order = json.load(sys.stdin)
    sys.path[:] = order["path"]
    boss = psutil.Process().parent()
    device, machine = torch.device(order["device"]), Environment.model_validate(order["machine"])
    bound = bind(parse_plan(order["plan"], "plan"), "plan")
    with held_still(device, 1):
        arm = set_up(order["arm"], bound, Path(order["out"]), device, machine, Watch())
        for shadow in arm.shadows[order["share"]::order["of"]]:
            for stage in every_stage([shadow]):
                if boss is None or not boss.is_running():
                    return
                arm.shelf.make(stage)
