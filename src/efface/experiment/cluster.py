"""A run's models and rows made by jobs of a cluster, through submitit (`efface[cluster]`).

Jobs share nothing but the run's folder: each looks for a model whose predecessors stand there, claims it by a lock in
that folder, and makes it; when all are made, rows are measured the same way. A job that ends, however it ends, gives
back what it had claimed, and the run started again goes on.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from efface.errors import InputError
from efface.experiment.arm import Arm, set_up
from efface.experiment.assess import Assessing
from efface.experiment.resolve import resolve
from efface.experiment.store import LOCKS
from efface.experiment.workers import Order, make, make_stacked_shadows, stages_of
from efface.files import make_folder, read_text, write_text
from efface.memory import keep_freed_memory
from efface.plan.file import parse_plan
from efface.progress import Progress
from efface.results import Environment, Evaluation
from efface.training.environment import deterministic_torch

CLUSTERS = ("slurm", "local")
JOBS = "jobs"
"""Folder of what jobs say and of the rows they measured; it goes when the run ends."""
MINUTES = 24 * 60
"""How long a job may run where nothing is said."""
PAUSE = 0.5
"""Seconds between two looks at what is there."""


def check_cluster(cluster: str | None, options: Mapping[str, str], threads: int, device: torch.device) -> None:
    """Raise InputError for a cluster that is none, where submitit is not installed, and for more than one thread."""
    if cluster is None:
        if options:
            raise InputError("--slurm is said of jobs of a cluster: give --cluster slurm")
        return
    if cluster not in CLUSTERS:
        raise InputError(f"cluster '{cluster}' is unknown: expected {' or '.join(CLUSTERS)}")
    if threads != 1 or device.type != "cpu":
        raise InputError("jobs of a cluster have one thread each, on CPUs: give --threads 1 and --device cpu")
    if wrong := [name for name, value in options.items() if not value]:
        raise InputError(f"--slurm '{wrong[0]}': expected NAME=VALUE, such as slurm_partition=cpu")
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise InputError("jobs of a cluster need submitit: pip install 'efface[cluster]'") from None


def make_on_cluster(
    arms: Sequence[Arm],
    order: Order,
    jobs: int,
    cluster: str,
    options: Mapping[str, str],
    signature: str,
    progress: Progress,
) -> dict[str, dict[int, Evaluation]]:
    """Make every model and measure every row by so many jobs: by arm and number (`Assessing.tasks`).

    signature: of all that the rows follow from; those of another that a run which was killed left are not taken.
    options: of the jobs, as submitit names them (`slurm_partition`, `timeout_min`). Raises InputError for what a job
    refuses, and for a cluster that takes no jobs.
    """
    import submitit

    logging.getLogger("submitit").setLevel(logging.ERROR)  # warns at every look where a cluster keeps no accounts
    for arm in arms:
        make_stacked_shadows(arm, order)
    work = make_folder(order.out / JOBS)
    rows = make_folder(work / f"rows-{signature[:12]}")
    executor = submitit.AutoExecutor(folder=work, cluster=cluster)
    try:
        executor.update_parameters(name="efface", timeout_min=MINUTES, cpus_per_task=1)
        executor.update_parameters(**{name: int(one) if one.isdigit() else one for name, one in options.items()})
        with safe_path():
            running = [executor.submit(claim, order.plain(), str(rows)) for _ in range(jobs)]
    except (RuntimeError, ValueError, NameError, submitit.core.utils.FailedJobError) as error:
        raise InputError(f"the cluster takes no jobs: {str(error).splitlines()[0]}") from None
    try:
        stages = [(arm, stage) for arm in arms for stage in stages_of(arm)]
        wait_for(lambda: sum(arm.store.has(stage) for arm, stage in stages), len(stages), running, progress, "models")
        tasks = [(arm, number) for arm in arms for number in range(len(Assessing.tasks(arm)))]
        paths = [row_path(rows, arms.index(arm), number) for arm, number in tasks]
        wait_for(lambda: sum(path.exists() for path in paths), len(paths), running, progress, "measuring")
        wait_for(lambda: sum(job.done() for job in running), len(running), running, progress, "jobs that end")
    finally:
        for job in running:
            if not job.done():
                job.cancel(check=False)
    found: dict[str, dict[int, Evaluation]] = {arm.name: {} for arm in arms}
    for (arm, number), path in zip(tasks, paths, strict=True):
        if path.exists():
            found[arm.name][number] = Evaluation.model_validate_json(read_text(path, "row"))
    return found


def wait_for(count: Any, total: int, running: Sequence[Any], progress: Progress, what: str) -> None:
    """Until so many are there, or no job is at work.

    Raises InputError for what a job refused, RuntimeError where all have ended and something is missing.
    """

    def there() -> Iterator[int]:
        shown = 0
        while True:
            ended = all(job.done() for job in running)
            now = count()
            yield from range(shown, now)
            shown = now
            if now >= total:
                return
            if ended:
                for job in running:
                    refused(job)
                raise RuntimeError(
                    f"all jobs have ended and {total - now} of {total} are missing ({what}): run it again"
                )
            time.sleep(PAUSE)

    for _ in progress.track(there(), total, what):
        pass


def refused(job: Any) -> None:
    """Raise InputError for what a job refused, RuntimeError for what it failed with."""
    error = job.exception()
    if error is not None:
        raise RuntimeError(f"a job of the cluster failed: {error}")
    if said := job.result():
        raise InputError(said)


@contextmanager
def safe_path() -> Iterator[None]:
    """While jobs are submitted: the working folder is not on the path of their Python."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def claim(order: Mapping[str, Any], rows: str) -> str:
    """What each job does; what is returned is a refusal, in one line, or nothing."""
    sys.path[:] = order["path"]
    keep_freed_memory()
    device, machine = torch.device(order["device"]), Environment.model_validate(order["machine"])
    out = Path(order["out"])
    try:
        with deterministic_torch(device, 1):
            arms = [
                set_up(name, resolve(parse_plan(plan, "plan"), "plan"), out, device, machine, Progress(), packed=True)
                for name, plan in order["plans"].items()
            ]
            while make_one(arms):
                pass
            for number, arm in enumerate(arms):
                measure_rows(arm, number, Path(rows))
    except InputError as error:
        return str(error)
    return ""


