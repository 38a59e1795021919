"""Public faces in the mix of labels that the forgotten have."""

from __future__ import annotations

import numpy as np

from efface.data.faces import Faces, MethodData


def matched_public(data: MethodData) -> Faces:
    """For each forgotten face a public one with the same label, the public ones in turn; where no public face has its
    label (or labels are coordinates), any."""
    public, forget = data.public, data.forget
    if np.issubdtype(public.targets.dtype, np.floating) and public.targets.ndim > 2:
        return public
    labels, of = np.unique(np.concatenate([forget.targets, public.targets]), axis=0, return_inverse=True)
    mine, theirs = of.reshape(-1)[: len(forget)], of.reshape(-1)[len(forget) :]
    rows = np.zeros(len(forget), np.int64)
    for label in range(len(labels)):
        places = np.flatnonzero(mine == label)
        same = np.flatnonzero(theirs == label)
        rows[places] = np.resize(same if len(same) else np.arange(len(public)), len(places))
    return public[rows]
