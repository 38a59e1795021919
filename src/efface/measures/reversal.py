"""Whether those whom an earlier round forgot come back: they are measured again after every later round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from efface.data.faces import Array
from efface.measure_key import MeasureKey
from efface.measures.attacks import attack_measures, key_of
from efface.measures.bootstrap import Bootstrap, Measure, measure
from efface.measures.predictions import Predictions


def reversal(
    predictions: Predictions,
    asked_in: Mapping[str, int],
    errors: tuple[str, Array],
    signal: Array,
    bootstrap: Bootstrap,
) -> dict[MeasureKey, Measure]:
    """`reversal/ERROR/round K` and `reversal/auc/round K` of those asked for in each round K.

    asked_in: by the key of each forgotten face, from 1. errors: the name of the task's error and it (n,). signal (n,):
    lower on faces the model knows.
    """
    name, error = errors
    forgotten = predictions.rows("forget")
    turn = np.array([asked_in.get(key, 0) for key in predictions.key.tolist()])
    found: dict[MeasureKey, Measure] = {}
    for number in sorted(set(turn[forgotten].tolist()) - {0}):
        mine = forgotten & (turn == number)
        group = f"round {number}"
        found[MeasureKey("reversal", name, group=group)] = measure(
            bootstrap.means(error, mine), "as retrained", f"mean {name} of those asked for in {group}"
        )
        alone = replace(predictions, split=np.where(forgotten & ~mine, "", predictions.split))
        attacked = attack_measures(
            "",
            f"an attacker, of those asked for in {group},",
            alone,
            -signal,
            bootstrap,
            only=("auc/photo",),
            fewest=1,
        )
        found[MeasureKey("reversal", "auc", group=group)] = attacked[key_of("", "auc", "photo")]
    return found