def make_one(arms: Sequence[Arm]) -> bool:
    """Make a model that nobody is at, or wait a moment; whether any is missing still."""
    missing = False
    for arm in arms:
        for number, stage in enumerate(stages_of(arm)):
            if arm.store.has(stage):
                continue
            missing = True
            before = [*([stage.before] if stage.before else []), *stage.teachers]
            if not all(arm.store.has(one) for one in before):
                continue
            with claimed(arm.store.path(stage, "models", ".claim"), arm) as mine:
                if mine and not arm.store.has(stage):
                    make(arm, number)
                    return True
    if missing:
        time.sleep(PAUSE)
    return missing


def measure_rows(arm: Arm, place: int, rows: Path) -> None:
    """Measure the rows of an arm that nobody is at."""
    assessing: Assessing | None = None
    for number in range(len(Assessing.tasks(arm))):
        path = row_path(rows, place, number)
        with claimed(path, arm) as mine:
            if mine and not path.exists():
                assessing = assessing or Assessing(arm, Progress())
                write_text(path, assessing.row(number).model_dump_json())


def row_path(rows: Path, arm: int, number: int) -> Path:
    """Where a row lies until the run has taken it."""
    return rows / f"{arm}-{number}.json"


@contextmanager
def claimed(path: Path, arm: Arm) -> Iterator[bool]:
    """Whether what is to lie at a path is this job's to make: nobody else is at it. The lock goes with the job."""
    lock = FileLock(make_folder(arm.store.folder / LOCKS) / f"{path.parent.name}-{path.name}", timeout=0)
    try:
        with lock:
            yield True
    except Timeout:
        yield False
