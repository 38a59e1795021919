"""Was anybody trained on? What the model answers to the photos of the people who asked, beside strangers.

A network draws the photos of its training people together, and its head, where the file has one, holds a direction of
each of them. Both are compared with strangers, whom nobody trained on, by a permutation test: it needs no model of what
is normal, and says by itself when people are too few.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.data.vectors import units
from efface.erasure.deployed import pairwise, prototypes
from efface.erasure.photos import RequestPhotos

LEVEL = 0.05
"""Of both tests together: each is judged at half of it where there are two."""
PERMUTATIONS = 20_000
POWER = 1.645 + 0.842
"""Standard errors that a difference needs to be seen in four of five repetitions, one-sided at 5%."""


@dataclass(frozen=True)
class Signs:
    """One comparison with strangers."""

    name: str
    theirs: NDArray[np.float64]
    """(p,) of the people who asked."""
    strangers: NDArray[np.float64]
    p: float
    """Share of ways to draw as many people from all of them that give a mean as high."""
    least_p: float
    """The smallest that so few people can give."""
    smallest_effect: float
    """Difference of means that would be seen in four of five repetitions."""
    about: str


@dataclass(frozen=True)
class TrainedOn:
    """What all comparisons say."""

    conclusion: str
    """`trained on`, `no sign of training` or `not enough data`."""
    signs: tuple[Signs, ...]


def trained_on(embeddings: Array, photos: RequestPhotos, heads: Mapping[str, NDArray[np.float32]]) -> TrainedOn:
    """Compare the people who asked with all public people but those a second recogniser is trained on.

    heads: matrices (people, d) that a direction per person may stand in, by name.
    """
    who, unit = photos.faces.identities, units(embeddings)
    asked = np.concatenate([photos.forget, photos.forget_held])
    strangers = np.concatenate([photos.calibration, photos.strangers, photos.teaching])
    about = "mean cosine between two photos of a person: higher for people trained on"
    signs = [compared("compactness", compactness(unit, who, asked), compactness(unit, who, strangers), about)]
    for name, head in heads.items():
        theirs, others = (head_cosines(unit, who, rows, head)[1] for rows in (asked, strangers))
        about = "cosine of a person's mean to the nearest row of the head"
        signs.append(compared(f"nearest row of {name}", theirs, others, about))
    return TrainedOn(concluded(signs), tuple(signs))


def compactness(unit: NDArray[np.float32], who: Array, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """(p,) mean cosine between two photos of each person; NaN for one photo."""
    return np.array([pairwise(unit[rows[who[rows] == one]]) for one in np.unique(who[rows])])


def head_cosines(
    unit: NDArray[np.float32], who: Array, rows: NDArray[np.int64], head: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Of each person the row of a head that is nearest to their mean, and its cosine."""
    _, mean = prototypes(unit, who, rows)
    alike = mean @ units(head).T
    return alike.argmax(1), alike.max(1).astype(np.float64)


def concluded(signs: list[Signs]) -> str:
    """What comparisons say together."""
    level = LEVEL / len(signs)
    if any(one.p <= level for one in signs):
        return "trained on"
    return "no sign of training" if any(one.least_p <= level for one in signs) else "not enough data"


def compared(name: str, theirs: Array, strangers: Array, about: str) -> Signs:
    """Whether the mean of some people is higher than as many drawn from them and strangers have."""
    theirs, strangers = (one[np.isfinite(one)].astype(np.float64) for one in (theirs, strangers))
    few, all_ = len(theirs), np.concatenate([theirs, strangers])
    if not few or not len(strangers):
        return Signs(name, theirs, strangers, 1.0, 1.0, float("nan"), f"{about} (nobody has two photos)")
    ways = comb(len(all_), few)
    if ways <= PERMUTATIONS:
        drawn = np.array(list(combinations(range(len(all_)), few)))
        means = all_[drawn].mean(1)
        p = float((means >= theirs.mean() - 1e-12).mean())
    else:
        rng = np.random.default_rng(0)
        means = np.array([rng.choice(all_, few, replace=False).mean() for _ in range(PERMUTATIONS)])
        p = float((1 + (means >= theirs.mean() - 1e-12).sum()) / (1 + PERMUTATIONS))
    error = strangers.std(ddof=1) * np.sqrt(1 / few + 1 / len(strangers)) if len(strangers) > 1 else float("nan")
    return Signs(name, theirs, strangers, p, 1 / min(ways, PERMUTATIONS), float(POWER * error), about)
