"""What an arm's shadows and other references have to say: the knowledge that attacks rest on, and relearning."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from efface.audit.attacks import Knowledge
from efface.audit.relearn import WITHIN, loss_on, steps_to_relearn
from efface.data.batches import Feed, derive
from efface.data.faces import Array
from efface.evaluation.evaluate import Graded, grade
from efface.evaluation.predict import observe
from efface.experiment.arm import Arm
from efface.experiment.shadows import asked_of_shadows, of_these
from efface.experiment.signatures import PREDICTING, TRAINING, code_of_packages, signature_of
from efface.experiment.store import Stage
from efface.files import write_text
from efface.measures.draws import Measure
from efface.measures.ratios import Sightings
from efface.plan.tables import ORIGINAL, REFERENCE


def knowledge(arm: Arm, graded: Mapping[Stage, Graded], seed: int) -> Knowledge:
    """What attacks on this seed's rows know: retrained models of other seeds, and shadows."""
    plan, shelf, task = arm.bound.plan.audit, arm.shelf, arm.bound.task
    assert plan is not None
    outcomes = graded[arm.stages[0]].outcomes
    asked = asked_of_shadows(arm.splits)
    rows = np.flatnonzero(np.isin(outcomes.split, ["forget", "strangers", "test"]))
    seen = signature_of([arm.splits.forget.keys.tolist(), content(arm.splits.forget.targets),
                         arm.splits.strangers.keys.tolist(), arm.splits.test.keys.tolist(),
                         code_of_packages(*PREDICTING)])

    def sighted(stages: Sequence[Stage]) -> list[Graded]:
        return [grade(shelf.outcomes(stage, seen, lambda model: observe(model, asked, (), shelf.device)), task)
                for stage in stages]

    def spread(columns: Sequence[Array]) -> NDArray[np.float64]:
        wide = np.full((len(columns), len(outcomes)), np.nan)
        if len(columns):
            wide[:, rows] = np.stack(columns)
        return wide

    others = [graded[stage].likelihood for stage in arm.models if stage.name == REFERENCE and stage.seed != seed
              and stage is not arm.other_reference(seed)]
    if not arm.shadows:
        return Knowledge(first_known(np.array(others), plan.rmia), None)
    included = of_these([shadow.included for shadow in arm.shadows], outcomes)
    gone = of_these([shadow.gone for shadow in arm.shadows], outcomes)
    trained = sighted([shadow.stage for shadow in arm.shadows])
    likelihoods = np.where(included, np.nan, spread([one.likelihood for one in trained]))
    kept = included & ~gone
    unlearned = {name: Sightings(gone, np.where(kept, np.nan, spread([one.signal for one in sighted(
        [shadow.unlearned[name][-1] for shadow in arm.shadows])]))) for name in plan.unlearn}
    return Knowledge(first_known(np.concatenate([*(one[None] for one in others), likelihoods]), plan.rmia),
                     Sightings(included, spread([one.signal for one in trained])), unlearned, plan.density)


def first_known(values: Array, count: int) -> NDArray[np.float64]:
    """(count, n) of values (k, n) the first finite ones of each column."""
    if not len(values) or not count:
        return np.zeros((0, values.shape[1] if values.ndim == 2 else 0))
    order = np.argsort(~np.isfinite(values), axis=0, kind="stable")
    return np.take_along_axis(np.asarray(values, np.float64), order, axis=0)[:count]


def relearned(arm: Arm, stage: Stage, seed: int) -> dict[str, Measure]:
    """`relearn/steps` and `relearn/ain` of one model; counted once and kept."""
    steps, theirs = (steps_of(arm, one, arm.stage(ORIGINAL, seed)) for one in (stage, arm.stage(REFERENCE, seed)))
    index = steps / theirs if steps is not None and theirs else None
    return {
        "relearn/steps": Measure(steps, steps, steps, "as retrained", "training steps on the forgotten until their "
                                                                      "loss is within 5% of the original's again"),
        "relearn/ain": Measure(index, index, index, "as retrained", "those steps over the retrained reference's (below "
                                                                    "1: something was left that comes back)"),
    }


def steps_of(arm: Arm, stage: Stage, original: Stage) -> float | None:
    """How many steps a model takes to know the forgotten as the original did; None for more than are tried."""
    task, shelf, forget = arm.bound.task, arm.shelf, arm.splits.forget
    told = signature_of([stage.signature, original.signature, code_of_packages(*TRAINING, "audit.relearn"), task.name])
    path = shelf.path(stage, "relearned", f"-{told[:12]}.txt")
    if not path.exists():
        feed = Feed(shelf.device, derive(stage.seed, "relearn"))
        torch.manual_seed(feed.seed)
        goal = WITHIN * loss_on(shelf.model(original), task, forget, feed)
        write_text(path, str(steps_to_relearn(shelf.model(stage), task, forget, feed, goal)))
    steps = path.read_text(encoding="ascii")
    return None if steps == "None" else float(steps)


def content(array: Array) -> str:
    """Hash of an array's content."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
