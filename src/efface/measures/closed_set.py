"""What CURE's paper measures: the forgotten and the retained through the model's closed-set head.

arXiv:2509.19562. Every number here is a distance from the original, so damage is rewarded, and a head without the
forgotten's rows has nearly the highest UES whatever the network knows. Hence the same measures through a fresh head,
and beside them those of `identification` and `verification`, which look at embeddings alone.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.data.vectors import blocks, sums_of_units, units
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Aim, Bootstrap, Measure, measure
from efface.measures.predictions import Predictions

Number = TypeVar("Number", float, NDArray[np.float64])


def ues(
    forget_before: Number,
    forget_after: Number,
    retain_before: Number,
    retain_after: Number,
    weight: float = 0.5,
) -> Number:
    """Unlearning Efficiency Score (CURE): `weight` of the relative fall of the forgotten's accuracy, minus the rest of
    the retained's. At most `weight`, unless the retained gained."""
    return (
        weight * (forget_before - forget_after) / forget_before
        - (1 - weight) * (retain_before - retain_after) / retain_before
    )


def softmax_through(head: Array, outputs: Array) -> NDArray[np.float32]:
    """(n, k) softmax of unit embeddings through a head (k, d); a row of NaN is never guessed."""
    logits = units(outputs) @ np.nan_to_num(head, nan=0.0).T.astype(np.float32)
    logits[:, np.isnan(head).any(1)] = -np.inf
    logits -= logits.max(1, keepdims=True)
    powers = np.exp(logits)
    softmax: NDArray[np.float32] = powers / powers.sum(1, keepdims=True)
    return softmax


def through_the_head(predictions: Predictions) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,) confidence and (n,) entropy of the head's softmax, whoever is meant; NaN without a head."""
    if not predictions.centres.size:
        return np.full(len(predictions), np.nan), np.full(len(predictions), np.nan)
    confidence, uncertainty = np.empty((2, len(predictions)))
    for some in blocks(len(predictions), max(predictions.centres.shape)):
        softmax = softmax_through(predictions.centres, predictions.outputs[some])
        confidence[some], uncertainty[some] = softmax.max(1), entropy(softmax)
    return confidence, uncertainty


def face_by_face(
    now: Predictions,
    original: Predictions,
    rows: NDArray[np.int64],
    threshold: float,
) -> dict[str, NDArray[np.float64]]:
    """Every measure of every marked face, name to (marked,); a block of faces at a time, since there may be
    as many classes as people."""
    parts: dict[str, list[Array]] = {}
    for block in blocks(len(rows), max(now.centres.shape)):
        some = rows[block]
        after, before = (softmax_through(one.centres, one.outputs[some]) for one in (now, original))
        columns = {
            "accuracy": after.argmax(1) == now.targets[some],
            "accuracy before": before.argmax(1) == now.targets[some],
            "confidence_drop": before.max(1) - after.max(1),
            "entropy_increase": entropy(after) - entropy(before),
            "activation_distance": np.linalg.norm(after - before, axis=1),
            "completeness": jaccard(best(after), best(before)),
            "membership_recall": after.max(1) > threshold,
        }
        for name, column in columns.items():
            parts.setdefault(name, []).append(np.asarray(column, np.float64))
    return {name: np.concatenate(part) for name, part in parts.items()}


