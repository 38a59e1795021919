"""Exact head: a ridge or class-mean head on features that stay as they are, kept as sums, from which people are
subtracted.

The sums of a linear least squares fit are all that it ever knew of a face (Brophy and Lowd, and Guo et al., ICML 2020,
start from the same fact for what is only nearly so): less a person's part they are the sums of everybody else, and the
head solved from them is the one that retraining the head without that person gives. It takes milliseconds, however many
were trained on and however many requests came before. Nothing follows for the network below, which made the features
and stays as it is. This is no row of a plan, whose heads are learned by gradient descent: `efface fit-head` makes such
a head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from efface.data.faces import Array
from efface.errors import InputError

Floats = NDArray[np.float64]

BLOCK = 4096
"""Faces whose features are widened to 64 bits at a time."""
ACCURATE = 1e-13
"""Backward error of a solution, relative, up to which a downdated factor is kept."""
ILL_CONDITIONED = 1e7
"""From this condition number on a factor is computed anew instead of downdated: 16 digits less these are 9."""
NOBODY_LEFT = "nobody would be left in the head: delete it instead"


@dataclass(frozen=True)
class RidgeSums:
    """All that a ridge regression with an unpenalised intercept knows of d features and t targets of its faces."""

    gram: Floats
    """(d + 1, d + 1) products of the features, a 1 behind them, summed over faces; the last entry counts the faces."""
    cross: Floats
    """(d + 1, t) products of the same with the targets."""
    factor: Floats
    """(d + 1, d + 1) upper triangular, its square the Gram matrix with the penalty on its diagonal."""
    penalty: Floats
    """() what weights are held small by, scikit-learn's `alpha`."""

    @property
    def count(self) -> int:
        """Faces in these sums."""
        return int(self.gram[-1, -1])


@dataclass(frozen=True)
class ClassSums:
    """All that class means know of d features of the faces of k classes."""

    sums: Floats
    """(k, d)"""
    counts: NDArray[np.int64]
    """(k,)"""

    @property
    def means(self) -> Floats:
        """(k, d), of classes that have a face."""
        means: Floats = self.sums / self.counts[:, None]
        return means


def ridge_sums(features: Array, targets: Array, penalty: float) -> RidgeSums:
    """The sums of features (n, d), read block by block, and targets (n, t); penalty above 0."""
    size = features.shape[1] + 1
    gram, cross = np.zeros((size, size)), np.zeros((size, targets.shape[1]))
    for start in range(0, len(features), BLOCK):
        rows = _with_one(features[start : start + BLOCK])
        gram += rows.T @ rows
        cross += rows.T @ np.asarray(targets[start : start + BLOCK], np.float64)
    given = np.array(float(penalty))
    return RidgeSums(gram, cross, _factored(gram, given), given)


def ridge_without(sums: RidgeSums, features: Array, targets: Array) -> tuple[RidgeSums, bool]:
    """The sums less these faces (k, d) and (k, t), which must be in them; and whether the factor was downdated, not
    computed anew. Raises InputError where nobody would be left."""
    rows = _with_one(features)
    if len(rows) >= sums.count:
        raise InputError(NOBODY_LEFT)
    gram = sums.gram - rows.T @ rows
    cross = sums.cross - rows.T @ np.asarray(targets, np.float64)
    factor = downdated(sums.factor, rows) if len(rows) < len(gram) else None
    if factor is not None:
        left = RidgeSums(gram, cross, factor, sums.penalty)
        if condition(left) < ILL_CONDITIONED and _backward_error(left) < ACCURATE:
            return left, True
    return RidgeSums(gram, cross, _factored(gram, sums.penalty), sums.penalty), False


def only_targets(sums: RidgeSums, kept: Array) -> RidgeSums:
    """The sums for some of the targets, (t,) bool, alone."""
    return replace(sums, cross=sums.cross[:, kept])


