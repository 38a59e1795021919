"""The models of an arm, each seen once, measured beside the original and the reference of its seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from efface.audit.assess import assess
from efface.audit.attacks import AttackedModel, Knowledge, attack_model, audit, nonmember_control, strongest
from efface.data.batches import BatchLoader
from efface.errors import InputError
from efface.evaluation.constant import (
    ATTACKS,
    advantage_over_constant,
    constant_prediction,
    not_better_than_constant,
)
from efface.evaluation.evaluate import Scored, diverged, evaluate, records, score_faces
from efface.evaluation.evidence import collect, evidence_path
from efface.evaluation.memorisation import memorisation
from efface.evaluation.pseudonyms import key_of
from efface.experiment.arm import Arm
from efface.experiment.knowledge import array_digest, knowledge, relearned
from efface.experiment.search import read_search
from efface.experiment.signatures import PREDICTING, code_of_packages, signature_of
from efface.experiment.store import Stage
from efface.files import save_columns, write_csv
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Bootstrap, Measure
from efface.measures.confusion import interclass_confusion
from efface.measures.cost import weights_moved
from efface.measures.intersections import group_tables
from efface.measures.membership import membership
from efface.measures.misfiled import misfiled_measures
from efface.measures.reversal import reversal
from efface.plan.tables import trained_on_nonmembers
from efface.progress import Progress
from efface.results import CONSTANT, NONMEMBERS, ORIGINAL, REFERENCE, SECOND_REFERENCE, Cost, Evaluation, Search

T = TypeVar("T", int, float)


@dataclass(frozen=True)
class Assessed:
    """What is known of an arm's models."""

    rows: list[Evaluation]
    controls: list[Evaluation]
    """Attacks on people nobody was trained on: rows of no model."""
    warnings: list[str]
    """What must be known before these rows are believed."""


@dataclass(frozen=True)
class RowTask:
    """A row that is measured: a model beside the original and the reference of a seed."""

    stage: Stage
    seed: int
    name: str
    other: int
    """The seed of which its attacks know nothing."""
    reference_seed: int | None = None


class Assessing:
    """An arm whose models are made, each seen once; its rows are measured one by one, in any order, by any process."""

    def __init__(self, arm: Arm, progress: Progress) -> None:
        self.arm, task, count = arm, arm.resolved.task, len(arm.models)
        seen = questions(arm)
        self.predictions = {
            stage: arm.store.predictions(stage, seen, arm.splits, arm.sets)
            for stage in progress.track(arm.models, count, "predicting every face")
        }
        self.lost = {stage for stage in arm.models if diverged(self.predictions[stage])}
        for stage in arm.stages:
            if stage in self.lost and stage.name in (ORIGINAL, REFERENCE):
                raise InputError(
                    f"the {stage.name} of seed {stage.seed} diverged: it answers with what is no number; lower train.lr"
                )
        made = [stage for stage in arm.models if stage not in self.lost]
        self.scored = {
            stage: score_faces(self.predictions[stage], task)
            for stage in progress.track(made, len(made), "scoring predictions")
        }
        self.bootstrap = Bootstrap(self.predictions[arm.stages[0]])
        self.known = knowledge(arm, self.scored) if arm.resolved.plan.audit else None
        self.attacker = cache(self._attacker)
        self.memorised = cache(self._memorised)

    def _attacker(self, seed: int, other: int) -> tuple[Knowledge, Callable[[Scored], AttackedModel]]:
        """What attacks on the rows of a seed know, and what they make of a model."""
        assert self.known is not None
        what = self.known(seed, other)
        return what, cache(partial(attack_model, known=what, task=self.arm.resolved.task))

    def _memorised(self, stage: Stage) -> dict[MeasureKey, Measure]:
        arm = self.arm
        loader = BatchLoader(arm.store.device, stage.seed)
        return memorisation(arm.store.model(stage), arm.splits, arm.resolved.task, loader)

    @staticmethod
    def tasks(arm: Arm) -> list[RowTask]:
        """All rows of an arm's models: one for each, and for every pair of references one of the noise floor."""
        own = [RowTask(stage, stage.seed, stage.name, arm.other_seed(stage.seed)) for stage in arm.stages]
        floor = [RowTask(arm.reference(other), seed, SECOND_REFERENCE, other, seed) for seed, other in arm.pairs]
        return [*own, *floor]

    def row(self, number: int) -> Evaluation:
        """The row of this number among `tasks`."""
        one = self.tasks(self.arm)[number]
        found = {} if one.stage in self.lost else self.measures(one)
        return row(self.arm, one.stage, one.stage.seed, found, one.name, reference_seed=one.reference_seed)

    def measures(self, one: RowTask) -> dict[MeasureKey, Measure]:
        """All measures of a model beside the original and the reference of a seed."""
        arm, scored, stage, seed = self.arm, self.scored, one.stage, one.seed
        task, plan = arm.resolved.task, arm.resolved.plan
        knows, attacked = self.attacker(seed, one.other) if self.known else (None, None)
        found = assess(
            scored[stage],
            scored[arm.stage(ORIGINAL, seed)],
            scored[arm.stage(REFERENCE, seed)],
            task,
            bootstrap=self.bootstrap,
            before=scored.get(stage.before) if stage.before and stage.before.before else None,
            harmed=plan.forget.group,
            known=knows,
            row=one.name,
            attacked=attacked,
        )
        found |= weights_moved(arm.store.weights(arm.stage(ORIGINAL, seed)), arm.store.weights(stage))
        if plan.forget.confuse:
            first, second = (arm.names.index(name) for name in plan.forget.confuse)
            found |= interclass_confusion(scored[stage].predictions, (first, second), self.bootstrap)
        if arm.misfiled:
            found |= misfiled_measures(scored[stage].predictions, arm.misfiled, self.bootstrap)
        if plan.forget.rounds > 1:
            mine = scored[stage]
            errors = (task.error, mine.scores[task.error])
            found |= reversal(mine.predictions, arm.asked_in, errors, mine.signal, self.bootstrap)
        if stage.name in (ORIGINAL, REFERENCE) and any(one.use == "lookalikes" for one in plan.methods.values()):
            found |= self.memorised(stage)
        if plan.audit and plan.audit.relearn:
            found |= relearned(arm, stage, seed)
        return found

    def on_nonmembers(self, seed: int) -> dict[MeasureKey, Measure]:
        """Every attack with half of the strangers in the place of the forgotten."""
        arm, task = self.arm, self.arm.resolved.task
        knows, attacked = self.attacker(seed, arm.other_seed(seed))
        models = (arm.stage(name, seed) for name in (ORIGINAL, REFERENCE))
        nobody, unseen = (attacked(nonmember_control(self.scored[one])) for one in models)
        found = membership(nobody.scored.predictions, nobody.scored.signal, self.bootstrap, task.signal.about)
        return found | audit(nobody, unseen, knows, self.bootstrap, NONMEMBERS)


