"""Who is drawn: people of fixed looks, dealt to groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from string import ascii_uppercase

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.datasets.drawing.shapes import Field
from efface.datasets.drawing.traits import Identity

MOLES = 3
"""The most that a person has."""


@dataclass(frozen=True)
class Cast:
    """The people: index of the group (people,), looks, and moles (people, MOLES, 3) as place (t, s) and size."""

    group: NDArray[np.intp]
    identity: Identity
    moles: Field


def cast(people: int, groups: Sequence[str], shares: Array, distance: float, generator: np.random.Generator) -> Cast:
    """People drawn row by row, so that the first ones are the same however many follow."""
    of_looks, of_moles = generator.spawn(2)
    group = dealt(people, shares)
    identity = Identity.draw(people, of_looks, group_shifts(groups, distance)[group])
    # A third of the sizes are negative: no mole.
    moles = of_moles.random((people, MOLES, 3)) * [1.3, 0.9, 0.045] - [0.65, -0.15, 0.015]
    return Cast(group, identity, moles.astype(np.float32))


def dealt(people: int, shares: Array) -> NDArray[np.intp]:
    """The group of each person in turn, so that the first n keep to the shares for every n (Sainte-Laguë)."""
    turns = (np.arange(people)[:, None] + 0.5) / shares
    return np.argsort(turns, axis=None, kind="stable")[:people] % len(shares)


def group_shifts(groups: Sequence[str], distance: float) -> Array:
    """How many shifts each group's means lie from the middle, (groups, traits).

    A and B are opposites in every trait, C and D in another pattern of signs, and so on to Z: a group's place depends
    on its letter alone. Beyond a distance of 2 the groups move no further apart, so that faces stay faces.
    """
    traits = len(fields(Identity))
    pairs, seconds = np.divmod([ascii_uppercase.index(group) for group in groups], 2)
    patterns = [np.random.default_rng(pair).choice([-1.0, 1.0], traits) if pair else np.ones(traits) for pair in pairs]
    shifts: Array = min(distance, 2.0) * (2 * seconds[:, None] - 1) * np.stack(patterns)
    return shifts
