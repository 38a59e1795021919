"""What a model still remembers of the forgotten, by how it treats them and strangers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from efface.data.faces import Array
from efface.measure_key import MeasureKey
from efface.measures.attacks import attack_measures
from efface.measures.bootstrap import Bootstrap, Measure, measure
from efface.measures.predictions import Predictions

MEASURED = ("auc/photo", "auc/person", "tpr_at_1%_fpr/photo")


def membership(
    predictions: Predictions, signal: Array, bootstrap: Bootstrap, what: str = "log loss"
) -> dict[MeasureKey, Measure]:
    """`membership/...`: can an attacker who sees the signal tell the forgotten from strangers of the same groups?

    signal (n,): lower on faces the model knows. The weakest attack there is, a threshold (Yeom et al., CSF 2018), so it
    is measured in every run; an audit adds the others.
    """
    return attack_measures(
        "",
        f"an attacker who sees the {what}",
        predictions,
        -signal,
        bootstrap,
        only=MEASURED,
        times=bootstrap.times,
        fewest=1,
    )


def class_matched_membership(
    predictions: Predictions, signal: Array, bootstrap: Bootstrap, what: str = "log loss"
) -> dict[MeasureKey, Measure]:
    """`attack/class-matched/...`: the same attack against strangers of the same group and class, weighted to the
    forgotten's mix of classes: an attacker that only knows which classes are hard gains nothing by it.

    predictions.targets (n,): the class of each face.
    """
    classes = np.char.add(np.char.add(predictions.group, "\x1f"), predictions.targets.astype(str))
    return attack_measures(
        "class-matched",
        f"an attacker who sees the {what}, asked about strangers of the same class",
        replace(predictions, group=classes),
        -signal,
        bootstrap,
        only=MEASURED,
        times=bootstrap.times,
        fewest=1,
    )


def forgetting(
    predictions: Predictions,
    signal: Array,
    original: Array,
    reference: Array | None,
    bootstrap: Bootstrap,
    what: str = "log loss",
) -> dict[MeasureKey, Measure]:
    """`forgotten/...`: how far the answers on the forgotten went from the original's to the reference's.

    signal, original, reference (n,): what betrays a member under each model, and `what` to call it. Without a reference
    only the distance to the original is known.
    """
    rows = predictions.rows("forget")
    now, before = (bootstrap.means(values, rows) for values in (signal, original))
    from_original = {
        MeasureKey("forgotten", "signal_to_original"): measure(
            now - before,
            "as retrained",
            f"mean {what} on the forgotten, minus the original's (0: nothing was forgotten)",
        )
    }
    if reference is None:
        return from_original
    goal = bootstrap.means(reference, rows)
    about = f"of the way from the original to the retrained reference, by the mean {what} on the forgotten"
    whole = goal - before
    same_way = np.sign(whole) == np.sign(whole[0])
    percent = np.where(same_way, 100 * (now - before) / np.where(whole == 0, np.nan, whole), np.nan)
    way = measure(percent, "as retrained", f"percent {about} (100: as if never trained on them)")
    return {
        MeasureKey("forgotten", "percent"): way,
        MeasureKey("forgotten", "signal_to_reference"): measure(
            now - goal,
            "as retrained",
            f"mean {what} on the forgotten, minus the reference's (below 0: still remembered, above: overshot)",
        ),
        **from_original,
    }
