"""Interclass confusion: what a model still holds of faces that were labelled wrongly before training.

Goel et al., Towards adversarial evaluations for inexact machine unlearning, 2022, arXiv:2201.06640; SCRUB's IC test.
The forgotten of two classes were labelled as the other one (`forget.confuse`). A model that forgot them confuses the
two no more than the retrained reference does, on faces that it never saw as on these.
"""

from __future__ import annotations

import numpy as np

from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Bootstrap, Measure, measure
from efface.measures.predictions import Predictions


def interclass_confusion(
    predictions: Predictions, pair: tuple[int, int], bootstrap: Bootstrap
) -> dict[MeasureKey, Measure]:
    """`confusion/...`; pair: the numbers of the two classes. The truth of the forgotten is the wrong label."""
    one, other = pair
    guess = predictions.outputs.argmax(1)
    of_two = np.isin(predictions.targets, pair)
    believed = (guess == predictions.targets).astype(np.float64)
    swapped = np.where(predictions.targets == one, other, one)
    mistaken = (guess == swapped).astype(np.float64)
    sides = {
        "forget": (believed, "share of the wrongly labelled forgotten that are answered with the wrong label"),
        "test": (mistaken, "share of test faces of the two classes that are answered as the other one"),
    }
    rows = {"forget": predictions.rows("forget") & of_two, "test": predictions.rows("test") & of_two}
    return {
        MeasureKey("confusion", split=name): measure(bootstrap.means(values, rows[name]), "as retrained", about)
        for name, (values, about) in sides.items()
        if rows[name].any()
    }
