"""Where memorisation begins: how well each layer's neighbours tell who was trained on.

A face's nearest public faces by one layer's features are asked what the model says of them, and their mean answer is
held against the truth of the face itself. Early layers find who looks alike, and this says of the forgotten what it
says of anybody; a layer that has learned them finds strangers of whom the model says what it memorised of the
forgotten. Lookalikes are to be found by a layer before that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import nn

from efface.data.batches import BatchLoader
from efface.data.faces import Faces, Splits
from efface.measure_key import MeasureKey
from efface.measures.attacks import auc, membership_scores_of
from efface.measures.bootstrap import Bootstrap, Measure, measure
from efface.measures.predictions import Predictions
from efface.methods.neighbours import averaged, nearest, seen_by
from efface.models.depths import depths
from efface.tasks import Task
from efface.training.reweight import cells

NEIGHBOURS = 15
REPLICATES = 200


MOST = 3000
"""Photos of a split that are looked at: features of all layers are held at once."""


def memorisation(model: nn.Module, splits: Splits, task: Task, loader: BatchLoader) -> dict[MeasureKey, Measure]:
    """`memorisation/LAYER`: AUC of the task's signal under the mean answer of each face's nearest public faces, the
    forgotten against people of `val` of the same groups (and class). No public face or nobody of `val`: nothing."""
    if len(splits.public) < NEIGHBOURS or not len(splits.val):
        return {}
    asked = {"forget": some_of(splits.forget), "strangers": some_of(splits.val)}
    group = np.concatenate([cells(faces, task) for faces in asked.values()])
    predictions = Predictions(
        split=np.concatenate([np.full(len(faces), name) for name, faces in asked.items()]),
        key=np.concatenate([faces.keys for faces in asked.values()]),
        identity=np.concatenate([faces.identities for faces in asked.values()]),
        group=group,
        outputs=np.zeros(len(group)),
        targets=np.concatenate([faces.targets for faces in asked.values()]),
    )
    bootstrap = Bootstrap(predictions, REPLICATES)
    found: dict[MeasureKey, Measure] = {}
    parts = depths(model)
    public = seen_by(model, parts, some_of(splits.public), loader)
    sides_seen = [seen_by(model, parts, faces, loader) for faces in asked.values()]
    for name in parts:
        ours = np.concatenate([side.features[name] for side in sides_seen])
        said = averaged(task, public.outputs, nearest(ours, public.features[name], NEIGHBOURS))
        membership_scores = membership_scores_of(
            predictions, -task.signal.of(replace(predictions, outputs=said)), bootstrap, people=False, times=REPLICATES
        )
        if membership_scores is not None:
            found[MeasureKey("memorisation", name)] = measure(
                membership_scores.over_draws(auc),
                "none",
                f"AUC of the {task.signal.about}, the forgotten against validation people, of what "
                f"the model says of the {NEIGHBOURS} public faces nearest by features of {name} "
                "(0.5: this layer does not know who was trained on)",
            )
    return found


def some_of(faces: Faces) -> Faces:
    """All faces, or some at random."""
    return faces[np.sort(np.random.default_rng(0).permutation(len(faces))[:MOST])]
