"""Public faces in the mix of labels that the forgotten have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Faces, MethodData


def matched_public(data: MethodData) -> Faces:
    """For each forgotten face a public one with the same label, the public ones in turn; where no public face has its
    label (or labels are coordinates), any."""
    public, forget = data.public, data.forget
    if np.issubdtype(public.targets.dtype, np.floating) and public.targets.ndim > 2:
        return public
    mine, theirs = numbered(forget, public)
    rows = np.zeros(len(forget), np.int64)
    for label in np.unique(mine):
        places = np.flatnonzero(mine == label)
        same = np.flatnonzero(theirs == label)
        rows[places] = np.resize(same if len(same) else np.arange(len(public)), len(places))
    return public[rows]


def numbered(first: Faces, second: Faces) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The label (of several attributes: all of them together) of each face on two sides, as a number."""
    _, of = np.unique(np.concatenate([first.targets, second.targets]), axis=0, return_inverse=True)
    one, two = np.split(of.reshape(-1), [len(first)])
    return one, two
