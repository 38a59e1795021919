"""The models of an arm, each seen once, measured beside the original and the reference of its seed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from efface.anonymize import covered
from efface.arm import Arm
from efface.evaluate import evaluate, grade, records
from efface.evidence import collect, evidence_path, salt
from efface.faces import Array
from efface.files import save_columns
from efface.measures.benchmark import benchmark_measures
from efface.measures.closed_set import closed_set
from efface.measures.cost import weights_moved
from efface.measures.draws import Draws, Measure
from efface.measures.fairness import increase
from efface.measures.identification import identification
from efface.measures.memory import membership
from efface.measures.utility import utility
from efface.measures.verification import verification
from efface.observe import observe
from efface.results import Cost, Evaluation
from efface.stages import Stage, code_of, signature_of
from efface.tasks.attributes import class_measures
from efface.tasks.recognition import recognition_measures
from efface.watch import Watch

OTHER_SEED = "reference, other seed"

JUDGES = (evaluate, utility, membership, increase, Draws, weights_moved, observe, collect, covered,
          recognition_measures, class_measures, benchmark_measures, closed_set, identification, verification)
"""The code of these functions' modules says what is concluded from the models; when it changes, conclude again."""


def judge(arm: Arm, out: Path, watch: Watch) -> list[Evaluation]:
    """A row per model and seed; leaves the arm's evidence in `out`."""
    task, seeds, shelf, count = arm.bound.task, arm.bound.plan.seeds, arm.shelf, len(arm.stages)
    seen = questions(arm)
    outcomes = {stage: shelf.outcomes(stage, seen, lambda model: observe(model, arm.splits, arm.sets, shelf.device))
                for stage in watch.track(arm.stages, count, "answering every face")}
    graded = {stage: grade(outcomes[stage], task) for stage in watch.track(arm.stages, count, "grading the answers")}
    draws = Draws(outcomes[arm.stages[0]])

    def measured(stage: Stage, seed: int) -> dict[str, Measure]:
        before = graded.get(stage.before) if stage.before and stage.before.before else None
        original, reference = graded[arm.stage("original", seed)], graded[arm.stage("reference", seed)]
        return evaluate(graded[stage], original, reference, task, draws, before) | moved(arm, stage)

    rows = [row(arm, stage, stage.seed, measured(stage, stage.seed))
            for stage in watch.track(arm.stages, count, "measuring")]
    for seed, next_seed in zip(seeds, [*seeds[1:], seeds[0]], strict=True):
        if next_seed != seed:
            other = arm.stage("reference", next_seed)
            rows.append(row(arm, other, seed, measured(other, seed), name=OTHER_SEED))
    first = {stage.name: stage for stage in arm.stages if stage.seed == seeds[0]}
    evidence = collect(arm.splits, task, arm.names, {name: outcomes[stage] for name, stage in first.items()},
                       {name: graded[stage] for name, stage in first.items()}, salt(out))
    save_columns(evidence, evidence_path(out, arm.name))
    return rows


def questions(arm: Arm) -> str:
    """A hash of all that the models of an arm are asked: arms may share a model and ask it about other people."""
    columns = [(name, faces.keys.tolist(), faces.identities.tolist(), faces.groups.tolist(), content(faces.targets))
               for name, faces in arm.splits.items()]
    return signature_of([columns, [one.fingerprint for one in arm.sets], code_of(observe)])


def content(array: Array) -> str:
    """Hash of an array's content."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def moved(arm: Arm, stage: Stage) -> dict[str, Measure]:
    """How far a stage's weights are from the original's of the same seed."""
    return weights_moved(arm.shelf.weights(arm.stage("original", stage.seed)), arm.shelf.weights(stage))


def row(arm: Arm, stage: Stage, seed: int, measures: dict[str, Measure], name: str | None = None) -> Evaluation:
    """What stands in the results for one model."""
    return Evaluation(arm=arm.name, method=name or stage.name, stages=[one.name for one in stage.line[:-1]], seed=seed,
                      settings=dict(stage.settings), cost=cost(arm, stage), measures=records(measures))


def cost(arm: Arm, stage: Stage) -> Cost:
    """What a stage and the stages before it took, the original's training aside, beside the reference's retraining."""
    paid = [arm.shelf.bill(one) for one in stage.line if one.name != "original" or one is stage]
    seconds, faces = sum(bill["seconds"] for bill in paid), sum(bill["faces"] for bill in paid)
    retraining = arm.shelf.bill(arm.stage("reference", stage.seed))
    is_original = stage.before is None and stage.name == "original"
    return Cost(
        seconds=seconds, faces=faces, peak_memory_mib=max(bill["peak_memory_mib"] for bill in paid),
        seconds_of_retraining=None if is_original else seconds / retraining["seconds"],
        rte=None if is_original else retraining["seconds"] / seconds,
        faces_of_retraining=None if is_original else faces / retraining["faces"],
    )
