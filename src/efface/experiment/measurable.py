"""Which measures a plan will have, known before any work: a threshold on one that does not exist is refused."""

from __future__ import annotations

from collections.abc import Iterable

from efface.errors import InputError, nearest
from efface.evaluation.evaluate import MEASURES
from efface.measure_key import ALL, FAMILIES, MeasureKey
from efface.measures.attacks import QUESTIONS
from efface.measures.benchmark import WEIGHTS
from efface.measures.closed_set import ALL as HEAD_MEASURES
from efface.measures.misfiled import ABOUT as MISFILED
from efface.measures.verification import FALSE_ACCEPTS
from efface.plan.tables import Plan
from efface.tasks import Task

BY_LAYER = "memorisation"
"""Its metrics are the layers of the network, which only the network knows."""
HEADS = ("head", "fresh head", "rows deleted")
TAR = [f"tar_at_{100 * rate:g}%_far" for rate in FALSE_ACCEPTS]


def metrics(plan: Plan, task: Task) -> dict[str, set[str]]:
    """Of each family of measures that this plan will have, its metrics ("" where a family has one alone)."""
    embeddings, audit = task.outputs == "embeddings", plan.audit
    errors, share = {task.error, task.harm_score}, task.accuracy_score
    found: dict[str, set[str]] = {
        "score": set(task.scores),
        "membership": {"auc", "tpr_at_1%_fpr"},
        "forgotten": {"percent", "signal_to_reference", "signal_to_original"},
        "increase": errors,
        "harm of forgetting": errors,
        "harm of method": errors,
        "disparity_points": errors,
        "disparity_ratio": errors,
        "fairness": {f"{error}/{what}" for error in errors for what in ("worst group", "max over geomean", "gap")}
        | {f"{share}/equalised odds", f"{share}/forgotten's group"},
        "distance": {*task.differences, "tow", "tow_mia", "avg_gap", "wasserstein/signal", "nearer", "nearer/p"}
        | ({"wasserstein/answers"} if task.outputs == "points" else {"cka"} if embeddings else set()),
        "weights": {"moved", "distance", "layers"},
        "measure": set(MEASURES),
    }
    if any(source.also_by for source in plan.data):
        found |= dict.fromkeys(("intersection", "intersection increase", "intersection harm of method"), errors)
    if audit:
        attacks = {"loss", *task.signals, "logistic", "forest", *(["rmia"] if audit.rmia else [])}
        attacks |= {"lira"} if audit.shadows else set()
        attacks |= {"u-lira"} if audit.unlearn else set()
        asked = {f"{attack}/{question}" for attack in attacks for question in QUESTIONS}
        asked |= {"u-lira/auc of the reference"} if audit.unlearn else set()
        if audit.shadows:
            found |= {"completeness": {""}, "epsilon": {"mean", "floor", "score"}}
            asked |= {"lira/auc over shadows", "u-lira/auc over shadows"}
        found["attack"] = asked
    relearn = {"steps", "ain"} if audit and audit.relearn else set()
    if embeddings:
        relearn |= {f"{kind}/k={count}" for kind in ("prototype", "linear") for count in (1, 5)}
        found |= {"fmr": {""}, "fnmr": {""}, "identification": {"rank1", *TAR}}
        found["fairness"] |= {f"{rate}/max over geomean" for rate in ("fmr", "fnmr")}
        found |= {head: {*HEAD_MEASURES, "ues", "ues/unseen"} for head in HEADS}
    if relearn:
        found["relearn"] = relearn
    if plan.verify:
        found["verification"] = {"accuracy", "balanced_accuracy", "accuracy_deviation", *TAR, "equal_error_rate"}
        if any(one.quality for one in plan.verify):
            parts = [
                f"{share}/{part} quality" for share in ("accuracy", "balanced_accuracy") for part in ("low", "high")
            ]
            found["verification"] |= {*parts, "discard_area"}
    if any(one.use == "lookalikes" for one in plan.methods.values()):
        found[BY_LAYER] = set()
    if plan.forget.confuse:
        found["confusion"] = {""}
    if plan.forget.misfile:
        found["misfiled"] = set(MISFILED)
    if task.outputs == "logits":
        found["benchmark"] = {"attack", "forgetting", "forgetting floor", "js", "nomus"}
        found["benchmark"] |= {f"nomus, utility weighs {weight:g}" for weight in WEIGHTS if weight != 0.5}
    return found


def check_thresholds(plan: Plan, task: Task, where: str) -> None:
    """Raise InputError for a threshold on a measure that no row of this plan will have."""
    known = metrics(plan, task)
    for key in plan.accept:
        if key.family not in known:
            raise InputError(
                f"{where}: accept: '{key}' is not measured in this plan ({FAMILIES[key.family].about}); it has "
                f"{', '.join(known)}"
            )
        there = known[key.family]
        if key.metric not in there and key.family != BY_LAYER:
            raise InputError(
                f"{where}: accept: '{key}' names no measure: {key.family} has "
                f"{', '.join(sorted(there))}{nearest(key.metric, there)}"
            )
        if key.family == "verification" and key.group not in (names := [one.name for one in plan.verify]):
            raise InputError(
                f"{where}: accept: '{key}': no verification set is called '{key.group}'{nearest(key.group, names)}"
            )


def check_groups(accept: Iterable[MeasureKey], groups: Iterable[str]) -> None:
    """Raise InputError for a threshold on a group of which there is no test face; groups: those there are."""
    known = [ALL, *(group for group in groups if group)]
    for key in accept:
        if key.family in ("score", "increase", "harm of forgetting", "harm of method", "fmr", "fnmr") and (
            key.group not in known
        ):
            raise InputError(f"accept: '{key}': there is no group '{key.group}'{nearest(key.group, known)}")
