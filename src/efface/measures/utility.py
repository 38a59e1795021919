"""How well the faces of every split and group are answered."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from efface.data.faces import Array
from efface.measure_key import ALL, MeasureKey
from efface.measures.bootstrap import Aim, Bootstrap, Measure, measure
from efface.measures.predictions import Predictions

SPLITS = ("test", "forget", "forget_unseen", "retain", "retain_unseen", "strangers", "val")


def groups_of(predictions: Predictions) -> list[str]:
    """The known groups, sorted."""
    return [str(group) for group in np.unique(predictions.group) if group]


def utility(
    predictions: Predictions,
    scores: Mapping[str, Array],
    abouts: Mapping[str, tuple[Aim, str]],
    bootstrap: Bootstrap,
) -> dict[MeasureKey, Measure]:
    """`score/split/group`: the mean of each score over the faces of a split and group, and over all groups.

    scores: name to (n,); abouts: name to its aim and meaning.
    """
    stacked = np.stack(list(scores.values()), axis=1)
    found: dict[MeasureKey, Measure] = {}
    for split in SPLITS:
        for group in (ALL, *groups_of(predictions)):
            rows = predictions.rows(split, None if group == ALL else group)
            if not rows.any():
                continue
            known = [bool(np.isfinite(column[rows]).any()) for column in stacked.T]
            means = bootstrap.means(stacked, rows)
            whose = f"{split} faces" + ("" if group == ALL else f" of group {group}")
            for place, name in enumerate(scores):
                if not known[place]:
                    continue
                aim, about = abouts[name]
                aim = "as retrained" if split == "forget" else aim
                found[MeasureKey("score", name, split=split, group=group)] = measure(
                    means[:, place], aim, f"{about}; mean over {whose}"
                )
    return found
