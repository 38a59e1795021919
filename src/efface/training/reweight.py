"""REWEIGHT: retained faces drawn so that forgetting does not change the mix of groups.

De Min et al., Group-robust Machine Unlearning, TMLR 2025, arXiv:2503.09330: a face is drawn in proportion to how many
of its group were trained on, over how many of these are retained. A group there is a demographic group of one class,
where classes are answered. It says nothing of a group of which nobody is retained.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from efface.data.faces import Array, Faces
from efface.errors import InputError
from efface.tasks import Task


def cells(faces: Faces, task: Task) -> Array:
    """(n,) str: the group of each face, and its class where the task has classes that are not people."""
    if task.labels != "one":
        return faces.groups
    return np.char.add(np.char.add(faces.groups, "\x1f"), faces.targets.astype(str))


def reweighted(retain: Faces, forget: Faces, task: Task) -> Faces:
    """The retained faces with weights.

    Raises InputError where all faces are of one cell: there is no mix to keep.
    """
    left, gone = cells(retain, task), cells(forget, task)
    names, of, counts = np.unique(left, return_inverse=True, return_counts=True)
    if len(np.union1d(names, gone)) < 2:
        raise InputError(
            "reweight = true keeps the mix of groups, and all trained faces are of one group: set "
            "data.group_by, data.group_file or data.group_clusters"
        )
    before = counts + np.array([(gone == name).sum() for name in names])
    return replace(retain, weights=(before / counts)[of])
