"""What an arm's shadows and other references have to say: the knowledge that attacks rest on, and relearning."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from efface.audit.attacks import Knowledge
from efface.audit.relearn import WITHIN, loss_on, steps_to_relearn
from efface.data.batches import BatchLoader, derive
from efface.data.faces import Array
from efface.evaluation.evaluate import Scored, score_faces
from efface.experiment.arm import Arm
from efface.experiment.shadows import Shadow, membership_mask, shadow_queries
from efface.experiment.signatures import PREDICTING, TRAINING, code_of_packages, signature_of
from efface.experiment.store import Stage, is_whole, seal
from efface.files import write_text
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Measure
from efface.measures.likelihood_ratios import ShadowSignals
from efface.measures.predictions import Predictions
from efface.results import ORIGINAL, REFERENCE


def knowledge(arm: Arm, scored: Mapping[Stage, Scored]) -> Callable[[int, int], Knowledge]:
    """(a seed, another) to what attacks on the rows of that seed know: shadows, and retrained models of all seeds but
    these two, of which the second may be the model attacked."""
    plan, store, task = arm.resolved.plan.audit, arm.store, arm.resolved.task
    assert plan is not None
    predictions = scored[arm.stages[0]].predictions
    asked = shadow_queries(arm.splits)
    rows = np.flatnonzero(np.isin(predictions.split, ["forget", "strangers", "test"]))
    seen = signature_of(
        [
            arm.splits.forget.keys.tolist(),
            array_digest(arm.splits.forget.targets),
            arm.splits.strangers.keys.tolist(),
            arm.splits.test.keys.tolist(),
            code_of_packages(*PREDICTING),
        ]
    )

    def sighted(stages: Sequence[Stage]) -> list[Scored]:
        return [score_faces(store.predictions(stage, seen, asked), task) for stage in stages]

    def spread(columns: Sequence[Array]) -> NDArray[np.float64]:
        wide = np.full((len(columns), len(predictions)), np.nan)
        if len(columns):
            wide[:, rows] = np.stack(columns)
        return wide

    def others(seed: int, other: int) -> list[Array]:
        unknown = (arm.reference(seed), arm.reference(other))
        stages = [stage for stage in arm.models if stage.name == REFERENCE and stage not in unknown]
        return [scored[stage].likelihood for stage in stages]

    if not arm.shadows:
        return cache(lambda seed, other: Knowledge(first_known(np.array(others(seed, other)), plan.rmia), None))
    included = membership_mask([shadow.included for shadow in arm.shadows], predictions)
    trained = sighted([shadow.stage for shadow in arm.shadows])
    likelihoods = np.where(included, np.nan, spread([one.likelihood for one in trained]))
    unlearned = {
        name: after_forgetting(
            predictions,
            arm.shadows,
            [
                spread([one.signal for one in sighted([line[-1] for line in shadow.unlearned[name]])])
                for shadow in arm.shadows
            ],
        )
        for name in plan.unlearn
    }
    shadows = ShadowSignals(included, spread([one.signal for one in trained]))
    return cache(
        lambda seed, other: Knowledge(
            first_known(np.concatenate([*(one[None] for one in others(seed, other)), likelihoods]), plan.rmia),
            shadows,
            unlearned,
            plan.density,
        )
    )


def after_forgetting(predictions: Predictions, shadows: Sequence[Shadow], shown: Sequence[Array]) -> ShadowSignals:
    """What shadows show that were made to forget; shown: of each shadow (k, n) the signals of its k copies.

    Whom a copy forgot is answered for by that copy, whom the shadow never met by the copy they were dealt to, and whom
    it still knows by none: these are neither members nor non-members.
    """
    signal = np.stack([copies[0] for copies in shown])
    for place, (shadow, copies) in enumerate(zip(shadows, shown, strict=True)):
        people = membership_mask([one.gone | one.never for one in shadow.forgetting], predictions)
        for mine, copy in zip(people, copies, strict=True):
            signal[place, mine] = copy[mine]
    included, gone = (
        membership_mask([getattr(shadow, name) for shadow in shadows], predictions) for name in ("included", "gone")
    )
    return ShadowSignals(gone, np.where(included & ~gone, np.nan, signal))


def first_known(values: Array, count: int) -> NDArray[np.float64]:
    """(count, n) of values (k, n) the first finite ones of each column."""
    if not len(values) or not count:
        return np.zeros((0, values.shape[1] if values.ndim == 2 else 0))
    order = np.argsort(~np.isfinite(values), axis=0, kind="stable")
    return np.take_along_axis(np.asarray(values, np.float64), order, axis=0)[:count]


def relearned(arm: Arm, stage: Stage, seed: int) -> dict[MeasureKey, Measure]:
    """`relearn/steps` and `relearn/ain` of one model; counted once and kept."""
    steps, theirs = (steps_of(arm, one, arm.stage(ORIGINAL, seed)) for one in (stage, arm.stage(REFERENCE, seed)))
    index = steps / theirs if steps is not None and theirs else None
    return {
        MeasureKey("relearn", "steps"): Measure(
            steps,
            steps,
            steps,
            "as retrained",
            "training steps on the forgotten until their loss is within 5% of the original's again",
        ),
        MeasureKey("relearn", "ain"): Measure(
            index,
            index,
            index,
            "as retrained",
            "those steps over the retrained reference's (below 1: something was left that comes back)",
        ),
    }


def steps_of(arm: Arm, stage: Stage, original: Stage) -> float | None:
    """How many steps a model takes to know the forgotten as the original did; None for more than are tried."""
    task, store, forget = arm.resolved.task, arm.store, arm.splits.forget
    told = signature_of([stage.signature, original.signature, code_of_packages(*TRAINING, "audit.relearn"), task.name])
    path = store.path(stage, "relearned", f"-{told[:12]}.txt")
    with store.alone(path):
        if not is_whole(path):
            loader = BatchLoader(store.device, derive(stage.seed, "relearn"))
            torch.manual_seed(loader.seed)
            goal = WITHIN * loss_on(store.model(original), task, forget, loader)
            write_text(path, str(steps_to_relearn(store.model(stage), task, forget, loader, goal)))
            seal(path)
    steps = path.read_text(encoding="ascii")
    return None if steps == "None" else float(steps)


def array_digest(array: Array) -> str:
    """Hash of an array's content."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
