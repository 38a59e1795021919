"""The models of an arm, each seen once, measured beside the original and the reference of its seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from efface.audit.assess import assess
from efface.audit.attacks import attack_model, audit, nonmember_control, strongest
from efface.data.batches import BatchLoader
from efface.errors import InputError
from efface.evaluation.evaluate import Scored, constant_prediction, diverged, evaluate, records, score_faces
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
from efface.progress import Progress
from efface.results import CONSTANT, NONMEMBERS, ORIGINAL, REFERENCE, SECOND_REFERENCE, Cost, Evaluation, Search

T = TypeVar("T", int, float)


@dataclass(frozen=True)
class Assessed:
    """What is known of an arm's models."""

    rows: list[Evaluation]
    controls: list[Evaluation]
    """Attacks on people nobody was trained on, and one answer for everybody: rows of no model."""


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
    known = {seed: knowledge(arm, scored, seed) for seed in plan.seeds} if plan.audit else {}

    attacked = {seed: cache(partial(attack_model, known=what, task=task)) for seed, what in known.items()}

    def measured(one: Scored, seed: int, name: str, before: Scored | None = None) -> dict[MeasureKey, Measure]:
        return assess(
            one,
            scored[arm.stage(ORIGINAL, seed)],
            scored[arm.stage(REFERENCE, seed)],
            task,
            bootstrap=bootstrap,
            before=before,
            harmed=plan.forget.group,
            known=known.get(seed),
            row=name,
            attacked=attacked.get(seed),
        )

    def of_stage(stage: Stage, seed: int, name: str) -> dict[MeasureKey, Measure]:
        before = scored.get(stage.before) if stage.before and stage.before.before else None
        found = measured(scored[stage], seed, name, before) | moved(arm, stage)
        if plan.forget.confuse:
            one, other = (arm.names.index(name) for name in plan.forget.confuse)
            found |= interclass_confusion(scored[stage].predictions, (one, other), bootstrap)
        if stage.name in (ORIGINAL, REFERENCE) and any(one.use == "lookalikes" for one in plan.methods.values()):
            model = arm.store.model(stage)
            found |= memorisation(model, arm.splits, task, BatchLoader(arm.store.device, seed))
        if plan.audit and plan.audit.relearn:
            found |= relearned(arm, stage, seed)
        return found

    def on_nonmembers(original: Stage, reference: Stage, seed: int) -> dict[MeasureKey, Measure]:
        """Every attack with half of the strangers in the place of the forgotten."""
        nobody, unseen = (attacked[seed](nonmember_control(scored[one])) for one in (original, reference))
        found = membership(nobody.scored.predictions, nobody.scored.signal, bootstrap, task.signal.about)
        return found | audit(nobody, unseen, known[seed], bootstrap, NONMEMBERS)

    rows = [
        row(arm, stage, stage.seed, {} if stage in lost else of_stage(stage, stage.seed, stage.name))
        for stage in progress.track(arm.stages, len(arm.stages), "measuring")
    ]
    controls = []
    for seed in plan.seeds:
        original, reference = arm.stage(ORIGINAL, seed), arm.stage(REFERENCE, seed)
        if (other := arm.second_reference(seed)) and other not in lost:
            rows.append(row(arm, other, seed, of_stage(other, seed, SECOND_REFERENCE), name=SECOND_REFERENCE))
        if plan.audit:
            controls.append(row(arm, original, seed, on_nonmembers(original, reference, seed), name=NONMEMBERS))
        if task.constant is not None and any(key.concerns_others for key in plan.accept):
            blind = constant_prediction(scored[reference], task)
            found = evaluate(blind, scored[original], scored[reference], task, bootstrap, harmed=plan.forget.group)
            controls.append(row(arm, original, seed, found, name=CONSTANT))
    first = {stage.name: stage for stage in arm.stages if stage.seed == plan.seeds[0] and stage not in lost}
    first_seed = plan.seeds[0]
    strongest_attacks = {
        name: strongest(attacked[first_seed](scored[stage]), known[first_seed], name)
        if plan.audit
        else ("loss", -scored[stage].signal)
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
    return Assessed(rows, controls)


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


def moved(arm: Arm, stage: Stage) -> dict[MeasureKey, Measure]:
    """How far a stage's weights are from the original's of the same seed."""
    original = arm.stage(ORIGINAL, arm.resolved.plan.seeds[0] if stage is arm.extra_reference else stage.seed)
    return weights_moved(arm.store.weights(original), arm.store.weights(stage))


def row(arm: Arm, stage: Stage, seed: int, measures: dict[MeasureKey, Measure], name: str | None = None) -> Evaluation:
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
    )


def added(counts: Sequence[T | None]) -> T | None:
    """The sum of some counts; None where one of them is not known."""
    known = [count for count in counts if count is not None]
    return sum(known[1:], known[0]) if len(known) == len(counts) else None


def cost(arm: Arm, stage: Stage) -> Cost:
    """What a stage and the stages before it took, the original's training aside, beside the reference's retraining."""
    paid = [arm.store.bill(one) for one in stage.line if one.name != ORIGINAL or one is stage]
    seconds, faces = sum(bill["seconds"] for bill in paid), sum(bill["faces"] for bill in paid)
    retraining = arm.store.bill(stage if stage is arm.extra_reference else arm.stage(REFERENCE, stage.seed))
    is_original = stage.before is None and stage.name == ORIGINAL
    teachers = {teacher.signature: teacher for one in stage.line for teacher in one.teachers}.values()
    folds_faces = sum(arm.store.bill(one)["faces"] for one in teachers) if teachers else None
    return Cost(
        seconds=seconds,
        faces=faces,
        peak_memory_mib=max(bill["peak_memory_mib"] for bill in paid),
        seconds_of_retraining=None if is_original else seconds / retraining["seconds"],
        rte=None if is_original else retraining["seconds"] / seconds,
        faces_of_retraining=None if is_original else faces / retraining["faces"],
        steps=added([bill.get("steps") for bill in paid]),
        passes=added([bill.get("passes") for bill in paid]),
        folds_faces=folds_faces,
        folds_of_retraining=None if folds_faces is None else folds_faces / retraining["faces"],
    )
