"""How far is a model from the retrained reference? Face by face, as a whole, and beside the original.

Two retrained models of different seeds differ too, so no distance means anything without its floor, the row "reference,
other seed". ToW: Zhao et al., What makes unlearning hard, NeurIPS 2024, arXiv:2406.01257. Average gap: group-robust
machine unlearning, TMLR 2025, arXiv:2503.09330. CKA: Kornblith et al., ICML 2019. The three-sample test: Bounliphone
et al., ICLR 2016, arXiv:1511.04581, with resampled people in place of its normal approximation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Bootstrap, Measure, Vector, measure
from efface.measures.predictions import Predictions

REPLICATES = 200
"""Resamples where one costs a matrix product."""
MOST = 800
"""Faces that take part where every pair of them is looked at: drawn once, the same for every model."""
TILE = 1024
"""Faces whose products with as many others are looked at together."""
ROUNDING = 1e-13
"""A spread below this share of the values themselves is rounding."""
LOST = 1e-5
"""A difference below this share of its terms has lost five of sixteen digits."""


# Face by face


def jensen_shannon(ours: Array, theirs: Array) -> NDArray[np.float64]:
    """(n,) divergence in bits, from 0 to 1, of distributions (n, a, k); the mean over a."""
    from scipy import special

    middle = (ours + theirs) / 2
    both = (special.rel_entr(ours, middle) + special.rel_entr(theirs, middle)).sum(2) / 2
    divergence: NDArray[np.float64] = both.mean(1) / np.log(2)
    return divergence


def kullback_leibler(ours: Array, theirs: Array) -> NDArray[np.float64]:
    """(n,) KL(theirs || ours) in nats of distributions (n, a, k); the mean over a."""
    from scipy import special

    divergence: NDArray[np.float64] = special.rel_entr(theirs, np.maximum(ours, 1e-12)).sum(2).mean(1)
    return divergence


def activation_distance(ours: Array, theirs: Array) -> NDArray[np.float64]:
    """(n,) Euclidean distance of distributions (n, a, k); the mean over a."""
    distance: NDArray[np.float64] = np.linalg.norm(ours - theirs, axis=2).mean(1)
    return distance


def same_answer(ours: Array, theirs: Array) -> NDArray[np.float64]:
    """(n,) share of the a answers (n, a, k) whose most likely answer is the same."""
    same: NDArray[np.float64] = (ours.argmax(2) == theirs.argmax(2)).mean(1)
    return same


def shared_neighbours(ours: Array, theirs: Array, count: int = 10) -> NDArray[np.float64]:
    """(n,) of the nearest faces by unit embeddings (n, d) and (n, e), the share that both models name."""
    count = min(count, len(ours) - 1)
    if count < 1:
        return np.full(len(ours), np.nan)
    near = []
    for unit in (ours, theirs):
        alike = unit @ unit.T
        np.fill_diagonal(alike, -np.inf)
        near.append(np.argpartition(-alike, count - 1, axis=1)[:, :count])
    shared: NDArray[np.float64] = (near[0][:, :, None] == near[1][:, None, :]).sum((1, 2)) / count
    return shared


# As a whole


def tow(now: Sequence[Vector], reference: Sequence[Vector]) -> Vector:
    """Tug of war: the product of 1 - |difference| of measures between 0 and 1; 1 is the reference itself."""
    product: Vector = np.prod([1 - np.abs(ours - theirs) for ours, theirs in zip(now, reference, strict=True)], axis=0)
    return product


def average_gap(now: Mapping[str, Vector], reference: Mapping[str, Vector]) -> Vector:
    """100 minus the mean difference in points of measures between 0 and 1: higher is nearer."""
    gaps = [np.abs(now[name] - reference[name]) for name in now]
    return np.asarray(100 * (1 - np.mean(gaps, axis=0)), np.float64)


def wasserstein(ours: Array, theirs: Array, weights: NDArray[np.float64]) -> Vector:
    """(r,) first Wasserstein distance of two models' values (n,) of the same faces, by each row of weights (r, n)."""
    order, other = np.argsort(ours, kind="stable"), np.argsort(theirs, kind="stable")
    values = np.concatenate([ours[order], theirs[other]])
    place = np.argsort(values, kind="stable")
    signed = np.concatenate([weights[:, order], -weights[:, other]], axis=1)[:, place]
    gaps = np.diff(values[place])
    distance: Vector = (np.abs(signed.cumsum(1)[:, :-1]) * gaps).sum(1) / weights.sum(1)
    return distance


