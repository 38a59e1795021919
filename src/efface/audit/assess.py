"""Everything that is measured of one model, beside the original and, where there is one, a retrained reference.

It stands alone: whoever has the predictions of two models on the same faces can call it, whoever made them.
"""

from __future__ import annotations

from collections.abc import Callable

from efface.audit.attacks import AttackedModel, Knowledge, attack_model, audit
from efface.evaluation.evaluate import Scored, evaluate
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Bootstrap, Measure
from efface.tasks import Task

NO_KNOWLEDGE = Knowledge.of_nothing_else()
"""Of an attacker who has the model alone: no shadow models, no other model that never saw a face."""


def assess(
    model: Scored,
    original: Scored,
    reference: Scored | None,
    task: Task,
    *,
    bootstrap: Bootstrap | None = None,
    before: Scored | None = None,
    harmed: str | None = None,
    known: Knowledge | None = NO_KNOWLEDGE,
    row: str = "",
    attacked: Callable[[Scored], AttackedModel] | None = None,
) -> dict[MeasureKey, Measure]:
    """Utility, forgetting, distances, fairness and every attack, each with its 95% interval over people.

    reference: None where nobody retrained; what only such a model can tell is then left out. bootstrap: shared by the
    models of one comparison, so that their differences are paired. before, harmed: as `evaluate` has them. known: what
    the attacker knows beside the model; None: no attack but the threshold on the loss. row: the name under which the
    shadows of `known` went through this model's forgetting. attacked: `attack_model` with this knowledge, where the
    caller keeps what it found, since many models are compared with one reference. All models answered the same faces in
    the same order.
    """
    bootstrap = bootstrap or Bootstrap(model.predictions)
    found = evaluate(model, original, reference, task, bootstrap, before, harmed)
    if known is None:
        return found
    attacked = attacked or (lambda one: attack_model(one, known, task))
    return found | audit(attacked(model), attacked(reference) if reference else None, known, bootstrap, row)
