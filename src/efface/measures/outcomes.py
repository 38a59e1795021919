"""Outcomes: what one model answered to every face of a run, a row per face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from efface.faces import Array


@dataclass(frozen=True)
class Outcomes:
    """Columns of one length n."""

    split: Array
    """(n,) str: forget, retain, val, strangers or test."""
    key: Array
    identity: Array
    group: Array
    answers: Array
    """(n, ...) as the task answers."""
    truth: Array
    """(n, ...) what was right."""

    def __len__(self) -> int:
        return len(self.key)

    def rows(self, split: str, group: str | None = None) -> NDArray[np.bool_]:
        """(n,) mask of a split and, if given, a group."""
        mask: NDArray[np.bool_] = self.split == split
        return mask if group is None else mask & (self.group == group)