def assess_arm(arm: Arm, out: Path, progress: Progress, measured: Mapping[int, Evaluation] | None = None) -> Assessed:
    """A row per model and seed; leaves the arm's evidence in `out`.

    measured: rows that were measured already, by their numbers among `Assessing.tasks`.
    """
    task, plan, ready = arm.resolved.task, arm.resolved.plan, Assessing(arm, progress)
    scored, bootstrap, measured = ready.scored, ready.bootstrap, measured or {}
    tasks = Assessing.tasks(arm)
    numbers = [number for number in range(len(tasks)) if number not in measured]
    fresh = {number: ready.row(number) for number in progress.track(numbers, len(numbers), "measuring")}
    rows = [
        {**measured, **fresh}[number]
        for number, one in enumerate(tasks)
        if one.reference_seed is None or one.stage not in ready.lost
    ]
    controls, advantages = [], []
    for seed in plan.seeds:
        original, reference = arm.stage(ORIGINAL, seed), arm.stage(REFERENCE, seed)
        if plan.audit:
            controls.append(row(arm, original, seed, ready.on_nonmembers(seed), NONMEMBERS))
        if task.constant is not None and len(arm.splits.test):
            blind = constant_prediction(scored[reference], task)
            found = evaluate(
                blind,
                scored[original],
                scored[reference],
                task,
                bootstrap,
                harmed=plan.forget.group,
                without=ATTACKS,
            )
            rows.append(of_no_model(arm, seed, found))
            advantages.append(advantage_over_constant(scored[original], blind, task, bootstrap))
    originals, constants = ([one for one in rows if one.method == name] for name in (ORIGINAL, CONSTANT))
    first = {stage.name: stage for stage in arm.stages if stage.seed == plan.seeds[0] and stage not in ready.lost}
    knows, attacked = ready.attacker(plan.seeds[0], arm.other_seed(plan.seeds[0])) if ready.known else (None, None)
    strongest_attacks = {
        name: strongest(attacked(scored[stage]), knows, name) if knows and attacked else ("loss", -scored[stage].signal)
        for name, stage in first.items()
    }
    evidence = collect(
        arm.splits,
        task,
        arm.names,
        {name: ready.predictions[stage] for name, stage in first.items()},
        {name: scored[stage] for name, stage in first.items()},
        strongest_attacks,
        key_of(out),
    )
    save_columns(evidence, evidence_path(out, arm.name), private=True)
    write_group_tables(arm, scored, out)
    return Assessed(rows, controls, not_better_than_constant(advantages, originals, constants, task.error))