def closed_set(
    now: Predictions,
    original: Predictions,
    bootstrap: Bootstrap,
    *,
    head: str = "head",
    weight: float = 0.5,
    threshold: float = 0.5,
) -> dict[MeasureKey, Measure]:
    """`head/...`: accuracy, UES and the paper's other measures, each model through its own `centres`.

    threshold: confidence above which a photo counts as recalled (the paper's is not known). Empty without a head.
    """
    if not now.centres.size or not original.centres.size:
        return {}
    found: dict[MeasureKey, Measure] = {}
    accuracy: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for split, names in REPORTED.items():
        rows = now.rows(split)
        if not rows.any():
            continue
        columns = face_by_face(now, original, np.flatnonzero(rows), threshold)
        wanted = ("accuracy before", *names)
        values = np.full((len(now), len(wanted)), np.nan)
        values[rows] = np.stack([columns[name] for name in wanted], axis=1)
        means = dict(zip(wanted, bootstrap.means(values, rows).T, strict=True))
        accuracy[split] = means.pop("accuracy before"), means["accuracy"]
        for name, vector in means.items():
            aim, about = ABOUT[name]
            found[MeasureKey(head, name, split=split)] = measure(
                vector,
                "low" if name == "accuracy" and split.startswith("forget") else aim,
                f"{about}, {SPLITS[split]}, through the {head}",
            )
    for suffix, forget, retain in (("", "forget", "retain"), ("/unseen", "forget_unseen", "retain_unseen")):
        if forget in accuracy and retain in accuracy:
            with np.errstate(divide="ignore", invalid="ignore"):
                score = ues(*accuracy[forget], *accuracy[retain], weight)
            found[MeasureKey(head, f"ues{suffix}")] = measure(
                score,
                "high",
                f"UES, CURE's score, on {SPLITS[forget]} and {SPLITS[retain]} through the {head} (at "
                f"most {weight:g}; damage to the head alone reaches it)",
            )
    return found


ALL = ("accuracy", "confidence_drop", "entropy_increase", "activation_distance", "completeness", "membership_recall")
REPORTED = {"forget": ALL, "retain": ALL[:3], "forget_unseen": ALL[:1], "retain_unseen": ALL[:1]}
"""What is measured on each split; on the held-back photos the paper measures nothing, and accuracy says enough."""

SPLITS = {
    "forget": "trained photos of the forgotten",
    "retain": "trained photos of the retained",
    "forget_unseen": "held-back photos of the forgotten",
    "retain_unseen": "held-back photos of the retained",
}

ABOUT: dict[str, tuple[Aim, str]] = {
    "accuracy": ("high", "share of photos whose person is the first guess"),
    "confidence_drop": ("none", "fall of the highest softmax since the original"),
    "entropy_increase": ("none", "rise of the softmax's entropy since the original, in nats"),
    "activation_distance": ("none", "distance between the softmax now and the original's"),
    "completeness": ("low", "overlap (Jaccard) of the three first guesses with the original's"),
    "membership_recall": ("low", "share of photos still guessed with high confidence"),
}


def fresh_head(predictions: Predictions) -> NDArray[np.float32]:
    """(k, d) a head that anybody with the photos can fit: each person's mean unit embedding, as long as the old rows
    are."""
    if not predictions.centres.size:
        return predictions.centres
    rows = np.flatnonzero(predictions.rows("forget") | predictions.rows("retain"))
    sums = sums_of_units(predictions.outputs, rows, predictions.targets[rows], len(predictions.centres))
    scale = np.float32(np.linalg.norm(predictions.centres, axis=1).mean())
    return scale * units(sums)


def without_rows(predictions: Predictions) -> NDArray[np.float32]:
    """The head with the rows of people who are wholly forgotten deleted (NaN): they can no longer be guessed, whatever
    the embedding says."""
    if not predictions.centres.size:
        return predictions.centres
    centres = predictions.centres.astype(np.float32).copy()
    gone = np.setdiff1d(
        predictions.targets[predictions.rows("forget")], predictions.targets[predictions.rows("retain")]
    )
    centres[gone] = np.nan
    return centres


def entropy(softmax: NDArray[np.float32]) -> Array:
    """(n,) in nats."""
    ent: Array = -(softmax * np.log(np.maximum(softmax, 1e-12))).sum(1)
    return ent


def best(softmax: NDArray[np.float32], count: int = 3) -> Array:
    """(n, count) the first guesses, in no order."""
    count = min(count, softmax.shape[1])
    top: Array = np.argpartition(-softmax, count - 1, axis=1)[:, :count]
    return top


def jaccard(some: Array, others: Array) -> Array:
    """(n,) overlap of two sets of guesses, over their union."""
    shared = (some[:, :, None] == others[:, None, :]).sum((1, 2))
    overlap: Array = shared / (some.shape[1] + others.shape[1] - shared)
    return overlap