def cka(ours: Array, theirs: Array, weights: NDArray[np.float64]) -> Vector:
    """(r,) linear centred kernel alignment of two models' answers (n, d) and (n, e), under each row of weights (r, n);
    1 where they differ by a rotation and a scale alone, NaN where one of them does not vary.

    By products of features or, where that is cheaper, by products of faces, which all rows of weights share. Memory
    beside the arguments does not grow with n * n.
    """
    shares = weights / weights.sum(1, keepdims=True)
    (faces, d), e, times = ours.shape, theirs.shape[1], len(weights)
    if times * (2 * d * e + d * d + e * e) <= faces * (d + e + 3 * times):
        return np.array([_cka_by_features(ours, theirs, share) for share in shares], np.float64)
    found, exact = _cka_by_faces(ours, theirs, shares)
    for row in np.flatnonzero(~exact):
        found[row] = _cka_by_features(ours, theirs, shares[row])
    return found


def _cka_by_features(ours: Array, theirs: Array, share: NDArray[np.float64]) -> float:
    """CKA under one row of weights (n,) that sum to one, from covariances of features: about n (d + e)^2 products."""
    sides = (ours, theirs)
    some = [slice(start, start + TILE) for start in range(0, len(share), TILE)]
    means = [sum(share[rows] @ side[rows] for rows in some) for side in sides]
    squares = [sum(share[rows] @ np.square(side[rows], dtype=np.float64).sum(1) for rows in some) for side in sides]
    d, e = ours.shape[1], theirs.shape[1]
    cross, own, other = np.zeros((d, e)), np.zeros((d, d)), np.zeros((e, e))
    for rows in some:
        root = np.sqrt(share[rows])[:, None]
        one, two = (root * (side[rows] - mean) for side, mean in zip(sides, means, strict=True))
        cross, own, other = cross + one.T @ two, own + one.T @ one, other + two.T @ two
    if any(np.trace(part) <= ROUNDING**2 * square for part, square in zip((own, other), squares, strict=True)):
        return float("nan")
    return float(np.square(cross).sum() / (np.linalg.norm(own) * np.linalg.norm(other)))


def _cka_by_faces(ours: Array, theirs: Array, shares: NDArray[np.float64]) -> tuple[Vector, NDArray[np.bool_]]:
    """(r,) CKA under rows of weights (r, n) that sum to one, from the products of faces, tile by tile: about
    n^2 (d + e + 3 r) products; and (r,) whether it is exact to 1e-10, which it is not where the weighted mean lies so
    far from the mean of all rows that their difference has lost its digits.

    With K and L the products of faces, a = K s and b = L s, the alignment of weighted and centred kernels is
    s'(K * L)s - 2 s'(a * b) + (s'a)(s'b).
    """
    sides, (times, faces) = (ours, theirs), shares.shape
    some = [slice(start, start + TILE) for start in range(0, faces, TILE)]
    every = shares.mean(0)
    centres = [sum(every[rows] @ side[rows] for rows in some) for side in sides]

    def centred(rows: slice) -> list[NDArray[np.float64]]:
        return [np.asarray(side[rows] - centre, np.float64) for side, centre in zip(sides, centres, strict=True)]

    means = [np.zeros((side.shape[1], times)) for side in sides]
    for rows in some:
        for mean, side in zip(means, centred(rows), strict=True):
            mean += side.T @ shares[:, rows].T
    pairs = ((0, 1), (0, 0), (1, 1))
    whole, between = np.zeros((2, len(pairs), times))
    for number, rows in enumerate(some):
        here = centred(rows)
        to_means = [side @ mean for side, mean in zip(here, means, strict=True)]
        between += [np.einsum("rn,nr,nr->r", shares[:, rows], to_means[i], to_means[j]) for i, j in pairs]
        for columns in some[number:]:
            there = here if columns is rows else centred(columns)
            kernels = [one @ two.T for one, two in zip(here, there, strict=True)]
            times_counted = 1 if columns is rows else 2
            for place, (i, j) in enumerate(pairs):
                inner = shares[:, rows] @ (kernels[i] * kernels[j])
                whole[place] += times_counted * np.einsum("rn,rn->r", inner, shares[:, columns])
    squares = [np.square(mean).sum(0) for mean in means]
    cross, own, other = whole - 2 * between + [squares[i] * squares[j] for i, j in pairs]
    exact = (own > LOST * whole[1]) & (other > LOST * whole[2])
    with np.errstate(invalid="ignore", divide="ignore"):
        return cross / np.sqrt(own * other), exact


