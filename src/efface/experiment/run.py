"""A whole run, top to bottom, and the folder it leaves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from efface import report
from efface.audit.verdict import verdicts
from efface.distributed import Processes, alone, device_of_process, launched
from efface.errors import InputError
from efface.evaluation.evaluate import summarise
from efface.evaluation.headroom import headrooms
from efface.evaluation.pseudonyms import key_of
from efface.experiment.arm import set_up
from efface.experiment.assess import assess_arm, searched
from efface.experiment.cluster import JOBS, check_cluster, make_on_cluster
from efface.experiment.loading import check_paths
from efface.experiment.request import describe, division, without_names, write_pseudonyms
from efface.experiment.resolve import resolve
from efface.experiment.shadows import all_stages
from efface.experiment.signatures import ASSESSING, code_of_packages, signature_of
from efface.experiment.store import LOCKS
from efface.experiment.workers import Order, check_jobs, check_together, make_and_measure, make_shadows
from efface.files import write_text
from efface.plan.tables import Plan, trained_on_nonmembers
from efface.progress import Progress
from efface.results import Evaluation, Request, Results, Thresholds, read_results, sealed, write_results
from efface.training.environment import check_threads, deterministic_torch, device_named, environment, precision_on


def run(
    plans: Mapping[str, Plan],
    out: Path,
    *,
    device: str = "auto",
    threads: int = 2,
    jobs: int = 1,
    cluster: str | None = None,
    cluster_options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    with_faces: bool = True,
) -> Results:
    """Run the arms of a plan into the folder `out` and return what then stands in `out/results.json`.

    jobs: processes that make models and measure rows, side by side; with more than one each has one thread, and the
    results are those of one process with one thread. cluster: "slurm" or "local", whose jobs these are then, with
    options as submitit names them. Processes that torchrun started train every model together
    (`efface.distributed`).

    Every name and setting is checked before any work. What is there already is not made again: a run that was
    killed goes on, a finished one does nothing. Raises InputError for a plan that cannot be run.
    """
    resolved = {name: resolve(plan, f"arm '{name}'" if name else "plan") for name, plan in plans.items()}
    for plan in plans.values():
        check_paths(plan)
    check_threads(threads)
    here = device_of_process(device_named(device))
    check_jobs(jobs, threads, here)
    check_cluster(cluster, cluster_options or {}, threads, here)
    for plan in plans.values():
        precision_on(here, plan.precision)
    with launched(here) as together, exclusive_folder(out, together), deterministic_torch(here, threads):
        progress = progress if progress and together.first else Progress()
        check_together(together, jobs, cluster)
        machine = environment(here, threads)
        with together.first_before_others():
            arms = [
                set_up(name, plan, out, here, machine, progress, packed=not together.first)
                for name, plan in resolved.items()
            ]

        filled = {name: plan.filled() for name, plan in resolved.items()}
        made_of = [stage.signature for arm in arms for stage in [*arm.models, *all_stages(arm.shadows)]]
        signature = signature_of([filled, machine.model_dump(), made_of, code_of_packages(*ASSESSING)])
        finished = _finished(out, signature) if together.first else None
        if together.agree(finished is not None):
            return finished or read_results(out)

        thresholds = preregistered(plans, out) if together.first else None
        requests = [describe(arm) for arm in arms]
        for request in requests:
            for line in [f"arm '{request.arm}'"] * bool(request.arm) + division(request):
                progress.say(line)
        order, measured = Order(plans, out, here, machine), dict[str, dict[int, Evaluation]]()
        if cluster is not None:
            measured = make_on_cluster(arms, order, jobs, cluster, cluster_options or {}, signature, progress)
        elif jobs > 1:
            measured = make_and_measure(arms, order, jobs, progress)
        else:
            progress.expect(sum(len(arm.teachers) + len(arm.models) for arm in arms))
            for arm in arms:
                for stage in [*arm.teachers, *arm.models]:
                    with progress.stage(arm.name, stage.name, stage.seed):
                        arm.store.make(stage)
            make_shadows(arms, order, progress)
        if not together.first:
            together.wait()
            return read_results(out)

        with alone():
            assessed = {arm.name: assess_arm(arm, out, progress, measured.get(arm.name)) for arm in arms}
        evaluations = [row for one in assessed.values() for row in one.rows]
        results = sealed(
            Results(
                signature=signature,
                plan=without_names(filled, key_of(out)),
                environment=machine,
                requests=[warned(request, assessed[request.arm].warnings) for request in requests],
                evaluations=evaluations,
                summaries=summarise(evaluations),
                headroom=headrooms(evaluations),
                searches=[search for arm in arms for search in searched(arm)],
                verdicts=[
                    verdict
                    for name, one in assessed.items()
                    for verdict in verdicts(
                        summarise([*one.rows, *one.controls]),
                        plans[name].accept,
                        resolved[name].task.error,
                        trained_on_nonmembers(plans[name]),
                    )
                ],
                thresholds=thresholds,
            )
        )
        write_pseudonyms(arms, out, key_of(out))
        write_results(results, out)
        report.write(out, with_faces=with_faces)
        for folder in (LOCKS, JOBS):
            shutil.rmtree(out / folder, ignore_errors=True)
        together.wait()
    return results


def warned(request: Request, warnings: Sequence[str]) -> Request:
    """A request that opens with what measuring found wrong."""
    return request.model_copy(update={"warnings": [*warnings, *request.warnings]})


@contextmanager
def exclusive_folder(out: Path, together: Processes) -> Iterator[None]:
    """The folder, made if need be, for these processes only; the lock goes with the first, however it ends."""
    if not together.first:
        yield
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / ".lock", timeout=0):
            yield
    except Timeout:
        raise InputError(f"another run is at work in {out}: wait for it, or give another --out") from None
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise InputError(f"{out} cannot be used as a folder for results: {error.strerror}") from None


def preregistered(plans: Mapping[str, Plan], out: Path) -> Thresholds | None:
    """Hash of the thresholds of all arms, now and when this folder's first model was about to be made."""
    if not any(plan.accept for plan in plans.values()):
        return None
    now = signature_of({name: plan.model_dump(mode="json")["accept"] for name, plan in plans.items()})
    path = out / "thresholds.sha256"
    if not path.exists():
        begun = any((out / "models").glob("*.safetensors"))
        write_text(path, "models were there before any thresholds" if begun else now)
    return Thresholds(sha256=now, first_sha256=path.read_text(encoding="ascii"))


def _finished(out: Path, signature: str) -> Results | None:
    """The results of an earlier run of the very same, if its report stands too."""
    if not (out / "results.json").exists() or not (out / "report.html").exists():
        return None
    try:
        results = read_results(out)
    except InputError:
        return None
    return results if results.signature == signature else None
