"""Misfiled photos: is somebody still taken for the person under whose name some of their photos were trained on?

Photos of one person were filed under another (`forget.misfile`), and these are to be forgotten. A model that forgot
them takes the first for the second no more often than the retrained reference does, on photos no model was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from efface.data.faces import Array
from efface.data.vectors import units
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Bootstrap, Measure, measure
from efface.measures.identification import People, prototypes
from efface.measures.predictions import Predictions

ABOUT = {
    "person": "share of held-back photos of people some of whose photos were misfiled that are nearer to the person "
    "under whose name these were than to their own",
    "other": "share of held-back photos of people under whose name photos of somebody else were filed that are nearer "
    "to that person than to their own",
    "photos": "share of the misfiled photos that are nearer to the person under whose name they were filed than to the "
    "one they show",
    "pull": "mean cosine of held-back photos of people some of whose photos were misfiled to the person under whose "
    "name these were, less that to all other retained people",
}


def misfiled_measures(
    predictions: Predictions, under: Mapping[str, str], bootstrap: Bootstrap
) -> dict[MeasureKey, Measure]:
    """`misfiled/...`; under: by each person's name the one under whom some of their photos were filed.

    People are looked for by the mean direction of their retained photos. Nothing where no photo is held back.
    """
    back = {other: person for person, other in under.items()}
    known = prototypes(predictions, predictions.rows("retain"))
    unseen, named = predictions.rows("retain_unseen"), predictions.identity
    asked = {
        "person": (unseen & np.isin(named, list(under)), under),
        "other": (unseen & np.isin(named, list(back)), back),
        "photos": (predictions.rows("forget"), back),  # these have the other's name, so their own is the wrong one
    }
    found: dict[MeasureKey, Measure] = {}
    for name, (rows, wrong) in asked.items():
        if not rows.any():
            continue
        own, other, rest = cosines(predictions, rows, known, wrong)
        mistaken = own > other if name == "photos" else other > own
        columns = {name: mistaken.astype(np.float64)} | ({"pull": other - rest} if name == "person" else {})
        for title, column in columns.items():
            values = np.full(len(predictions), np.nan)
            values[rows] = column
            key = MeasureKey("misfiled", title)
            found[key] = measure(bootstrap.means(values, rows), "as retrained", ABOUT[title])
    return found


def cosines(predictions: Predictions, rows: Array, known: People, wrong: Mapping[str, str]) -> tuple[Array, ...]:
    """(m,) of each marked photo: its cosine to the person of its name, to the one confused with them, and the mean one
    to all others."""
    alike = units(predictions.outputs[rows]) @ known.unit.T
    names = predictions.identity[rows].tolist()
    each = np.arange(len(names))
    own, other = (np.searchsorted(known.names, wanted) for wanted in (names, [wrong[name] for name in names]))
    rest = (alike.sum(1) - alike[each, own] - alike[each, other]) / max(1, len(known.names) - 2)
    return alike[each, own], alike[each, other], rest
