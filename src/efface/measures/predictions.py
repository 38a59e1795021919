"""Predictions: what one model answered to every face of a run, a row per face."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array


def none_of(kind: str, *shape: int) -> partial[Array]:
    """Makes an empty column, for what a task does not have."""
    return partial(np.zeros, shape or (0,), kind)


@dataclass(frozen=True)
class Predictions:
    """n faces; k classes of the head and p compared pairs where the task is recognition."""

    split: Array
    """(n,) str: forget, forget_unseen, retain, retain_unseen, val, strangers or test."""
    key: Array
    """(n,) str"""
    identity: Array
    """(n,) str"""
    group: Array
    """(n,) str"""
    outputs: Array
    """(n, ...) as the task answers."""
    targets: Array
    """(n, ...) what was right."""
    traits: Array = field(default_factory=none_of("<U1", 0, 0))
    """(n, t) str: what else is known of each face; (0, 0) without any."""
    centres: Array = field(default_factory=none_of("float32", 0, 0))
    """(k, d) the head's class centres times its scale: logits are unit answers times these. (0, 0) without a head."""
    pair_set: Array = field(default_factory=none_of("<U1"))
    """(p,) str: the verification set a pair belongs to."""
    pair_same: Array = field(default_factory=none_of("bool"))
    """(p,) whether both photos show one person."""
    pair_fold: Array = field(default_factory=none_of("int64"))
    """(p,) the fold of the set's protocol."""
    pair_similarity: Array = field(default_factory=none_of("float32"))
    """(p,) cosine of the two embeddings, each the sum over a photo and its mirror image."""
    pair_quality: Array = field(default_factory=none_of("float32"))
    """(p,) quality of the worse photo; NaN where unknown."""
    pair_poor: Array = field(default_factory=none_of("bool"))
    """(p,) whether the plan calls that low."""

    def __len__(self) -> int:
        return len(self.key)

    def rows(self, split: str, group: str | None = None) -> NDArray[np.bool_]:
        """(n,) mask of a split and, if given, a group."""
        mask: NDArray[np.bool_] = self.split == split
        return mask if group is None else mask & (self.group == group)
