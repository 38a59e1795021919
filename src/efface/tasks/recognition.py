"""Recognition: whose face is this? Answers are embeddings; people are told apart by the angle between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from efface.data.faces import Array, Faces, Splits
from efface.data.vectors import blocks, sums_of_units, units
from efface.measure_key import MeasureKey
from efface.measures import distances
from efface.measures.bootstrap import Bootstrap, Measure
from efface.measures.closed_set import closed_set, fresh_head, through_the_head, without_rows
from efface.measures.error_rates import error_rates
from efface.measures.identification import identification
from efface.measures.predictions import Predictions
from efface.measures.verification import verification
from efface.settings import Share
from efface.tasks.task import Difference, Score, Task, nothing_wrong

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from efface.data.batches import Batch


def nobody_yet(table: pd.DataFrame, _labels: Sequence[str]) -> Array:
    """Before the people are divided nobody has a number: (n,) -1."""
    return np.full(len(table), -1, np.int64)


def number_the_trained(splits: Splits, _labels: Sequence[str]) -> tuple[Splits, tuple[str, ...]]:
    """Give each person a model is trained on a number, sorted by name; -1 stays with everybody else."""
    trained = np.unique(np.concatenate([splits.forget.identities, splits.retain.identities]))

    def numbered(faces: Faces) -> Faces:
        place = np.searchsorted(trained, faces.identities).clip(max=len(trained) - 1)
        return replace(faces, targets=np.where(trained[place] == faces.identities, place, -1).astype(np.int64))

    return Splits(**{name: numbered(faces) for name, faces in splits.items()}), tuple(trained.tolist())


def margin_loss(model: nn.Module, faces: Batch) -> Tensor:
    """The loss of the model's head: an angular margin between people."""
    loss: Tensor = model.head.loss(model(faces.images), faces.targets)  # type: ignore[operator, union-attr]
    return loss


def cosine_distance(outputs: Tensor, others: Tensor) -> Tensor:
    """One minus the cosine of two embeddings of each face."""
    from torch.nn import functional

    return 1 - functional.cosine_similarity(outputs, others)


def compactness(predictions: Predictions) -> Array:
    """Mean cosine of a photo to the same person's other photos in its split; NaN for an only photo."""
    own = np.full(len(predictions), np.nan)
    for rows in np.split(*by_split(predictions)):
        _, of, counts = np.unique(predictions.identity[rows], return_inverse=True, return_counts=True)
        sums, others = sums_of_units(predictions.outputs, rows, of, len(counts)), counts[of] - 1
        for some in blocks(len(rows), sums.shape[1]):
            alike = np.einsum("nd,nd->n", units(predictions.outputs[rows[some]]), sums[of[some]])
            own[rows[some]] = np.where(others[some] > 0, (alike - 1) / np.maximum(others[some], 1), np.nan)
    return own


def impostor_rate(predictions: Predictions, block: int = 1000, most: int = 10_000) -> Array:
    """Share of other people's photos, in the same split and group, that look more like this photo than the person's
    own other photos do on average; NaN for an only photo. Of more than `most` photos so many are compared with."""
    near, own = np.full(len(predictions), np.nan), compactness(predictions)
    strata = np.char.add(np.char.add(predictions.split, "\x1f"), predictions.group)
    _, person = np.unique(predictions.identity, return_inverse=True)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        seen = np.random.default_rng(0).permutation(rows)[:most]
        others = units(predictions.outputs[seen])
        for start in range(0, len(rows), block):
            some = rows[start : start + block]
            other = person[some, None] != person[None, seen]
            nearer = (units(predictions.outputs[some]) @ others.T >= own[some, None]) & other
            with np.errstate(invalid="ignore"):
                near[some] = nearer.sum(1) / other.sum(1)
    return np.where(np.isfinite(own), near, np.nan)


def by_split(predictions: Predictions) -> tuple[Array, Array]:
    """Rows in order of their split, and where each next split begins."""
    order = np.argsort(predictions.split, kind="stable")
    return order, np.flatnonzero(predictions.split[order][1:] != predictions.split[order][:-1]) + 1


def looseness(predictions: Predictions) -> Array:
    """Logarithm of how far a person's photos are from each other: lower on people the model was trained on."""
    apart: Array = np.log(np.maximum(1 - compactness(predictions), 0) + 1e-3)
    return apart


def shortness(predictions: Predictions) -> Array:
    """Minus the length of the embedding: networks tend to embed what they know farther out."""
    short = np.empty(len(predictions))
    for some in blocks(*predictions.outputs.shape):
        short[some] = -np.linalg.norm(np.asarray(predictions.outputs[some], np.float64), axis=1)
    return short


