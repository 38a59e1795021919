"""Face by face: attacks that know how other models, trained with and without each face, would have answered it.

LiRA (Carlini et al., S&P 2022, arXiv:2112.03570) asks which of two normal distributions a model's signal comes from,
that of models which were trained on the face or that of models which were not. U-LiRA (Hayes et al., SaTML 2025,
arXiv:2403.01218) asks the same of models that were trained on it *and then made to forget it*, against models that went
through the same forgetting and never saw it. RMIA (Zarifzadeh et al., ICML 2024, arXiv:2312.03262) needs one to four
models without the face, and a population to compare with.

Ours differs: variances are moderated (Smyth 2004), each face's own drawn towards the mean of all by as much as the
number of models leaves it uncertain, where LiRA has either each its own or one for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array

PRIOR_MODELS = 8.0
"""How many models' worth of evidence the mean variance over all faces is taken for."""
RMIA_OFFLINE = 0.3
"""RMIA's `a`: how much of the way from 1 a face's mean likelihood without it says of that with and without (the
paper's default; there tuned on a second pair of models)."""
STEPS_OF_COMPLETENESS = 21


@dataclass(frozen=True)
class ShadowSignals:
    """What s other models showed of n faces."""

    included: NDArray[np.bool_]
    """(s, n) whether each model was trained on each face."""
    signal: NDArray[np.float64]
    """(s, n) lower on members; NaN where a model was not asked, or is neither on one side nor on the other"""

    def without_pair(self, model: int) -> ShadowSignals:
        """All but one of the models and the one that has whom it lacks: without the first alone, a face that it had
        would have lost a model on that side only, and say so."""
        rows = np.arange(len(self.signal)) // 2 != model // 2
        return ShadowSignals(self.included[rows], self.signal[rows])

    def of(self, faces: Array) -> ShadowSignals:
        """Some of the faces."""
        return ShadowSignals(self.included[:, faces], self.signal[:, faces])


@dataclass(frozen=True)
class Normals:
    """Of n faces: the signal's mean and deviation under models trained on each, and under models that were not."""

    mean_in: NDArray[np.float64]
    deviation_in: NDArray[np.float64]
    mean_out: NDArray[np.float64]
    deviation_out: NDArray[np.float64]


def normals(seen: ShadowSignals) -> Normals:
    """Both distributions of every face; NaN for a face that fewer than two models had, or lacked."""
    return Normals(*moderated(seen.signal, seen.included), *moderated(seen.signal, ~seen.included))


def moderated(signal: Array, rows: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,) mean and (n,) moderated deviation of the marked values (s, n) of each face."""
    known = rows & np.isfinite(signal)
    counts = known.sum(0).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, signal, 0).sum(0) / counts
        squares = np.where(known, (signal - mean) ** 2, 0).sum(0)
        freedom = np.where(counts > 1, counts - 1, np.nan)
        usual = np.nansum(squares) / np.nansum(freedom)
        deviation = np.sqrt((squares + PRIOR_MODELS * usual) / (freedom + PRIOR_MODELS))
    return mean, np.maximum(deviation, 1e-9)


def lira(signal: Array, seen: ShadowSignals) -> NDArray[np.float64]:
    """(n,) membership score: log likelihood of a model's signal (n,) under models with the face, less that without."""
    from scipy import stats

    known = normals(seen)
    return np.asarray(
        stats.norm.logpdf(signal, known.mean_in, known.deviation_in)
        - stats.norm.logpdf(signal, known.mean_out, known.deviation_out),
        np.float64,
    )


def lira_kde(signal: Array, seen: ShadowSignals) -> NDArray[np.float64]:
    """(n,) the same with a kernel estimate of each distribution (as RULI, USENIX Security 2025); smoothed by Scott's
    rule on the moderated deviation."""
    known = normals(seen)
    inside, outside = (
        density(signal, seen.signal, rows, deviation)
        for rows, deviation in ((seen.included, known.deviation_in), (~seen.included, known.deviation_out))
    )
    return inside - outside


def density(
    at: Array,
    signal: Array,
    rows: NDArray[np.bool_],
    deviation: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(n,) log of the kernel estimate at each face's value, from the marked ones of signal (s, n)."""
    from scipy import special, stats

    known = rows & np.isfinite(signal)
    counts = known.sum(0)
    width = deviation * np.maximum(counts, 1) ** -0.2
    logs = np.where(known, stats.norm.logpdf(at, signal, width), -np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: NDArray[np.float64] = special.logsumexp(logs, axis=0) - np.log(counts)
    return np.where(counts > 1, found, np.nan)


def one_against_the_others(seen: ShadowSignals) -> NDArray[np.float64]:
    """(s, n) LiRA's score of every face under every model, by the other pairs of models: the attack on the *way* to
    train or to forget, with as many targets as there are models."""
    return np.stack([lira(seen.signal[model], seen.without_pair(model)) for model in range(len(seen.signal))])


def rmia(
    likelihood: Array,
    without: Array,
    population: NDArray[np.bool_],
    gamma: float = 1.0,
) -> NDArray[np.float64]:
    """(n,) membership score between 0 and 1: share of the population that a model raised less than the face.

    likelihood (n,): the model's, between 0 and 1. without (k, n): that of models not trained on the face, NaN where
    one was. population (n,): faces that no model was trained on.
    """
    with np.errstate(invalid="ignore"):
        outside = np.where(np.isfinite(without).any(0), np.nansum(without, 0) / np.isfinite(without).sum(0), np.nan)
    usual = ((1 + RMIA_OFFLINE) * outside + (1 - RMIA_OFFLINE)) / 2
    raised = likelihood / usual
    known = np.sort(raised[population & np.isfinite(raised)])
    if not len(known):
        return np.full(len(likelihood), np.nan)
    beaten = np.searchsorted(known * gamma, raised, "right") / len(known)
    return np.where(np.isfinite(raised), beaten, np.nan)


def completeness(signal: Array, seen: ShadowSignals) -> NDArray[np.float64]:
    """(n,) how far each face went from "trained on it" (0) to "never saw it" (1): the mean of what is likely, all parts
    of the way being equally likely beforehand.

    After IAM (arXiv:2506.06112), which interpolates between fitting and generalising; ours interpolates the two
    distributions of each face. A face that no model treats differently says nothing and stands at a half, so the goal
    is the reference's mean, not 1.
    """
    from scipy import special, stats

    known = normals(seen)
    part = np.linspace(0, 1, STEPS_OF_COMPLETENESS)[:, None]
    mean = (1 - part) * known.mean_in + part * known.mean_out
    deviation = np.sqrt((1 - part) * known.deviation_in**2 + part * known.deviation_out**2)
    chance = special.softmax(stats.norm.logpdf(signal, mean, deviation), axis=0)
    way: NDArray[np.float64] = (part * chance).sum(0)
    return way
