"""Interclass confusion: what a model still holds of faces that were labelled wrongly before training.

Goel et al., Towards adversarial evaluations for inexact machine unlearning, 2022, arXiv:2201.06640; SCRUB's IC test.
The forgotten of two classes were labelled as the other one (`forget.confuse`). A model that forgot them confuses the
two no more than the retrained reference does, on faces that it never saw as on these.
"""

from __future__ import annotations

import numpy as np

from efface.measures.draws import Draws, Measure, measure
from efface.measures.outcomes import Outcomes


def interclass_confusion(outcomes: Outcomes, pair: tuple[int, int], draws: Draws) -> dict[str, Measure]:
    """`confusion/...`; pair: the numbers of the two classes. The truth of the forgotten is the wrong label."""
    one, other = pair
    guess = outcomes.answers.argmax(1)
    of_two = np.isin(outcomes.truth, pair)
    believed = (guess == outcomes.truth).astype(np.float64)
    swapped = np.where(outcomes.truth == one, other, one)
    mistaken = (guess == swapped).astype(np.float64)
    sides = {
        "forgotten": (believed, "share of the wrongly labelled forgotten that are answered with the wrong label"),
        "test": (mistaken, "share of test faces of the two classes that are answered as the other one"),
    }
    rows = {"forgotten": outcomes.rows("forget") & of_two, "test": outcomes.rows("test") & of_two}
    return {f"confusion/{name}": measure(draws.means(values, rows[name]), "as retrained", about)
            for name, (values, about) in sides.items() if rows[name].any()}