def equalised_odds(right: Array, predictions: Predictions, bootstrap: Bootstrap) -> Vector:
    """(r,) the largest difference between groups in a share (n,) on test faces; the mean over what was true, where
    that is one of several classes."""
    spreads = [
        np.max(means, axis=0) - np.min(means, axis=0)
        for means in by_class(right, predictions, bootstrap)
        if len(means) > 1
    ]
    return np.nanmean(spreads, axis=0) if spreads else np.zeros(bootstrap.times + 1)


def by_class(right: Array, predictions: Predictions, bootstrap: Bootstrap) -> list[list[Vector]]:
    """For each of what was true, where that is one of several classes (else once), the mean of a share (n,) on test
    faces of each group that has enough of them to stand in every resample."""
    targets = predictions.targets
    groups = [str(group) for group in np.unique(predictions.group[predictions.rows("test")])]
    classes = np.unique(targets) if targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer) else [None]
    cells = [
        [predictions.rows("test", group) & (True if one is None else targets == one) for group in groups]
        for one in classes
    ]
    means = [[bootstrap.means(right, cell) for cell in row if cell.any()] for row in cells]
    return [[one for one in row if np.isfinite(one).all()] for row in means]


# Nearer to which?


def nearer(now: Array, original: Array, reference: Array, people: Array, seed: int = 0) -> dict[MeasureKey, Measure]:
    """`distance/nearer` and its p-value: the relative three-sample test.

    now, original, reference (n, s): s signals of the forgotten under each model; people (n,): whose faces. The squared
    maximum mean discrepancy (Gaussian kernel, width of the median distance) of the model to the reference, less that to
    the original: below zero, the forgotten are answered more as by the retrained model.
    """
    from scipy.spatial.distance import cdist

    rng = np.random.default_rng(seed)
    known = np.flatnonzero(np.isfinite(np.concatenate([now, original, reference], axis=1)).all(1))
    about = (
        "difference of squared MMD, model to reference minus model to original, over their sum, by all signals on "
        "the forgotten (-1: as the reference, 1: as the original)"
    )
    if len(known) < 4:
        return {MeasureKey("distance", "nearer"): Measure(None, None, None, "low", about + " (too few faces)")}
    known = np.sort(rng.permutation(known)[:MOST])
    sides = [side[known] for side in (now, original, reference)]
    pooled = np.concatenate(sides)
    sides = [(side - pooled.mean(0)) / np.maximum(pooled.std(0), 1e-12) for side in sides]
    width = max(float(np.median(cdist(sides[1], sides[2], "sqeuclidean"))), 1e-9)
    _, of = np.unique(people[known], return_inverse=True)
    count = of.max() + 1
    bootstrap = np.concatenate([np.ones((1, count)), rng.multinomial(count, np.full(count, 1 / count), REPLICATES)])[
        :, of
    ]
    bootstrap = bootstrap / bootstrap.sum(1, keepdims=True)

    def alike(one: int, two: int) -> Vector:
        """(r,) mean kernel between two sides."""
        kernel = np.exp(-cdist(sides[one], sides[two], "sqeuclidean") / width)
        mean: Vector = np.einsum("rn,rn->r", bootstrap @ kernel, bootstrap)
        return mean

    own = alike(0, 0)
    to_original = own + alike(1, 1) - 2 * alike(0, 1)
    to_reference = own + alike(2, 2) - 2 * alike(0, 2)
    lean = (to_reference - to_original) / np.maximum(to_reference + to_original, 1e-12)
    wrong = (1 + float((to_reference[1:] >= to_original[1:]).sum())) / (1 + REPLICATES)
    return {
        MeasureKey("distance", "nearer"): measure(lean, "low", about),
        MeasureKey("distance", "nearer/p"): Measure(
            wrong,
            wrong,
            wrong,
            "low",
            "p-value of that test, against “no nearer to the reference than to the original”",
        ),
    }
