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


def assess_arm(arm: Arm, out: Path, progress: Progress) -> Assessed:
    """A row per model and seed; leaves the arm's evidence in `out`."""
    task, plan, store, count = arm.resolved.task, arm.resolved.plan, arm.store, len(arm.models)
    seen = questions(arm)
    predictions = {
        stage: store.predictions(stage, seen, arm.splits, arm.sets)
        for stage in progress.track(arm.models, count, "predicting every face")
    }
    lost = {stage for stage in arm.models if diverged(predictions[stage])}
    for stage in arm.stages:
        if stage in lost and stage.name in (ORIGINAL, REFERENCE):
            raise InputError(
                f"the {stage.name} of seed {stage.seed} diverged: it answers with what is no number; lower train.lr"
            )
    made = [stage for stage in arm.models if stage not in lost]
    scored = {
        stage: score_faces(predictions[stage], task) for stage in progress.track(made, len(made), "scoring predictions")
    }
    bootstrap = Bootstrap(predictions[arm.stages[0]])
    known = knowledge(arm, scored) if plan.audit else None

    @cache
    def attacker(seed: int, other: int) -> tuple[Knowledge, Callable[[Scored], AttackedModel]]:
        """What attacks on the rows of a seed know, and what they make of a model."""
        assert known is not None
        what = known(seed, other)
        return what, cache(partial(attack_model, known=what, task=task))

    @cache
    def memorised(stage: Stage) -> dict[MeasureKey, Measure]:
        return memorisation(arm.store.model(stage), arm.splits, task, BatchLoader(arm.store.device, stage.seed))

    def of_stage(stage: Stage, seed: int, name: str, other: int | None = None) -> dict[MeasureKey, Measure]:
        """All measures of a model beside the original and the reference of a seed; other: the seed of which its attacks
        know nothing."""
        knows, attacked = attacker(seed, arm.other_seed(seed) if other is None else other) if known else (None, None)
        found = assess(
            scored[stage],
            scored[arm.stage(ORIGINAL, seed)],
            scored[arm.stage(REFERENCE, seed)],
            task,
            bootstrap=bootstrap,
            before=scored.get(stage.before) if stage.before and stage.before.before else None,
            harmed=plan.forget.group,
            known=knows,
            row=name,
            attacked=attacked,
        )
        found |= weights_moved(arm.store.weights(arm.stage(ORIGINAL, seed)), arm.store.weights(stage))
        if plan.forget.confuse:
            one, other_class = (arm.names.index(name) for name in plan.forget.confuse)
            found |= interclass_confusion(scored[stage].predictions, (one, other_class), bootstrap)
        if plan.forget.rounds > 1:
            mine = scored[stage]
            errors = (task.error, mine.scores[task.error])
            found |= reversal(mine.predictions, arm.asked_in, errors, mine.signal, bootstrap)
        if stage.name in (ORIGINAL, REFERENCE) and any(one.use == "lookalikes" for one in plan.methods.values()):
            found |= memorised(stage)
        if plan.audit and plan.audit.relearn:
            found |= relearned(arm, stage, seed)
        return found

    def on_nonmembers(original: Stage, reference: Stage, seed: int) -> dict[MeasureKey, Measure]:
        """Every attack with half of the strangers in the place of the forgotten."""
        knows, attacked = attacker(seed, arm.other_seed(seed))
        nobody, unseen = (attacked(nonmember_control(scored[one])) for one in (original, reference))
        found = membership(nobody.scored.predictions, nobody.scored.signal, bootstrap, task.signal.about)
        return found | audit(nobody, unseen, knows, bootstrap, NONMEMBERS)

    rows = [
        row(arm, stage, stage.seed, {} if stage in lost else of_stage(stage, stage.seed, stage.name))
        for stage in progress.track(arm.stages, len(arm.stages), "measuring")
    ]
    for seed, other in arm.pairs:
        if (second := arm.reference(other)) not in lost:
            found = of_stage(second, seed, SECOND_REFERENCE, other)
            rows.append(row(arm, second, other, found, SECOND_REFERENCE, reference_seed=seed))
    controls, advantages = [], []
    for seed in plan.seeds:
        original, reference = arm.stage(ORIGINAL, seed), arm.stage(REFERENCE, seed)
        if plan.audit:
            controls.append(row(arm, original, seed, on_nonmembers(original, reference, seed), NONMEMBERS))
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
    first = {stage.name: stage for stage in arm.stages if stage.seed == plan.seeds[0] and stage not in lost}
    knows, attacked = attacker(plan.seeds[0], arm.other_seed(plan.seeds[0])) if known else (None, None)
    strongest_attacks = {
        name: strongest(attacked(scored[stage]), knows, name) if knows and attacked else ("loss", -scored[stage].signal)
        for name, stage in first.items()
    }
    evidence = collect(
        arm.splits,
        task,
        arm.names,
        {name: predictions[stage] for name, stage in first.items()},
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