def ridge(sums: RidgeSums) -> tuple[Floats, Floats]:
    """Weights (t, d) and intercepts (t,): a face's answer is `weights @ features + intercepts`."""
    solution = linalg.cho_solve((sums.factor, False), sums.cross)
    return np.ascontiguousarray(solution[:-1].T), np.ascontiguousarray(solution[-1])


def condition(sums: RidgeSums) -> float:
    """The condition number (in the 1-norm, estimated) of the equations that are solved, scaled to ones on the
    diagonal: a solution has about 16 digits less those of this number."""
    penalised = _penalised(sums.gram, sums.penalty)
    scale = 1 / np.sqrt(np.diag(penalised))
    norm = np.abs(penalised * scale * scale[:, None]).sum(0).max()
    reciprocal, _ = linalg.lapack.dpocon(sums.factor * scale, norm)
    return float(1 / max(reciprocal, 1e-300))


def downdated(factor: Floats, rows: Floats) -> Floats | None:
    """The upper triangular R' with R'ᵀR' = RᵀR − XᵀX, of R (d, d) and rows X (k, d), or None where that is not
    positive definite, to the accuracy of 64 bits.

    By one hyperbolic Householder reflection a column (Bojanczyk and Steinhardt 1991; Golub and Van Loan, section
    6.5.4): d steps for however many rows.
    """
    upper, rest = factor.copy(), rows.copy()
    for place in range(len(upper)):
        column, old = rest[:, place].copy(), upper[place, place:].copy()
        own = float(old[0])
        squared = own * own - float(column @ column)
        if not squared > 1e-12 * own * own:
            return None
        new = float(np.sqrt(squared))
        upper[place, place:] = (own * old - column @ rest[:, place:]) / new
        rest[:, place:] -= np.outer(column, (old + upper[place, place:]) / (own + new))
    return upper


def class_sums(features: Array, classes: Array, count: int) -> ClassSums:
    """The sums of features (n, d), read block by block, by their classes (n,), numbers below `count`."""
    sums = np.zeros((count, features.shape[1]))
    for start in range(0, len(features), BLOCK):
        np.add.at(sums, classes[start : start + BLOCK], np.asarray(features[start : start + BLOCK], np.float64))
    return ClassSums(sums, np.bincount(classes, minlength=count).astype(np.int64))


def classes_without(sums: ClassSums, features: Array, classes: Array) -> tuple[ClassSums, NDArray[np.bool_]]:
    """The sums less these faces, which must be in them, without classes that have no other face; and which classes
    (k,) are left. Raises InputError where nobody would be left."""
    gone = class_sums(features, classes, len(sums.counts))
    counts = sums.counts - gone.counts
    kept = counts > 0
    if not kept.any():
        raise InputError(NOBODY_LEFT)
    return ClassSums((sums.sums - gone.sums)[kept], counts[kept]), kept


def _with_one(features: Array) -> Floats:
    """(n, d + 1) in 64 bits, a 1 behind each face's features."""
    return np.column_stack([np.asarray(features, np.float64), np.ones(len(features))])


def _penalised(gram: Floats, penalty: Floats) -> Floats:
    return gram + np.diag(np.append(np.full(len(gram) - 1, float(penalty)), 0.0))


def _factored(gram: Floats, penalty: Floats) -> Floats:
    """Raises InputError where the features are too much alike for this penalty."""
    try:
        upper: Floats = np.triu(linalg.cholesky(_penalised(gram, penalty)))
    except (linalg.LinAlgError, ValueError):
        raise InputError(
            f"the head cannot be solved with the penalty {float(penalty):g}: features are no finite numbers, or too "
            "much alike; give a larger --penalty"
        ) from None
    return upper


def _backward_error(sums: RidgeSums) -> float:
    """How far the equations are from being solved, relative to their size."""
    solution = linalg.cho_solve((sums.factor, False), sums.cross)
    penalised = _penalised(sums.gram, sums.penalty)
    missed = np.abs(penalised @ solution - sums.cross).max(initial=0)
    size = np.abs(penalised).sum(1).max() * np.abs(solution).max(initial=0) + np.abs(sums.cross).max(initial=0)
    return float(missed / max(size, 1e-300))
