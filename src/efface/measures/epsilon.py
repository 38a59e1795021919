"""How well can *any* attack on one face tell unlearned models from retrained ones? The NeurIPS 2023 challenge's score.

Triantafillou et al., Are we making progress in unlearning?, arXiv:2406.09073. For each face the signals of N unlearned
models stand beside those of N models that never saw it, nor any forgetting, and the best threshold (or pair of them)
gives an epsilon, as differential privacy means it. With N models no epsilon above log(N) can be shown, so the bound is
part of the answer. Ours differs: thresholds lie between the values themselves instead of on a grid, and either side of
a pair of them may stand for unlearned, so an epsilon is never smaller than theirs.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array

EXACT = 50.0
"""Epsilon of a face whose two sets of values do not overlap in range at all, which no N can bound."""
BUCKET = 0.5
"""Width in epsilon of the steps by which the challenge halves a face's score."""


def epsilon(unlearned: Array, retrained: Array, delta: float = 1e-5) -> float:
    """The largest epsilon that a threshold or a pair of them shows between the values (a,) and (b,) of one face.

    A threshold whose rate of false positives or of false negatives alone is zero is passed over (it says that there
    are few models); where both are zero, the two are told apart always.
    """
    values = np.unique(np.concatenate([unlearned, retrained]))
    cuts = np.concatenate([[-np.inf], (values[1:] + values[:-1]) / 2, [np.inf]])
    above_u, above_r = (
        1 - np.searchsorted(np.sort(side), cuts, "right") / len(side) for side in (unlearned, retrained)
    )
    low, high = np.triu_indices(len(cuts), 1)
    caught, wrong = above_u[low] - above_u[high], above_r[low] - above_r[high]
    return max(of_rates(wrong, 1 - caught, delta), of_rates(1 - wrong, caught, delta))


def of_rates(false_positive: Array, false_negative: Array, delta: float) -> float:
    """The largest epsilon that any of these pairs of rates shows."""
    fp, fn = (np.where(rate < 1e-12, 0.0, rate) for rate in (false_positive, false_negative))
    if ((fp == 0) & (fn == 0)).any():
        return EXACT
    both = (fp > 0) & (fn > 0)
    if not both.any():
        return 0.0
    fp, fn = fp[both], fn[both]
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.fmax(np.log(1 - delta - fp) - np.log(fn), np.log(1 - delta - fn) - np.log(fp))
    return max(0.0, float(np.nanmax(np.where(np.isfinite(shown), shown, 0.0))))


def epsilons(signal: Array, included: NDArray[np.bool_], delta: float = 1e-5) -> NDArray[np.float64]:
    """(n,) of each face: the models (s, n) that had it against those that lacked it; NaN where either are fewer than
    two."""
    found = np.full(signal.shape[1], np.nan)
    for face in range(signal.shape[1]):
        known = np.isfinite(signal[:, face])
        had, lacked = included[:, face] & known, ~included[:, face] & known
        if min(had.sum(), lacked.sum()) >= 2:
            found[face] = epsilon(signal[had, face], signal[lacked, face], delta)
    return found


def largest_epsilon(models: int) -> float:
    """The largest epsilon that so many models of each kind can show."""
    return math.log(max(models - 1, 1))


def challenge_score(shown: Array, models: int) -> NDArray[np.float64]:
    """(n,) the challenge's score of each face: 1, a half, a quarter ... as epsilon grows by half, nothing beyond the
    bound of so many models."""
    last = math.ceil(largest_epsilon(models))
    bucket = np.floor(np.asarray(shown) / BUCKET)
    return np.where(np.asarray(shown) < last, 0.5**bucket, 0.0)
