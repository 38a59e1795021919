"""Clusters of embeddings that stand in for the identities nobody may know."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.data.vectors import blocks, sums_by, units
from efface.errors import InputError

Clustering = Literal["kmeans", "gmm", "dbscan"]

MANY, BATCH = 100_000, 4096
"""Faces above which k-means goes by batches, and of how many."""


def cluster(
    embeddings: Array,
    algorithm: Clustering,
    count: int,
    seed: int,
    *,
    reach: float = 0.5,
    neighbours: int = 3,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Cluster (n,) of each unit embedding and the centroids (k, d).

    `kmeans` and `gmm` (diagonal covariances) find `count` clusters; of more than `MANY` faces k-means goes by batches
    (Sculley, WWW 2010), whose memory does not grow with the faces. `dbscan` finds as many as there are: a face begins
    or widens one that has `neighbours` faces, itself among them, within `reach` (Euclidean, on the unit sphere: 0 to
    2); what it calls noise joins the nearest.
    Raises InputError for more clusters than faces, and for fewer than two clusters found.
    """
    from sklearn.cluster import DBSCAN, KMeans, MiniBatchKMeans
    from sklearn.mixture import GaussianMixture

    unit, seed = units(embeddings), seed % 2**32
    if algorithm != "dbscan" and not 2 <= count <= len(unit):
        raise InputError(f"{count} clusters of {len(unit)} faces were asked for: expected 2 to {len(unit)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct points than clusters, no convergence: what there is will do
        if algorithm == "kmeans":
            means = MiniBatchKMeans(count, batch_size=BATCH) if len(unit) > MANY else KMeans(count)
            labels = means.set_params(n_init=3, random_state=seed).fit_predict(unit)
        elif algorithm == "gmm":
            labels = GaussianMixture(count, covariance_type="diag", random_state=seed, reg_covar=1e-4).fit_predict(unit)
        else:
            labels = DBSCAN(eps=reach, min_samples=neighbours).fit_predict(unit)
    found = np.unique(labels[labels >= 0])
    if len(found) < 2:
        raise InputError(
            f"{algorithm} found {len(found)} cluster{'' if len(found) == 1 else 's'} in {len(unit)} "
            "faces, two at least are needed: change clusters, reach or neighbours"
        )
    of, sums = np.searchsorted(found, labels), np.zeros((len(found), unit.shape[1]))
    for some in blocks(*unit.shape):
        clear = labels[some] >= 0
        sums += sums_by(unit[some][clear], of[some][clear], len(found))
    centroids = (sums / np.bincount(of[labels >= 0])[:, None]).astype(np.float32)
    noise = np.flatnonzero(labels < 0)
    of[noise] = np.square(unit[noise][:, None] - centroids[None]).sum(2).argmin(1)
    return of.astype(np.int64), centroids


def farthest(centroids: Array) -> NDArray[np.int64]:
    """(k,) for each cluster the one farthest from it."""
    apart = np.square(centroids[:, None] - centroids[None]).sum(2)
    far: NDArray[np.int64] = apart.argmax(1)
    return far


def matched(labels: Array, new: Array, old: Array) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The new clusters renamed so that each has the number of the old one nearest to it (Hungarian assignment).

    New clusters beyond the number of old ones are dropped, their faces going to the nearest that stays; old ones
    that found no partner stay where they were, so the number of clusters never changes.
    """
    from scipy.optimize import linear_sum_assignment

    apart = np.square(new[:, None] - old[None]).sum(2)
    ours, theirs = linear_sum_assignment(apart)
    centroids = old.copy()
    centroids[theirs] = new[ours]
    name = theirs[apart[:, theirs].argmin(1)]
    name[ours] = theirs
    return name[labels], centroids
