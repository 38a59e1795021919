"""What a model still remembers of the forgotten, by how it treats them and strangers."""

from __future__ import annotations

import numpy as np

from efface.data.faces import Array
from efface.measures.attacks import told_apart
from efface.measures.draws import Draws, Measure, measure
from efface.measures.outcomes import Outcomes

MEASURED = ("auc/photo", "auc/person", "tpr_at_1%_fpr/photo")


def membership(outcomes: Outcomes, signal: Array, draws: Draws, what: str = "log loss") -> dict[str, Measure]:
    """`membership/...`: can an attacker who sees the signal tell the forgotten from strangers of the same groups?

    signal (n,): lower on faces the model knows. The weakest attack there is, a threshold (Yeom et al., CSF 2018), so it
    is measured in every run; an audit adds the others.
    """
    return told_apart("membership", f"an attacker who sees the {what}", outcomes, -signal, draws, only=MEASURED,
                      times=len(draws.weights) - 1, fewest=1)


def forgetting(
    outcomes: Outcomes, signal: Array, original: Array, reference: Array, draws: Draws, what: str = "log loss",
) -> dict[str, Measure]:
    """`forgotten/...`: how far the answers on the forgotten went from the original's to the reference's.

    signal, original, reference (n,): what betrays a member under each model, and `what` to call it.
    """
    rows = outcomes.rows("forget")
    now, before, goal = (draws.means(values, rows) for values in (signal, original, reference))
    about = f"of the way from the original to the retrained reference, by the mean {what} on the forgotten"
    whole = goal - before
    same_way = np.sign(whole) == np.sign(whole[0])
    percent = np.where(same_way, 100 * (now - before) / np.where(whole == 0, np.nan, whole), np.nan)
    way = measure(percent, "as retrained", f"percent {about} (100: as if never trained on them)")
    return {
        "forgotten/percent": way,
        "forgotten/signal_to_reference": measure(
            now - goal, "as retrained",
            f"mean {what} on the forgotten, minus the reference's (below 0: still remembered, above: overshot)"),
        "forgotten/signal_to_original": measure(
            now - before, "as retrained",
            f"mean {what} on the forgotten, minus the original's (0: nothing was forgotten)"),
    }