def alike_likelihood(predictions: Predictions) -> Array:
    """(1 + compactness) / 2: between 0 and 1, as a likelihood is."""
    likelihood: Array = (1 + compactness(predictions)) / 2
    return likelihood


def neighbours(now: Predictions, other: Predictions) -> Array:
    """(n,) of each photo's ten nearest in its split, the share that both models name: embeddings of two networks
    cannot be compared, who lies near whom can."""
    shared = np.full(len(now), np.nan)
    for rows in np.split(*by_split(now)):
        some = np.random.default_rng(0).permutation(rows)[:2000]
        shared[some] = distances.shared_neighbours(units(now.outputs[some]), units(other.outputs[some]))
    return shared


def recognition_measures(
    now: Predictions,
    original: Predictions,
    bootstrap: Bootstrap,
    *,
    ues_lambda: Share = 0.5,
    recall_threshold: Share = 0.5,
) -> dict[MeasureKey, Measure]:
    """What the field measures through the head, the same through a fresh head, and what no head can hide.

    ues_lambda: how much of UES the fall on the forgotten is. recall_threshold: the confidence above which a photo
    counts as recalled; CURE's is not known.
    """
    fresh, before = (replace(one, centres=fresh_head(one)) for one in (now, original))
    heads = {
        "head": (now, original),
        "fresh head": (fresh, before),
        "rows deleted": (replace(now, centres=without_rows(now)), original),
    }
    found: dict[MeasureKey, Measure] = {}
    for head, (after, first) in heads.items():
        found |= closed_set(after, first, bootstrap, head=head, weight=ues_lambda, threshold=recall_threshold)
    return {
        **found,
        **identification(now, bootstrap),
        **verification(now),
        **error_rates(now, bootstrap),
    }


HEADLINE = (
    (MeasureKey("head", "accuracy", split="forget"), "forgotten, through the head"),
    (MeasureKey("head", "accuracy", split="retain"), "retained, through the head"),
    (MeasureKey("head", "ues"), "UES"),
    (MeasureKey("fresh head", "ues"), "UES, fresh head"),
    (MeasureKey("identification", "rank1", split="forget"), "forgotten found (rank 1)"),
    (MeasureKey("identification", "rank1", split="retain"), "retained found (rank 1)"),
    (MeasureKey("identification", "rank1", split="strangers"), "strangers found (rank 1)"),
    (MeasureKey("relearn", "prototype/k=1", split="forget"), "forgotten found from 1 photo"),
    (MeasureKey("score", "compactness", split="forget", group="all"), "compactness of the forgotten"),
)
"""Verification sets are added by the plan's own names."""

EXPLAINED = (
    "UES rewards a wrong answer through the model's own head, so it never stands alone: a fresh head fitted to the "
    "same embeddings, being found from photos no model was trained on, and people never seen tell whether anything was "
    "forgotten, or only renamed. The goal of influence removed is the reference's row; of being unrecognisable, zero."
)


RECOGNITION = Task(
    name="recognition",
    about="recognise faces",
    needs=(),
    labels="none",
    target_kind=np.int64,
    targets=nobody_yet,
    complaint=nothing_wrong,
    settle=number_the_trained,
    models=("iresnet", "mobilefacenet", "own_backbone"),
    loss=margin_loss,
    divergence=cosine_distance,
    scores={
        "impostor_rate": Score(
            impostor_rate,
            "low",
            "share of other people's photos that look more like a photo than the "
            "same person's other photos do on average",
        ),
        "compactness": Score(compactness, "none", "mean cosine between a photo and the same person's other photos"),
    },
    error="impostor_rate",
    distribution_score="impostor_rate",
    harm_score="impostor_rate",
    accuracy_score="impostor_rate",
    signal=Score(looseness, "as retrained", "log distance between a person's photos"),
    signals={
        "confidence": Score(
            lambda predictions: 1 - through_the_head(predictions)[0],
            "as retrained",
            "lack of the head's confidence, whoever it is",
        ),
        "entropy": Score(
            lambda predictions: through_the_head(predictions)[1], "as retrained", "entropy of the head's answer"
        ),
        "length": Score(shortness, "as retrained", "shortness of the embedding"),
    },
    likelihood=alike_likelihood,
    outputs="embeddings",
    differences={
        "neighbours": Difference(neighbours, "share of a photo's ten nearest that the two models have in common"),
    },
    pictured=("forget_unseen", "retain_unseen"),
    stackable=False,
    smallest_model=("iresnet", {"depth": 10, "width": 4, "dimensions": 8, "scale": 16.0}),
    headline=HEADLINE,
    headline_title="Through the head, without it, and from photos no model was trained on",
    headline_about=EXPLAINED,
    more=recognition_measures,
)
