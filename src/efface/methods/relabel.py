"""Faces with labels that are not theirs, and all that was trained on as one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from efface.data.faces import Array, Faces, MethodData


def mislabelled(data: MethodData, seed: int) -> Faces:
    """The forgotten, each with a label drawn from all but its own: another class, or other attributes."""
    rng, targets = np.random.default_rng(seed), data.forget.targets
    return replace(
        data.forget,
        targets=(
            other_classes(targets, int(max(targets.max(), data.retain.targets.max())) + 1, rng)
            if np.issubdtype(targets.dtype, np.integer)
            else other_attributes(targets, rng)
        ),
    )


def other_classes(targets: Array, classes: int, rng: np.random.Generator) -> Array:
    """(n,) for each class another one."""
    other: Array = (targets + rng.integers(1, classes, len(targets))) % classes
    return other


def other_attributes(targets: Array, rng: np.random.Generator) -> Array:
    """(n, a) attributes at random, of which at least one is not as it was."""
    drawn = rng.integers(0, 2, targets.shape).astype(targets.dtype)
    same = np.flatnonzero((drawn == targets).all(1))
    flipped = rng.integers(0, targets.shape[1], len(same))
    drawn[same, flipped] = 1 - drawn[same, flipped]
    return drawn