def searched(arm: Arm) -> list[Search]:
    """What was tried for every row that was searched."""
    records = {stage: read_search(arm.store.path(stage, "searches", ".json")) for stage in arm.stages}
    return [
        Search(arm=arm.name, method=stage.name, seed=stage.seed, tried=tried)
        for stage, tried in records.items()
        if tried
    ]


def write_group_tables(arm: Arm, scored: Mapping[Stage, Scored], out: Path) -> None:
    """`groups/ARM.csv`: every score of every model by group and intersection, small cells named."""
    import pandas as pd

    tables = [
        group_tables(one.predictions, one.scores).assign(model=stage.name, seed=stage.seed)
        for stage, one in scored.items()
    ]
    path = out / "groups" / evidence_path(out, arm.name).with_suffix(".csv").name
    path.parent.mkdir(exist_ok=True)
    table = pd.concat(tables, ignore_index=True)
    ends = ["model", "seed", "group", "trait", "people", "photos", "small"]
    write_csv(path, table[[*ends, *(name for name in table if name not in ends)]])


def questions(arm: Arm) -> str:
    """A hash of all that the models of an arm are asked: arms may share a model and ask it about other people."""
    columns = [
        (
            name,
            faces.keys.tolist(),
            faces.identities.tolist(),
            faces.groups.tolist(),
            array_digest(faces.targets),
            None if faces.traits is None else faces.traits.tolist(),
        )
        for name, faces in arm.splits.items()
    ]
    return signature_of([columns, [one.digest for one in arm.sets], code_of_packages(*PREDICTING)])


def row(
    arm: Arm,
    stage: Stage,
    seed: int,
    measures: dict[MeasureKey, Measure],
    name: str | None = None,
    reference_seed: int | None = None,
) -> Evaluation:
    """What stands in the results for one model."""
    return Evaluation(
        arm=arm.name,
        method=name or stage.name,
        stages=[one.name for one in stage.line[:-1]],
        seed=seed,
        settings=dict(stage.settings),
        cost=cost(arm, stage),
        measures=records(measures),
        diverged=not measures,
        trained_on_nonmembers=stage.name in trained_on_nonmembers(arm.resolved.plan),
        reference_seed=reference_seed,
    )


def of_no_model(arm: Arm, seed: int, measures: dict[MeasureKey, Measure]) -> Evaluation:
    """What stands in the results for the constant prediction, which nothing was trained for."""
    nothing = Cost(seconds=0, cpu_seconds=0, faces=0, peak_memory_mib=0, faces_of_retraining=None)
    return Evaluation(
        arm=arm.name, method=CONSTANT, stages=[], seed=seed, settings={}, cost=nothing, measures=records(measures)
    )


def added(counts: Sequence[T | None]) -> T | None:
    """The sum of some counts; None where one of them is not known."""
    known = [count for count in counts if count is not None]
    return sum(known[1:], known[0]) if len(known) == len(counts) else None


def cost(arm: Arm, stage: Stage) -> Cost:
    """What a stage and the stages before it took, the original's training aside, beside the reference's retraining."""
    paid = [arm.store.bill(one) for one in stage.line if one.name != ORIGINAL or one is stage]
    seconds, cpu_seconds, faces = (sum(bill[name] for bill in paid) for name in ("seconds", "cpu_seconds", "faces"))
    retraining = arm.store.bill(arm.reference(stage.seed))
    is_original = stage.before is None and stage.name == ORIGINAL
    teachers = {teacher.signature: teacher for one in stage.line for teacher in one.teachers}.values()
    folds_faces = sum(arm.store.bill(one)["faces"] for one in teachers) if teachers else None
    return Cost(
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        faces=faces,
        peak_memory_mib=max(bill["peak_memory_mib"] for bill in paid),
        cpu_of_retraining=None if is_original else cpu_seconds / retraining["cpu_seconds"],
        rte=None if is_original else retraining["cpu_seconds"] / cpu_seconds,
        faces_of_retraining=None if is_original else faces / retraining["faces"],
        steps=added([bill.get("steps") for bill in paid]),
        passes=added([bill.get("passes") for bill in paid]),
        folds_faces=folds_faces,
        folds_of_retraining=None if folds_faces is None else folds_faces / retraining["faces"],
    )
