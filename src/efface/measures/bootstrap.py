"""Intervals that resample people, not photos: one estimate and its bootstrap replicates in one vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.data.vectors import blocks
from efface.measures.predictions import Predictions

Aim = Literal["low", "high", "as retrained", "none"]
Name = TypeVar("Name", bound=str)
Vector = NDArray[np.float64]
"""(draws + 1,): the estimate, then one value per resample. Any arithmetic on such vectors keeps the pairing."""
EVERY = slice(None)
"""All draws, the sample itself first."""
TOGETHER = "(intervals of all {} groups hold together)"
"""What stands behind the sentence of a measure that has such an interval."""


@dataclass(frozen=True)
class Measure:
    """A number, its 95% interval, where it should be, and what it means in one sentence."""

    value: float | None
    """None where it cannot be said; `about` then says why."""
    low: float | None
    high: float | None
    aim: Aim
    about: str
    people: int | None = None
    """How many people it is of, where they are too few for an interval."""


def measure(vector: Vector, aim: Aim, about: str) -> Measure:
    """The estimate with the percentile interval of its replicates; undefined unless all of them are finite."""
    if not np.isfinite(vector).all():
        return Measure(None, None, None, aim, about + " (undefined here: it divides by what may be zero)")
    low, high = np.percentile(vector[1:], [2.5, 97.5])
    return Measure(float(vector[0]), float(low), float(high), aim, about)


def simultaneous_intervals(vectors: Mapping[Name, Vector], aim: Aim, abouts: Mapping[Name, str]) -> dict[Name, Measure]:
    """Several estimates whose intervals hold all at once, with 95% together: who looks at seven groups and picks the
    one that stands out has looked seven times.

    Each is as wide as the largest deviation among all of them, in standard errors, is in 95% of the resamples (the
    single-step max-t procedure: Westfall and Young 1993; Romano and Wolf 2005). One alone is a `measure`.
    """
    known = {name: vector for name, vector in vectors.items() if np.isfinite(vector).all()}
    if len(known) < 2:
        return {name: measure(vector, aim, abouts[name]) for name, vector in vectors.items()}
    lows, highs = simultaneous_bounds(np.stack(list(known.values())))
    found = {name: measure(vector, aim, abouts[name]) for name, vector in vectors.items() if name not in known}
    return found | {
        name: Measure(float(vector[0]), float(low), float(high), aim, f"{abouts[name]} {TOGETHER.format(len(known))}")
        for (name, vector), low, high in zip(known.items(), lows, highs, strict=True)
    }


def simultaneous_bounds(vectors: NDArray[np.float64]) -> tuple[Vector, Vector]:
    """Lower and upper ends (m,) of intervals for m estimates (m, r + 1) that hold together with 95%."""
    apart = vectors[:, 1:] - vectors[:, :1]
    error = np.sqrt(np.square(apart).mean(1))
    reach = np.quantile(np.max(np.abs(apart) / np.maximum(error, 1e-12)[:, None], axis=0), 0.95)
    return vectors[:, 0] - reach * error, vectors[:, 0] + reach * error


def largest(vectors: NDArray[np.float64], aim: Aim, about: str) -> Measure:
    """The largest of m estimates (m, r + 1), within bounds from their joint intervals. A bootstrap of the maximum
    itself lies above the truth: in a resample some group fares badly by chance."""
    if not np.isfinite(vectors).all():
        return Measure(None, None, None, aim, about + " (undefined here: it divides by what may be zero)")
    lows, highs = simultaneous_bounds(vectors)
    return Measure(float(vectors[:, 0].max()), float(lows.max()), float(highs.max()), aim, about)


def widest_gap(vectors: NDArray[np.float64]) -> tuple[float, float, float]:
    """The largest of m estimates (m, r + 1) minus the smallest, and bounds from their joint intervals; 0 is within
    reach where all may be equal."""
    lows, highs = simultaneous_bounds(vectors)
    gap = float(vectors[:, 0].max() - vectors[:, 0].min())
    return gap, max(0.0, float(lows.max() - highs.min())), float(highs.max() - lows.min())


class Bootstrap:
    """Resamples of the people behind some predictions, with replacement, within each split and group.

    The clustered bootstrap (Davison and Hinkley 1997, section 3.8): all photos of a person come or stay away
    together. One person fewer is drawn than there are, and each counts for the more; else intervals over few people
    are too narrow (Rao and Wu, JASA 1988). Models that answered the same faces share the draws, so differences between
    them are paired.
    """

    def __init__(self, predictions: Predictions, times: int = 1000, seed: int = 0) -> None:
        clusters = np.char.add(np.char.add(predictions.split, "\x1f"), predictions.identity)
        _, first, self.cluster = np.unique(clusters, return_index=True, return_inverse=True)
        strata = np.char.add(np.char.add(predictions.split, "\x1f"), predictions.group)[first]
        self.times = times
        self.counts = np.ones((times + 1, len(first)), np.uint8)
        """(times + 1, clusters): how often each person was drawn; row 0 is the sample itself. The mean is below one, so
        that no count comes near what a byte holds."""
        self.share = np.ones(len(first))
        """(clusters,) what one draw of a person counts: a stratum's people count as many as they are."""
        rng = np.random.default_rng(seed)
        for stratum in np.unique(strata):
            members = np.flatnonzero(strata == stratum)
            count, drawn = len(members), max(1, len(members) - 1)
            self.share[members] = count / drawn
            for some in blocks(times, count):
                shares = np.full(count, 1 / count)
                self.counts[1:][some, members] = rng.multinomial(drawn, shares, some.stop - some.start)

    def weights(self, people: Array, draws: slice = EVERY) -> NDArray[np.float64]:
        """(r, k) how much each of these k clusters counts in each of these draws (default: all times + 1)."""
        weights = (self.counts[draws, people] * self.share[people]).astype(np.float32).astype(np.float64)
        if not draws.start:
            weights[0] = 1
        return weights

    def over_draws(
        self, value: Callable[[NDArray[np.float64]], NDArray[np.float64]], people: Array, times: int
    ) -> Vector:
        """(times + 1,) a value of weights (r, k) of these k clusters, draw by draw, a block of draws at a time."""
        return np.concatenate([value(self.weights(people, some)) for some in blocks(times + 1, len(people))])

    def means(self, values: Array, rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Mean of values (n,) or (n, k) over the marked rows, NaN left out: (times + 1,) or (times + 1, k)."""
        people, of = np.unique(self.cluster[rows], return_inverse=True)
        picked = np.asarray(values, np.float64)[rows].reshape(len(of), -1)
        known = np.isfinite(picked)
        sums, counts = (
            np.stack([np.bincount(of, column, len(people)) for column in columns.T], axis=1)
            for columns in (np.where(known, picked, 0.0), known.astype(np.float64))
        )
        of_draws, drawn = np.zeros((2, self.times + 1, sums.shape[1]))
        for some in blocks(len(people), self.times + 1):
            weights = self.weights(people[some])
            of_draws += weights @ sums[some]
            drawn += weights @ counts[some]
        with np.errstate(invalid="ignore"):
            means: NDArray[np.float64] = of_draws / drawn
        return means[:, 0] if np.ndim(values) == 1 else means

    def photos(self, rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(times + 1, marked): how often each marked photo stands in each draw. Of many photos ask `over_draws`."""
        return self.weights(self.cluster[rows])
